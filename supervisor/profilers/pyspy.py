"""py-spy: its command lines and what its failures mean. Pure, but for finding the program."""

from __future__ import annotations

import math
import os
import shutil
import sys

from supervisor import installing
from supervisor.profilers import interpreter, permission
from supervisor.profilers.failure import Failure, gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NEWEST = (3, 15)  # the newest Python that the py-spy of this time reads


def find() -> str:
    """The py-spy beside this Python, else the one on PATH. Raises Failure."""
    beside = os.path.join(os.path.dirname(sys.executable), "py-spy")
    found = beside if os.access(beside, os.X_OK) else shutil.which("py-spy")
    if not found:
        raise Failure("py-spy-missing", "no py-spy beside this Python nor on PATH", installing.package("py-spy"))
    return found


def dump_argv(program: str, pid: int, *, nonblocking: bool) -> list[str]:
    """Stacks of all threads as JSON on stdout."""
    return [program, "dump", "--json", "--pid", str(pid), *(["--nonblocking"] if nonblocking else [])]


def record_argv(
    program: str,
    pid: int,
    output: str,
    *,
    rate_hz: int,
    duration_s: float,
    nonblocking: bool,
    extra: Sequence[str] = (),
) -> list[str]:
    """A CPU profile as folded stacks into `output`, with whole paths. py-spy takes whole seconds only."""
    argv = [program, "record", "--format", "raw", "--full-filenames", "--rate", str(rate_hz), "--output", output]
    argv += ["--duration", str(max(1, math.ceil(duration_s))), "--pid", str(pid)]
    return [*argv, *(["--nonblocking"] if nonblocking else []), *extra]


def explain(stderr: str, code: int, *, hung: bool, pid: int) -> Failure:
    """What a failed run means. py-spy exits 1 for everything, so its words decide."""
    said = _last_words(stderr)
    low = stderr.lower()
    if hung:
        return Failure("profiler-hung", said or "no answer before the deadline", f"py-spy dump --pid {pid}")
    if code == -9:
        return Failure("profiler-killed", said or "ended by SIGKILL, most likely by the OOM killer", "dmesg | tail")
    if code < 0:
        return Failure("profiler-crashed", said or f"ended by signal {-code}", f"py-spy dump --pid {pid}")
    if not os.path.isdir(f"/proc/{pid}") or "no such process" in low:
        return gone(pid, said)
    if "permission denied" in low or "operation not permitted" in low or "os error 13" in low or "eperm" in low:
        return Failure("ptrace-refused", said, permission.ptrace_hint())
    if "failed to get process executable" in low:
        return gone(pid, said)
    unreadable = _unreadable(interpreter.look(pid), pid, said)
    if unreadable is not None:
        return unreadable
    if "failed to find python version" in low or "python library" in low or "failed to find a python" in low:
        return Failure("not-python", said, "guard doctor --pid " + str(pid))
    if "unexpected waitpid result" in low or "sigstop" in low:
        return Failure("target-stopped", said, f"kill -CONT {pid}")
    if "unsupported version" in low or "not supported" in low:
        return Failure("python-unsupported", said, installing.package("py-spy", upgrade=True))
    return Failure("profiler-failed", said or f"exit code {code}", f"py-spy dump --pid {pid}")


def _unreadable(found: interpreter.Interpreter | None, pid: int, said: str) -> Failure | None:
    """What the interpreter itself says about a failure that isn't one of permission; None when it says nothing."""
    if found is None:
        return None
    if found.free_threaded:
        why = f"{found}: a free-threaded build, whose threads py-spy can't read"
        return Failure("python-free-threaded", f"{why} ({said})", "run the target with a build that has a GIL: python3")
    if found.version is not None and found.version > NEWEST:
        why = f"{found} is newer than what this py-spy knows"
        hint = installing.package("py-spy", upgrade=True)
        if found.version >= (3, 15):
            hint += f", or {found.program} -m profiling.sampling attach {pid}"
        return Failure("python-unsupported", f"{why} ({said})", hint)
    if "failed to find python version" in said.lower() or "symbol" in said.lower():
        why = f"{found} shows no version: a static or stripped build"
        return Failure("python-static", f"{why} ({said})", "run the target with its distribution's own python3")
    return None


def _last_words(stderr: str) -> str:
    """The lines that tell: without the banner, at most 300 characters."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Error:", "thread '", "note:", "stack backtrace"))]
    text = " ".join(telling[-4:] if telling else lines[-4:])
    if lines and lines[0].startswith("Error:"):
        text = f"{lines[0]} {text}".strip()
    return text[:300]
