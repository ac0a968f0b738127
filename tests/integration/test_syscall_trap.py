"""The trap at system calls: who asks for memory is held, what is given back is known, and nobody stays held."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator

import pytest

from supervisor.profilers.syscalls import SyscallTrap
from tests.integration.driving import state_of
from tests.integration.stepping import traceable, tracer_of

pytestmark = pytest.mark.integration

PROGRAM = """
import sys
kept = []
def keep():
    kept.append(bytearray(8 << 20))
def drop():
    bytearray(8 << 20)
print("ready", flush=True)
for line in sys.stdin:
    {"keep": keep, "drop": drop, "idle": int}[line.strip()]()
    print("done", flush=True)
"""


@pytest.fixture
def target() -> Iterator[subprocess.Popen[str]]:
    """A program that keeps or drops 8 MiB when told."""
    with traceable(PROGRAM) as process:
        yield process


def catch(trap: SyscallTrap, target: subprocess.Popen[str], word: str) -> int | None:
    """Tell the program and trap it; tried again where it had not begun within the trap's patience."""
    assert target.stdin is not None and target.stdout is not None
    trap.arm(1)
    teller = threading.Timer(0.005, target.stdin.write, (f"{word}\n",))
    teller.start()
    caught = None
    for _ in range(200):
        caught = trap.wait(0.05)
        if caught is not None or word == "idle":
            break
    trap.release()
    teller.join()
    assert target.stdout.readline() == "done\n"
    return caught


def test_who_asks_for_memory_is_held(target: subprocess.Popen[str]) -> None:
    trap = SyscallTrap(target.pid)
    assert catch(trap, target, "keep") == target.pid
    assert trap.stays() is None
    assert catch(trap, target, "drop") == target.pid
    assert trap.stays() is False
    trap.close()


def test_who_asks_for_none_is_not_and_all_run_on(target: subprocess.Popen[str]) -> None:
    trap = SyscallTrap(target.pid)
    assert catch(trap, target, "idle") is None
    trap.close()
    assert tracer_of(target.pid) == 0 and state_of(target.pid) in "RS"
