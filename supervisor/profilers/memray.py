"""memray: attached to a running Python by a debugger, and reading what it recorded.

A debugger that is killed leaves its breakpoints in the process, which then dies of SIGTRAP at its next allocation. So a
debugger here is only ever interrupted (SIGINT: it takes them out and lets go), and if it doesn't answer to that, it is
left to end by itself. Verified with gdb 13.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib.util import find_spec

from supervisor import installing, sample
from supervisor.analysis import folded
from supervisor.profilers import agent, interpreter, permission, recorder, runner
from supervisor.profilers.failure import Failure
from supervisor.quantities import human_bytes

NEEDS_BYTES = 160 << 20  # memray and a debugger beside the target, and what both take in it (measured: 100 and 12 MiB)
MOST_FILE_BYTES = 128 << 20
_START_S = 10.0  # until the process allocates, which is when it can be entered
_WRITE_S = 5.0
_LET_GO_S = 3.0
_TRIES = 3
_MOST_FRAMES = 128


class Facts:
    """What decides whether memray can be attached. `here` and `there`: it is installed beside guard, in the target."""

    __slots__ = ("debugger", "here", "python", "room_bytes", "same_user", "stopped", "there", "tracer")

    def __init__(
        self,
        *,
        python: str,
        same_user: bool,
        here: bool,
        there: bool,
        debugger: str,
        tracer: int,
        stopped: bool,
        room_bytes: int | None,
    ) -> None:
        self.python = python
        self.same_user = same_user
        self.here = here
        self.there = there
        self.debugger = debugger
        self.tracer = tracer
        self.stopped = stopped
        self.room_bytes = room_bytes


def refusal(facts: Facts) -> tuple[str, str, str] | None:
    """Why it can't be attached: reason, words, what to type; None when nothing speaks against it. Pure."""
    if not facts.python:
        return "not-python", "it is no Python that guard knows", agent.RUN_HINT
    if not facts.here:
        return "memray-missing", "guard's own Python has no memray", installing.extra("heap")
    if not facts.there:
        return "memray-missing", "the target's Python has no memray", f"pip install memray there, or {agent.RUN_HINT}"
    if not facts.debugger:
        return "debugger-missing", "neither gdb nor lldb is on PATH", f"apt-get install gdb, or {agent.RUN_HINT}"
    if not facts.same_user:
        return "other-user", "memray only enters a process of its own user", "run guard as the target's user"
    if facts.tracer:
        return "traced", f"process {facts.tracer} traces it already", f"kill -INT {facts.tracer}, if it is yours"
    if facts.stopped:
        return "target-stopped", "it is stopped", "kill -CONT, and once more"
    if facts.room_bytes is not None and facts.room_bytes < NEEDS_BYTES:
        said = f"headroom of {human_bytes(facts.room_bytes)} is less than it takes ({human_bytes(NEEDS_BYTES)})"
        return "no-room", said, agent.RUN_HINT
    return None


def look(pid: int, room_bytes: int | None = None) -> Facts:
    """The facts of a process. Nothing is injected."""
    found = interpreter.look(pid)
    process = sample.read_process(pid)
    try:
        same_user = os.stat(f"/proc/{pid}").st_uid == os.geteuid()
    except OSError:
        same_user = False
    return Facts(
        python=str(found) if found is not None else "",
        same_user=same_user,
        here=find_spec("memray") is not None,
        there=any(os.path.isdir(f"{place}/memray") for place in places(pid)),
        debugger=shutil.which("gdb") or shutil.which("lldb") or "",
        tracer=recorder.tracer(pid),
        stopped=process is not None and process.state in ("T", "t"),
        room_bytes=room_bytes,
    )


def places(pid: int) -> list[str]:
    """Directories of installed packages that a Python most likely has on its path, as seen from here."""
    found: list[str] = []
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
            for line in file:
                head, packages, _ = line.partition("-packages/")
                if packages and "/" in head:
                    found.append(head[head.index("/") :] + "-packages")
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = os.fsdecode(file.read(4096).split(b"\0")[0])
        program = os.readlink(f"/proc/{pid}/exe")
        with open(f"/proc/{pid}/environ", "rb") as file:
            entries = [entry.partition(b"=") for entry in file.read().split(b"\0")]
        environment = {os.fsdecode(name): os.fsdecode(value) for name, _, value in entries}
        directory = os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return []
    given = command if "/" in command else shutil.which(command, path=environment.get("PATH", "")) or ""
    prefixes = [os.path.dirname(os.path.dirname(os.path.join(directory, each))) for each in (given, program) if each]
    prefixes.append(environment.get("VIRTUAL_ENV", ""))
    found += [path for path in environment.get("PYTHONPATH", "").split(":") if path.startswith("/")]
    for prefix in prefixes:
        for library in ("lib", "lib64"):
            folder = os.path.join(prefix, library)
            for name in _names(f"/proc/{pid}/root{folder}") if prefix else ():
                found += [os.path.join(folder, name, f"{kind}-packages") for kind in ("site", "dist")]
    return [f"/proc/{pid}/root{path}" for path in dict.fromkeys(found)]


