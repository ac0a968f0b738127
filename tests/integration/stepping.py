"""Driving a stepper under guard, and what the tests read of processes and evidence."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from supervisor.analysis import folded

ROOT = Path(__file__).resolve().parents[2]
STEPPER = [sys.executable, str(Path(__file__).parent / "stepper.py")]
# Low for programs that begin with some 10 MB, higher for those that begin with 30 or 50.
SMALL = ["--env", "development", "--warning", "40", "--critical", "80", "--profiling", "4G", "--interval", "200ms"]
FULL = [*SMALL, "--profiling", "120", "--profile-duration", "2s"]
LARGE = ["--env", "development", "--warning", "150", "--critical", "200", "--profiling", "4G", "--interval", "200ms"]


def own(path: Path) -> list[folded.FunctionTotal]:
    return folded.own_functions(folded.parse(path.read_text().splitlines()))


@contextmanager
def traceable(program: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program that says `ready` and takes lines; SIGCHLD is blocked, as who traces it waits for that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", program], text=True, bufsize=1, **pipes)  # type: ignore[call-overload]
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def tracer_of(pid: int) -> int:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("TracerPid:"))
    return int(line.split()[1])


def tell(run: Any, line: str) -> None:
    """One command to a stepper under guard, until it answers."""
    order(run, line)
    assert run.process.stdout.readline().decode().strip() == line.split()[0]


def order(run: Any, line: str) -> None:
    run.process.stdin.write(f"{line}\n".encode())
    run.process.stdin.flush()


def begin(start: Callable[..., Any], options: list[str], **popen: Any) -> Any:
    """A stepper under guard."""
    run = start(options, STEPPER, stdin=subprocess.PIPE, **popen)
    assert run.process.stdout.readline() == b"ready\n"
    run.wait_for("run.started")
    return run


def grow_until_attributed(run: Any) -> None:
    """Until the first stack is on disk: growth attribution is at work then."""
    for _ in range(600):
        if run.evidence("*-growth.folded"):
            return
        tell(run, "grow 1")
        time.sleep(0.05)  # 20 MB/s: what is attributed is written once in a while
    raise AssertionError("nothing was attributed to 600 MB of growth")
