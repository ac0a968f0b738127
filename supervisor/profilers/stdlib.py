"""`profiling.sampling`, the profiler in the standard library from Python 3.15 on.

The target's own interpreter runs it, since it reads its own version only. It samples without stopping the target, at a
fifth of what a sample takes py-spy. It is run by a few lines of guard's (`agent/_guard_sampling.py`).
"""

from __future__ import annotations

import json
import os
import stat

from supervisor.analysis import folded
from supervisor.profilers import interpreter, permission
from supervisor.profilers.failure import Failure, gone
from supervisor.quantities import human_bytes

SINCE = (3, 15)
ENGINE = "profiling.sampling"
NEEDS_BYTES = 64 << 20  # it takes 23 MB on a small target
START_S = 0.06  # of processor time, each time it is started; twice that without lazy imports
SCRIPT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "agent", "_guard_sampling.py")


class Output:
    """What it wrote: folded stacks, how often it read them all, readings that failed, seconds (None: not told)."""

    __slots__ = ("counts", "failed", "seconds", "ticks")

    def __init__(self, counts: folded.Counts) -> None:
        self.counts = counts
        self.ticks = self.failed = 0
        self.seconds: float | None = None


def reads(found: interpreter.Interpreter | None) -> bool:
    """Whether this interpreter brings the profiler."""
    return found is not None and found.version is not None and found.version >= SINCE


def hindered(pid: int, program: str, room_bytes: int | None = None) -> str | None:
    """Why a process's interpreter, which brings the profiler, isn't run for it; None when it can be.

    `room_bytes` is what the memory limit leaves, None where that isn't known. Whoever runs another user's program does
    what that user wants: one of another user is run only where nobody but root or this user can write to it.
    """
    if room_bytes is not None and room_bytes < NEEDS_BYTES:
        return f"headroom of {human_bytes(room_bytes)} is less than it may take ({human_bytes(NEEDS_BYTES)})"
    proc = f"/proc/{pid}"
    try:
        if elsewhere(proc):
            return "the target's files are another root's"
        about = os.stat(f"{proc}/exe")
        if program.endswith(" (deleted)") or not os.path.samestat(about, os.stat(program)):
            return "the target's interpreter was replaced or deleted since it started"
        if not is_own(proc) and not only_ours(program):
            return "the target is another user's, and so may its interpreter be"
    except OSError as error:
        return f"the target's interpreter: {error.strerror}"
    return None


def elsewhere(proc: str) -> bool:
    """Whether the files of a process (`/proc/PID`) are another root's, or those of other mounts. Raises OSError."""
    return any(os.readlink(f"{proc}/{name}") != os.readlink(f"/proc/self/{name}") for name in ("root", "ns/mnt"))


def is_own(proc: str) -> bool:
    """Whether a process (`/proc/PID`) has this user, and no other, in all of its ids. Raises OSError."""
    return set(uids(proc)) == {os.geteuid()}


def uids(proc: str) -> list[int]:
    """The real, effective, saved and file system's user of a process (`/proc/PID`). Raises OSError."""
    with open(f"{proc}/status", encoding="utf-8", errors="replace") as file:
        return next(([int(word) for word in line.split()[1:]] for line in file if line.startswith("Uid:")), [])


def only_ours(path: str) -> bool:
    """Whether a file can be written, replaced or renamed by root and this user only. `path` has no links in it."""
    while True:
        about = os.stat(path)
        kept = stat.S_ISDIR(about.st_mode) and about.st_mode & stat.S_ISVTX
        if about.st_uid not in (0, os.geteuid()) or (about.st_mode & 0o022 and not kept):
            return False
        if path == "/":
            return True
        path = os.path.dirname(path)


def attach_argv(
    program: str, pid: int, output: str, *, rate_hz: int, duration_s: float, gil: bool, idle: bool
) -> list[str]:
    """Its command line: stacks of all threads into `output`. It takes whole seconds."""
    mode = "gil" if gil else "wall" if idle else "cpu"
    argv = [
        program,
        "-I",
        "-S",
        "-X",
        "lazy_imports=all",
        SCRIPT,
        "attach",
        "--collapsed",
        "--all-threads",
        "--mode",
        mode,
    ]
    argv += ["--sampling-rate", str(rate_hz), "--duration", str(max(1, round(duration_s))), "--output", output]
    return [*argv, str(pid)]


def parse(text: str, *, threads: bool) -> Output:
    """What guard's lines of it wrote. The thread is kept as lowest frame with `threads` only. Raises ValueError."""
    output = Output({})
    for line in text.splitlines():
        if not line:
            continue
        found = json.loads(line)
        try:
            if isinstance(found, dict):
                output.ticks, output.failed = int(found["ticks"]), int(found["failed"])
                output.seconds = None if found["seconds"] is None else float(found["seconds"])
            else:
                _take_in(output.counts, *found, threads=threads)
        except (TypeError, KeyError, OverflowError) as error:
            raise ValueError(f"not a stack: {line[:80]!r}") from error
    return output


def explain(stderr: str, code: int, failed: int, *, hung: bool, pid: int, hint: str) -> Failure:
    """What a run without a sample means. It exits 1 for everything."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    said = lines[-1][:300] if lines else f"exit code {code}"
    low = stderr.lower()
    if hung:
        return Failure("profiler-hung", said, hint)
    if code < 0:
        return Failure("profiler-killed" if code == -9 else "profiler-crashed", f"ended by signal {-code}", hint)
    if not os.path.isdir(f"/proc/{pid}") or "cannot find the process" in low:
        return gone(pid)
    if "permission" in low or "operation not permitted" in low:
        return Failure("ptrace-refused", "it may not read the target's memory", permission.ptrace_hint())
    if failed:
        said = f"none of {failed} samples could be read"
    return Failure("profiler-failed", said, hint)


def _take_in(
    counts: folded.Counts, thread: int, weight: int, frames: list[tuple[str, int, str]], *, threads: bool
) -> None:
    if int(weight) < 0:
        raise ValueError(f"not a weight: {weight}")
    lowest = [f"thread ({int(thread)})"] if threads else []
    stack = ";".join([*lowest, *(_frame(*frame) for frame in frames)])
    if frames and weight:
        counts[stack] = counts.get(stack, 0) + int(weight)


def _frame(file: str, line: int, function: str) -> str:
    if file == "~":  # `<GC>`, `<native>`
        return folded.frame(str(function), None, None)
    return folded.frame(str(function), str(file), int(line) or None)