def _names(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.startswith("python")]
    except OSError:
        return []


def attach(pid: int, path: str, seconds: float) -> bool:
    """Record a process's allocations for some seconds into a file that the process itself writes.

    Returns whether guard asked for the end meanwhile. Raises Failure, whatever happens with the process running.
    """
    method = "gdb" if shutil.which("gdb") else "lldb"
    line = [sys.executable, "-m", "memray", "attach", "--method", method, "--aggregate", "--no-compress", "-f",
            "-o", path, "--duration", str(max(1, round(seconds))), str(pid)]  # fmt: skip
    environment = {**runner.quiet_environment(), "PYTHONPATH": ":".join(each for each in sys.path if each)}
    with open(os.memfd_create("memray"), "w+b") as told:
        process = subprocess.Popen(
            line,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            env=environment,
            start_new_session=True,
            preexec_fn=_before_exec,  # noqa: PLW1509 - one thread
        )
        until_s = time.monotonic() + _START_S
        interrupted = False
        while process.poll() is None and time.monotonic() < until_s and not interrupted:
            interrupted = runner.pause(0.05)
        if process.returncode is None:
            _let_go(pid, process)
            said = f"it made no allocation for {_START_S:g} s at which it could be entered: it sleeps, or is in C code"
            raise Failure("interrupted" if interrupted else "attach-hung", said, agent.RUN_HINT)
        told.seek(0)
        words = told.read(65536).decode("utf-8", "replace").strip()
    if process.returncode:
        raise _explained(words, pid)
    return runner.pause(seconds + 0.5)


def _before_exec() -> None:
    """A debugger lives on SIGCHLD and must hear SIGINT: nothing is blocked or ignored, whatever the worker has."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def written(path: str) -> bool:
    """Wait for the end of a recording: whether it is whole."""
    until_s = time.monotonic() + _WRITE_S
    while time.monotonic() < until_s:
        try:
            if os.path.getsize(path) and reads(path):
                return True
        except OSError:
            pass
        if runner.pause(0.1):
            break
    return False


def _let_go(pid: int, process: subprocess.Popen[bytes]) -> None:
    """Make the debugger let go of a process, and only then end what is left."""
    for _ in range(_TRIES):
        tracer = recorder.tracer(pid)
        if not tracer or not _ours(tracer, process.pid):
            break
        os.kill(tracer, signal.SIGINT)
        until_s = time.monotonic() + _LET_GO_S
        while recorder.tracer(pid) and time.monotonic() < until_s:
            time.sleep(0.02)
    if not recorder.tracer(pid):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except OSError:
            pass
        process.wait()
        runner.left_stopped(pid, was_stopped=False)


def _ours(tracer: int, session: int) -> bool:
    try:
        return os.getsid(tracer) == session
    except OSError:
        return False


def _explained(words: str, pid: int) -> Failure:
    low = words.lower()
    said = " ".join(words.splitlines()[-3:])[:300]
    if "operation not permitted" in low or "ptrace" in low:
        return Failure("ptrace-refused", said, permission.ptrace_hint())
    if "no module named" in low:
        return Failure("memray-missing", said, "pip install memray in the target's environment")
    return Failure("attach-failed", said or "memray attach failed", f"python -m memray attach --verbose {pid}")


def reads(path: str) -> bool:
    """Whether memray can read a recording."""
    import memray

    try:
        memray.FileReader(path)
    except (OSError, ValueError):
        return False
    return True


def held_at_the_peak(path: str) -> folded.Counts:
    """Bytes by stack, root first, of what was held when that was most. Raises Failure when it can't be read."""
    try:
        import memray
    except ImportError:
        said = "guard's own Python has no memray to read the recording with"
        raise Failure("memray-missing", said, installing.extra("heap")) from None
    try:
        reader = memray.FileReader(path)
        records = reader.get_high_watermark_allocation_records(merge_threads=True)
        return counted((record.size, record.stack_trace(max_stacks=_MOST_FRAMES)) for record in records)
    except (OSError, ValueError, NotImplementedError) as error:
        raise Failure("recording-unreadable", str(error)[:300], "python -m memray flamegraph FILE") from error


def counted(records: Iterable[tuple[int, Iterable[tuple[str, str, int]]]]) -> folded.Counts:
    """Bytes by stack of (bytes, frames innermost first). Pure."""
    counts: folded.Counts = {}
    for size, frames in records:
        stack = ";".join(folded.frame(name, file, line) for name, file, line in reversed(list(frames)))
        counts[stack or "(no Python)"] = counts.get(stack or "(no Python)", 0) + size
    return counts
