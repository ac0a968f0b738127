"""Wake-ups against real kernel objects: clocks of other processes, pidfds, and files where there are any."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from supervisor import cgroup, sample
from supervisor.model import Sample
from supervisor.wakeups import Wakeups

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has these")


@pytest.fixture
def woken() -> Iterator[int]:
    """The read end of a wake-up pipe that gets a byte a SIGCHLD."""
    read_end, write_end = os.pipe2(os.O_NONBLOCK)
    before = signal.signal(signal.SIGCHLD, lambda *_: None)
    old = signal.set_wakeup_fd(write_end)
    yield read_end
    signal.set_wakeup_fd(old)
    signal.signal(signal.SIGCHLD, before)
    os.close(read_end)
    os.close(write_end)


def reading(pid: int) -> Sample:
    process = sample.read_process(pid)
    assert process is not None
    return Sample(time.monotonic(), (process,), 0, 1 << 30, 0)


def test_processor_time_of_another_process_wakes(woken: int) -> None:
    busy = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read(1)\nwhile True: pass"], stdin=subprocess.PIPE
    )
    try:
        wakeups = Wakeups(select.poll(), cgroup.Place([], 2, [], 2))
        wakeups.arm(reading(busy.pid), 0.2)
        assert not wakeups.take()
        assert busy.stdin is not None
        busy.stdin.write(b"x")
        busy.stdin.flush()
        assert select.select([woken], [], [], 30)[0], "the clock's timer did not fire"
        assert wakeups.take() == "cpu"
        wakeups.arm(reading(busy.pid), None)
        assert not wakeups.take()
        wakeups.end()
    finally:
        busy.kill()
        busy.communicate()


def test_a_process_that_is_gone_has_no_clock(woken: int) -> None:
    gone = subprocess.Popen(["sleep", "60"])
    last = reading(gone.pid)
    wakeups = Wakeups(select.poll(), cgroup.Place([], 2, [], 2))
    wakeups.arm(last, 0.2)
    gone.kill()
    gone.wait()
    assert not wakeups.take()
    wakeups.arm(last, 0.2)
    assert not wakeups.take()
    wakeups.end()


def test_the_end_of_a_process_that_is_no_child_wakes() -> None:
    poller = select.poll()
    wakeups = Wakeups(poller, cgroup.Place([], 2, [], 2))
    other = subprocess.Popen(["sleep", "60"])
    wakeups.follow_ends([other.pid])
    wakeups.look(0.0, [fd for fd, _ in poller.poll(0)])
    assert not wakeups.take()
    other.kill()
    ready = [fd for fd, _ in poller.poll(30_000)]
    assert ready
    wakeups.look(0.0, ready)
    assert not poller.poll(0)
    assert wakeups.take() == "end"
    assert not wakeups.take()
    other.wait()
    wakeups.end()


def test_what_a_place_refuses_is_named(tmp_path: object) -> None:
    wakeups = Wakeups(select.poll(), cgroup.Place([str(tmp_path)], 1, [], 1))
    assert {"memory.oom_control", "memory.pressure"} <= set(wakeups.missing)
    wakeups.end()
