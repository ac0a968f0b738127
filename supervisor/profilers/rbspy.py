"""A running Ruby, read by rbspy where that is on PATH: samples of what it runs, and the stack it has now.

Sources: rbspy's documentation, and its source at 0.3x: `record` writes `name - path:line` frames, root first, and exits
1 with causes as `- cause` lines; with --file and --raw-file it writes nowhere else; SIGINT ends it with its file whole.
"""

from __future__ import annotations

import os
import time
from typing import Any

from supervisor.analysis import folded
from supervisor.profilers import kernel, pace, permission, recorder, runner
from supervisor.profilers.failure import Failure
from supervisor.profilers.tool import Tool

INSTALL = "cargo install rbspy, or a release of github.com/rbspy/rbspy on PATH"
_SNAPSHOT_S = 5.0
_MOST_FRAMES = 200
_NEWER = ("couldn't find ruby version", "not supported", "unsupported", "unknown ruby version")
TOOL = Tool(
    "rbspy",
    "a Ruby's own stacks are read by rbspy, which is not on PATH",
    INSTALL,
    lambda pid: f"rbspy snapshot --pid {pid}",
    gone=("no such process", "isn't running"),
    rules=(
        (("permission denied", "not permitted"), "ptrace-refused", permission.ptrace_hint),
        (_NEWER, "ruby-unsupported", lambda: "a newer rbspy: " + INSTALL),
    ),
)


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
    done = _run(snapshot_argv(TOOL.find(), pid, nonblocking=True), _SNAPSHOT_S)
    if done.interrupted:
        raise runner.Interrupted
    own = frames(done.stdout.decode("utf-8", "replace"))
    if done.code or done.hung or not own:
        raise TOOL.explain(last_words(done.stderr), done.code, hung=done.hung, pid=pid)
    found = kernel.threads(pid)
    holder = {"pid": pid, "thread_id": 0, "thread_name": "holds Ruby's lock", "os_thread_id": None, "active": True,
              "owns_gil": True, "frames": own}  # fmt: skip
    return [holder, *found]


def last_words(stderr: str) -> str:
    """Its causes in one line, else all that it said. Pure."""
    causes = [line.strip()[2:] for line in stderr.splitlines() if line.strip().startswith("- ")]
    return ": ".join(causes) or " ".join(stderr.split())


def _run(argv: list[str], deadline_s: float, **more: Any) -> runner.Completed:
    os.environ.setdefault("HOME", "/")  # it wants one, although it writes nothing there
    return TOOL.run(argv, deadline_s, **more)


class Rbspy(recorder.Engine):
    """rbspy record, a slice at a time, without stopping the process. Raises Failure."""

    name = "rbspy"

    def __init__(self, subject: recorder.Subject) -> None:
        self.program = TOOL.find()

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
            raise TOOL.explain(last_words(done.stderr), done.code, hung=done.hung or meter.overdue, pid=pid)
        return recorder.Piece.of_run(self.name, counts, plan, done, meter, asked_s, elapsed_s)
