"""Whom a worker's signals reach: never somebody who has its pid by then."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator

import pytest

from supervisor.model import Start
from supervisor.workers import Worker, Workers

# It says the pid of a process that it leaves behind.
LEAVES = "sleep 100 >&- 2>&- & echo $!"


@pytest.fixture
def left() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A child that has ended and isn't reaped, and a descriptor of one that is left in its session."""
    child = subprocess.Popen(["sh", "-c", LEAVES], stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout is not None
    descriptor = os.pidfd_open(int(child.stdout.readline()))
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    yield child, descriptor
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        pass
    os.close(descriptor)
    child.stdout.close()
    child.wait()


def worker(pid: int, fd: int = -1) -> Worker:
    return Worker(Start("growth", "warning", 1, "made up"), pid, fd, 0.0, 10.0, 0)


def ends(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 20)[0])


def test_what_an_ended_worker_left_is_killed(left: tuple[subprocess.Popen[bytes], int]) -> None:
    child, descriptor = left
    worker(child.pid).kill()
    assert ends(descriptor)


def test_what_a_reaped_worker_left_is_killed_where_it_is_reaped(left: tuple[subprocess.Popen[bytes], int]) -> None:
    child, descriptor = left
    child.wait()
    workers = Workers(select.poll())
    read_end, write_end = os.pipe()
    os.close(write_end)
    workers.running[child.pid] = worker(child.pid, read_end)
    assert workers.ended(child.pid, int(signal.SIGKILL)) is not None
    assert ends(descriptor)


def test_a_pid_that_was_reaped_gets_no_signal_later(monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen(["true"], start_new_session=True)
    child.wait()
    sent: list[tuple[int, int]] = []
    for name in ("kill", "killpg"):
        monkeypatch.setattr(os, name, lambda *call: sent.append(call))
    workers = Workers(select.poll())
    stale = workers.running[child.pid] = worker(child.pid)
    stale.hurry()
    for now_s in (1e9, 2e9):
        stale.enforce(now_s)  # INT, then KILL
    workers.end()
    assert sent == []


def test_where_it_is_reaped_nobody_but_its_session_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []

    def nobody(*call: int) -> None:
        raise ProcessLookupError

    monkeypatch.setattr(os, "killpg", nobody)
    monkeypatch.setattr(os, "kill", lambda *call: sent.append(call))
    workers = Workers(select.poll())
    read_end, write_end = os.pipe()
    os.close(write_end)
    workers.running[1] = worker(1, read_end)
    assert workers.ended(1, int(signal.SIGKILL)) is not None
    assert sent == []
