"""A running Ruby, read by rbspy where that is on PATH: samples of what it runs, and the stack it has now.

Sources: rbspy's documentation, and its source at 0.3x: `record` writes `name - path:line` frames, root first, and exits
1 with causes as `- cause` lines; with --file and --raw-file it writes nowhere else; SIGINT ends it with its file whole.
"""

from __future__ import annotations

import os
import shutil
import time
from typing import Any

from supervisor.analysis import folded
from supervisor.profilers import kernel, pace, permission, recorder, runner
from supervisor.profilers.failure import Failure, gone

INSTALL = "cargo install rbspy, or a release of github.com/rbspy/rbspy on PATH"
_SNAPSHOT_S = 5.0
_MOST_FRAMES = 200
_NEWER = ("couldn't find ruby version", "not supported", "unsupported", "unknown ruby version")


def find() -> str:
    """rbspy on PATH. Raises Failure."""
    found = shutil.which("rbspy")
    if found is None:
        raise Failure("rbspy-missing", "a Ruby's own stacks are read by rbspy, which is not on PATH", INSTALL)
    return found


def record_argv(
    program: str, pid: int, output: str, *, rate_hz: int, duration_s: float, nonblocking: bool
) -> list[str]:
    """Folded stacks into `output`; it takes whole seconds. Its raw data, which it always writes, go nowhere."""
    argv = [program, "record", "--pid", str(pid), "--rate", str(rate_hz), "--duration", str(max(1, round(duration_s)))]
    argv += ["--format", "collapsed", "--silent", "--file", output, "--raw-file", os.devnull]
    return [*argv, *(["--nonblocking"] if nonblocking else [])]


def snapshot_argv(program: str, pid: int, *, nonblocking: bool) -> list[str]:
    """The stack of the thread that holds Ruby's lock, root first, a frame a line."""
    return [program, "snapshot", "--pid", str(pid), *(["--nonblocking"] if nonblocking else [])]


def parse(text: str) -> folded.Counts:
    """What `record --format collapsed` wrote, as guard's folded stacks. Pure. Raises FoldedError."""
    counts: folded.Counts = {}
    for stack, weight in folded.parse(text.splitlines()).items():
        told = ";".join(folded.frame(*_place(each)) for each in stack.split(";"))
        counts[told] = counts.get(told, 0) + weight
    return counts


def _place(text: str) -> tuple[str, str | None, int]:
    """`block in run - /app/job.rb:12`, `sleep [c function] - (unknown):0`."""
    text = text.strip()
    at = next((at for at in (text.find(" - /"), text.find(" - (unknown)")) if at > 0), text.rfind(" - "))
    name, dash, rest = text[: max(at, 0)], at > 0, text[at + 3 :]
    file, colon, line = rest.rpartition(":")
    if not dash or not colon or not (line.isascii() and line.isdigit() and len(line) < 10):
        return text, None, 0
    return name, file if file and file != "(unknown)" else None, int(line)


def frames(text: str) -> list[dict[str, Any]]:
    """What `snapshot` prints as frames of `.stacks.json`, innermost first. Pure."""
    found = []
    for line in text.splitlines():
        if " - " in line:
            name, file, number = _place(line)
            found.append(kernel.frame(name, file or "", number))
    return found[::-1][:_MOST_FRAMES]


def threads(pid: int) -> list[dict[str, Any]]:
    """All threads as the kernel tells them; before them the stack of whichever of them holds Ruby's lock.

    rbspy doesn't say which one that is. Raises Failure.
    """
    program = find()
    done = _run(snapshot_argv(program, pid, nonblocking=True), _SNAPSHOT_S)
    own = frames(done.stdout.decode("utf-8", "replace"))
    if done.code or done.hung or not own:
        raise explain(done.stderr, done.code, hung=done.hung, pid=pid)
    found = kernel.threads(pid)
    holder = {"pid": pid, "thread_id": 0, "thread_name": "holds Ruby's lock", "os_thread_id": None, "active": True,
              "owns_gil": True, "frames": own}  # fmt: skip
    return [holder, *found]


def explain(stderr: str, code: int, *, hung: bool, pid: int) -> Failure:
    """What a failed run means. rbspy exits 1 for everything, so its words decide."""
    causes = [line.strip()[2:] for line in stderr.splitlines() if line.strip().startswith("- ")]
    said = (": ".join(causes) or " ".join(stderr.split()))[:300]
    low = said.lower()
    hint = f"rbspy snapshot --pid {pid}"
    if hung:
        return Failure("rbspy-hung", said or "no answer before the deadline", hint)
    if not os.path.isdir(f"/proc/{pid}") or "no such process" in low or "isn't running" in low:
        return gone(pid, said)
    if "permission denied" in low or "not permitted" in low:
        return Failure("ptrace-refused", said, permission.ptrace_hint())
    if any(words in low for words in _NEWER):
        return Failure("ruby-unsupported", said, "a newer rbspy: " + INSTALL)
    return Failure("rbspy-failed", said or (f"exit code {code}" if code else "it saw no stack"), hint)


def _run(argv: list[str], deadline_s: float, **more: Any) -> runner.Completed:
    os.environ.setdefault("HOME", "/")  # it wants one, although it writes nothing there
    try:
        done = runner.run(argv, deadline_s, **more)
    except OSError as error:
        raise Failure("rbspy-missing", f"{argv[0]}: {error.strerror}", INSTALL) from error
    if done.interrupted and not more:
        raise runner.Interrupted
    return done


class Rbspy(recorder.Engine):
    """rbspy record, a slice at a time, without stopping the process. Raises Failure."""

    name = "rbspy"

    def __init__(self) -> None:
        self.program = find()

    def ways(self, nonblocking: bool) -> tuple[pace.Way, ...]:
        """It sees the thread that holds Ruby's lock."""
        return (pace.Way(True, True),)

    def record(self, pid: int, plan: pace.Plan, seconds: float, meter: recorder.Meter) -> recorder.Piece:
        """One slice. Raises Failure."""
        reason = "rbspy reads its memory without stopping it"
        plan = pace.Plan(pace.Way(True, True), plan.rate_hz, plan.threads, reason)
        asked_s = max(1, round(seconds))
        meter.limit_s = asked_s + 2.0
        fd = os.memfd_create("profile", 0)
        began_s = time.monotonic()
        try:
            argv = record_argv(
                self.program,
                pid,
                f"/proc/self/fd/{fd}",
                rate_hz=plan.rate_hz,
                duration_s=asked_s,
                nonblocking=True,
            )
            done = _run(argv, asked_s + 8.0, keep=(fd,), watch=meter)
            text = os.pread(fd, os.fstat(fd).st_size, 0).decode("utf-8", "replace")
        finally:
            os.close(fd)
        elapsed_s = time.monotonic() - began_s
        try:
            counts = parse(text)
        except folded.FoldedError as error:
            raise Failure("rbspy-garbage", str(error), f"rbspy record --pid {pid}") from error
        if not counts and (done.code or done.hung) and not done.interrupted:
            raise explain(done.stderr, done.code, hung=done.hung or meter.overdue, pid=pid)
        return recorder.Piece(self.name, counts, plan, done, meter, asked_s, elapsed_s)
