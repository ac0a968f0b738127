"""A thread that waits in the kernel can't stop when the trap is let go; it runs on as soon as it is back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.actions import growth
from supervisor.actions.task import Task
from supervisor.profilers import tracing
from supervisor.profilers.faults import FaultTrap
from supervisor.profilers.syscalls import SyscallTrap
from tests.integration.driving import state_of
from tests.integration.stepping import tracer_of

pytestmark = pytest.mark.integration

# In D state until its child execs, and that waits for somebody who writes.
PROGRAM = """
import os, sys
print("ready", flush=True)
os.waitpid(os.posix_spawn("/bin/true", ["true"], {}, file_actions=[(0, 9, sys.argv[1], os.O_RDONLY, 0)]), 0)
print("back", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.fixture
def target(fifo: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in D state."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(fifo)], text=True, bufsize=1, **pipes)  # type: ignore[call-overload]
    try:
        assert process.stdout.readline() == "ready\n"
        deadline_s = time.monotonic() + 30
        while state_of(process.pid) != "D":
            assert time.monotonic() < deadline_s
            time.sleep(0.001)
        yield process
    finally:
        process.kill()
        os.close(os.open(fifo, os.O_RDWR))  # nobody waits for it for ever
        process.communicate()
        tracing.sweep()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.parametrize("kind", [FaultTrap, SyscallTrap])
def test_who_is_late_is_let_go_when_it_is_back(
    target: subprocess.Popen[str], fifo: Path, kind: type[FaultTrap] | type[SyscallTrap]
) -> None:
    assert target.stdout is not None
    try:
        trap = kind(target.pid)
    except OSError as error:
        pytest.skip(f"{kind.__name__} is refused here: {error}")
    for _ in range(2):  # it is no error that it is still ours
        trap.arm(1 << 20)
        trap.release()
        assert tracing.is_late(target.pid) and state_of(target.pid) == "D"
    fifo.write_bytes(b"")
    deadline_s = time.monotonic() + 30
    while tracing.sweep():
        assert time.monotonic() < deadline_s
        time.sleep(0.001)
    assert tracer_of(target.pid) == 0
    assert target.stdout.readline() == "back\n"
    trap.arm(1 << 20)
    assert not tracing.is_late(target.pid) and tracer_of(target.pid) == os.getpid()
    trap.close()
    assert tracer_of(target.pid) == 0


def test_growth_lets_it_go_while_it_follows(target: subprocess.Popen[str], fifo: Path, tmp_path: Path) -> None:
    assert target.stdin is not None and target.stdout is not None
    stdin, stdout = target.stdin, target.stdout
    spec = {"action": "growth", "state": "warning", "pid": target.pid, "name": "001-growth", "run": "r",
            "seconds": 30.0, "directory": str(tmp_path)}  # fmt: skip
    follower = growth.Follower(Task(spec))
    if not tracing.is_late(target.pid):
        follower.close()
        pytest.skip("nothing may be traced here")
    said: list[str] = []

    def wake() -> None:
        fifo.write_bytes(b"")
        said.append(stdout.readline())
        stdin.write("\n")  # it ends, and so the following

    waker = threading.Thread(target=wake, daemon=True)
    waker.start()
    follower.follow()
    assert said == ["back\n"]
    waker.join()
    follower.close()
