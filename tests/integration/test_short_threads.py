"""Threads that live for a moment take memory, too: they are caught though they were born after the trap was set."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from supervisor.profilers import tracing
from supervisor.profilers.faults import FaultTrap
from supervisor.profilers.syscalls import SyscallTrap
from tests.integration.stepping import traceable, tracer_of

pytestmark = pytest.mark.integration

PROGRAM = """
import sys, threading
kept = []
def keep():
    kept.append(bytearray(b"x" * 2_000_000))
print("ready", flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        thread = threading.Thread(target=keep)
        thread.start()
        thread.join()
    print("done", flush=True)
"""
CATCHES = 6
TURNS = 10


@pytest.fixture
def target() -> Iterator[subprocess.Popen[str]]:
    """A program that starts so many threads, one after the other, as it is told."""
    with traceable(PROGRAM) as process:
        yield process


def trap_of(kind: type[FaultTrap] | type[SyscallTrap], pid: int) -> FaultTrap | SyscallTrap:
    try:
        return kind(pid)
    except OSError as error:
        pytest.skip(f"{kind.__name__} is refused here: {error}")


def another(trap: FaultTrap | SyscallTrap, main: int) -> int:
    """The next that is caught but for the main thread, which takes memory for those that it starts."""
    for _ in range(400):
        tid = trap.wait(0.05)
        if tid == main:
            trap._tracer.go_on(tid, 0)
        elif tid is not None:
            return tid
    raise AssertionError("nobody was caught")


@pytest.mark.parametrize("kind", [FaultTrap, SyscallTrap])
def test_who_is_born_after_the_trap_was_set_is_caught(
    target: subprocess.Popen[str], kind: type[FaultTrap] | type[SyscallTrap]
) -> None:
    assert target.stdin is not None and target.stdout is not None
    trap = trap_of(kind, target.pid)
    caught = alive_before = 0
    while caught < CATCHES:
        assert alive_before < TURNS, "only threads that lived already were caught"
        alive = tracing.threads(target.pid)
        trap.arm(20)
        target.stdin.write("4\n")
        tid = another(trap, target.pid)
        caught += tid not in alive
        alive_before += tid in alive
        trap.release()
        assert target.stdout.readline() == "done\n"
    trap.close()


@pytest.mark.parametrize("kind", [FaultTrap, SyscallTrap])
def test_nobody_stays_held_whenever_the_trap_is_let_go(
    target: subprocess.Popen[str], kind: type[FaultTrap] | type[SyscallTrap]
) -> None:
    """Also a thread whose start was not yet seen."""
    assert target.stdin is not None and target.stdout is not None
    trap = trap_of(kind, target.pid)
    target.stdin.write("300\n")
    for turn in range(100):
        trap.arm(1 << 20)
        trap.wait(0.001 * (turn % 4))
        trap.release()
        assert tracer_of(target.pid) == 0
    assert target.stdout.readline() == "done\n"
    trap.close()
