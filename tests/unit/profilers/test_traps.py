"""Who is served next, who is let go, and what a call at the trap tells."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from supervisor.actions import growth
from supervisor.profilers import tracing
from supervisor.profilers.syscalls import SyscallTrap

STACK = 0x20000 | 0x22
ENTRY, EXIT = 1, 2


def test_every_thread_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them have stopped, whenever they are asked."""
    stopped = signal.SIGURG << 8 | 0x7F
    monkeypatch.setattr(os, "waitpid", lambda tid, _: (tid, stopped))
    tracer = tracing.Tracer()
    monkeypatch.setattr(tracer, "_try", lambda *_: None)
    tracer._seized = {7: -1, 8: -1, 9: -1}
    served = []
    for _ in range(6):
        told = tracer.poll()
        assert told is not None
        served.append(told[0])
        tracer.go_on(*told)
    assert served == [7, 8, 9, 7, 8, 9]
    tracer._seized = {7: -1, 8: -1, 10: -1}  # seized anew
    assert tracer.poll() == (7, signal.SIGURG)
    assert tracer.poll() == (8, signal.SIGURG)


def tracer_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition("TracerPid:")[2].split()[0])


def test_who_was_not_let_go_for_an_interruption_is_let_go_at_the_next_release(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> int:
        raise KeyboardInterrupt

    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        tracer = tracing.Tracer()
        try:
            tracer.seize(process.pid)
        except OSError as error:
            pytest.skip(f"ptrace: {error.strerror}")
        with monkeypatch.context() as patch:
            patch.setattr(tracer, "_settle", interrupted)
            with pytest.raises(KeyboardInterrupt):
                tracer.release()
        assert tracer_of(process.pid) == os.getpid()
        tracer.release()
        assert tracer_of(process.pid) == 0


def told(what: int, *words: int, failed: bool = False) -> bytes:
    """struct ptrace_syscall_info."""
    tail = struct.pack("=QB", words[0], failed) if what == EXIT else struct.pack("=7Q", *words)
    return (struct.pack("=B23x", what) + tail).ljust(88, b"\0")


@pytest.fixture
def trap() -> SyscallTrap:
    try:
        return SyscallTrap(os.getpid())
    except OSError as error:
        pytest.skip(str(error))


def test_what_a_call_gets_is_told_by_its_own_return(trap: SyscallTrap) -> None:
    mmap, _, brk, mprotect = trap._numbers
    memory = told(ENTRY, mmap, 0, 1 << 20, 3, 0x22, 0, 0)
    stack = told(ENTRY, mmap, 0, 1 << 20, 3, STACK, 0, 0)
    other = told(ENTRY, mprotect, 0, 4096, 1, 0, 0, 0)
    assert not trap._note(1, memory)
    assert trap._note(1, told(EXIT, 0x7F0000000000)) and trap._got is not None and trap._got[0] == 0x7F0000000000
    assert not trap._note(1, memory) and not trap._note(1, told(EXIT, 0, failed=True))
    assert not trap._note(1, memory) and not trap._note(1, other) and not trap._note(1, told(EXIT, 0))
    assert not trap._note(1, stack) and not trap._note(1, told(EXIT, 1 << 63, failed=True))
    assert not trap._note(1, stack) and not trap._note(1, other) and not trap._note(1, told(EXIT, 1 << 30))
    assert not trap._stacks
    assert not trap._note(1, stack) and not trap._note(1, told(EXIT, 1 << 30))
    assert list(trap._stacks) == [1 << 30]
    assert not trap._note(1, told(ENTRY, brk, 4096, 0, 0, 0, 0, 0)) and trap._note(1, told(EXIT, 4096))


def test_calls_of_before_are_forgotten_when_it_is_armed(trap: SyscallTrap, monkeypatch: pytest.MonkeyPatch) -> None:
    trap._note(1, told(ENTRY, trap._numbers[0], 0, 1 << 20, 3, STACK, 0, 0))
    trap._note(2, told(ENTRY, trap._numbers[0], 0, 1 << 20, 3, 0x22, 0, 0))
    monkeypatch.setattr(tracing, "threads", lambda _: [])
    trap.arm(1)
    assert not trap._note(1, told(EXIT, 1 << 30)) and not trap._note(2, told(EXIT, 1 << 30))
    assert not trap._stacks


class Counted:
    """Stands for a follower's trap, ledger and clock of the thread that doesn't get to run."""

    looks = 0
    settled: Any = None

    def stays(self) -> bool:
        self.looks += 1
        return True

    def caught(self, *_: Any) -> None:
        pass

    def settle(self, *told: Any, **facts: Any) -> None:
        self.settled = facts

    def read(self) -> int:
        return 1 << 20

    def has_run(self, _: float) -> bool:
        return False


def test_while_a_thread_gets_no_processor_nobody_looks_at_its_memory() -> None:
    follower: Any = object.__new__(growth.Follower)
    counted = follower.trap = follower.ledger = follower._rss = follower._run = Counted()
    assert follower._settle(("a;b", 1 << 20), 0.02)
    assert counted.looks <= 4 and counted.settled == {"stays": True}
