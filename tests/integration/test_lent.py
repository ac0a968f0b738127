"""A lent descriptor of a process's memory: py-spy reads by it, and by nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from supervisor.actions import cpu
from supervisor.profilers import lent, pyspy, runner

pytestmark = pytest.mark.integration

PROGRAM = """
import sys
def wait_here():
    sys.stdin.readline()
def call():
    wait_here()
print(flush=True)
call()
"""


@pytest.fixture
def target() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-IS", "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def dump(pid: int, loan: lent.Lent | None) -> runner.Completed:
    return runner.run(pyspy.dump_argv(pyspy.find(), pid, nonblocking=True), 20.0, loan=loan)


def functions(done: runner.Completed) -> list[str]:
    (thread,) = json.loads(done.stdout)
    return [frame["name"] for frame in thread["frames"]]


@pytest.fixture
def memory(target: subprocess.Popen[bytes]) -> Iterator[int]:
    fd = os.open(f"/proc/{target.pid}/mem", os.O_RDONLY)
    yield fd
    os.close(fd)


def test_stacks_come_through_the_lent_descriptor(target: subprocess.Popen[bytes], memory: int) -> None:
    loan = lent.Lent(target.pid, memory)
    assert functions(dump(target.pid, loan)) == ["wait_here", "call", "<module>"]
    assert loan.reads > 10


def test_it_is_read_from_nowhere_else(target: subprocess.Popen[bytes]) -> None:
    """With the memory of another process in its place py-spy finds nothing, so it isn't read beside the descriptor."""
    with open("/proc/self/mem", "rb") as wrong:
        done = dump(target.pid, lent.Lent(target.pid, wrong.fileno()))
    assert done.code != 0 and not done.hung


def test_the_end_of_the_process_is_a_failure_and_no_hang(target: subprocess.Popen[bytes], memory: int) -> None:
    target.kill()
    target.wait()
    done = dump(target.pid, lent.Lent(target.pid, memory))
    assert done.code != 0 and not done.hung


def test_other_processes_are_read_by_the_readers_own_right(target: subprocess.Popen[bytes], memory: int) -> None:
    done = dump(target.pid, lent.Lent(os.getpid(), memory))
    assert functions(done) == ["wait_here", "call", "<module>"]


def test_nothing_is_left_open(target: subprocess.Popen[bytes], memory: int) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(3):
        dump(target.pid, lent.Lent(target.pid, memory))
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_where_the_own_right_does_nothing_is_taken(target: subprocess.Popen[bytes]) -> None:
    fd = os.open(f"/proc/{target.pid}/mem", os.O_RDONLY)
    lent.keep(target.pid, fd)
    assert lent.of(target.pid) is None
    with pytest.raises(OSError):
        os.fstat(fd)


BUSY = """
def turn():
    sum(range(1000))
print(flush=True)
while True:
    turn()
"""


def test_a_cpu_profile_comes_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-IS", "-c", BUSY], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with open(f"/proc/{process.pid}/mem", "rb") as memory:
            loan = lent.Lent(process.pid, memory.fileno())
            monkeypatch.setitem(lent._known, process.pid, loan)
            piece = cpu.once(process.pid, rate_hz=100, seconds=1)
        process.kill()
    assert piece.plan.way.nonblocking
    assert piece.plan.rate_hz < 100
    assert any("turn" in stack for stack in piece.counts)
    assert loan.reads > 100
