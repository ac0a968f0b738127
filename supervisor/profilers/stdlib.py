"""`profiling.sampling`, the profiler in the standard library from Python 3.15 on. Pure.

The target's own interpreter runs it, since it reads its own version only. It samples without stopping the target.
"""

from __future__ import annotations

from supervisor.analysis import folded
from supervisor.profilers import interpreter

SINCE = (3, 15)
ENGINE = "profiling.sampling"


def reads(found: interpreter.Interpreter | None) -> bool:
    """Whether this interpreter brings the profiler."""
    return found is not None and found.version is not None and found.version >= SINCE


def attach_argv(
    program: str, pid: int, output: str, *, rate_hz: int, duration_s: float, gil: bool, idle: bool, native: bool
) -> list[str]:
    """Its command line: collapsed stacks of all threads into `output`. It takes whole seconds."""
    mode = "gil" if gil else "wall" if idle else "cpu"
    argv = [program, "-I", "-m", ENGINE, "attach", "--collapsed", "--all-threads", "--mode", mode]
    argv += ["--sampling-rate", str(rate_hz), "--duration", str(max(1, round(duration_s))), "--output", output]
    return [*argv, *(["--native"] if native else []), str(pid)]


def parse(lines: list[str], *, threads: bool) -> folded.Counts:
    """Its collapsed stacks as folded ones: `tid:7;app.py:main:3 5` gives `main (app.py:3)`, 5.

    The thread at the root is kept with `threads` only. Raises FoldedError.
    """
    counts: folded.Counts = {}
    for stack, weight in folded.parse(lines).items():
        frames = stack.split(";")
        if frames[0].startswith("tid:"):
            number = frames.pop(0)[4:]
            if threads and number.isdigit():
                frames.insert(0, f"thread ({number})")
        text = ";".join(_frame(frame) for frame in frames)
        if text:
            counts[text] = counts.get(text, 0) + weight
    return counts


def _frame(text: str) -> str:
    if folded.is_marker(text):
        return text
    rest, colon, line = text.rpartition(":")
    file, second, function = rest.rpartition(":")
    if colon and second and line.isascii() and line.isdigit() and len(line) < 10:
        return folded.frame(function, file, int(line))
    return text
