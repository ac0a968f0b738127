"""The disk's thread: results and errors as if called directly, and no wait for what hangs."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from supervisor.disk import PATIENCE_S, Disk


def test_results_and_errors_come_back(tmp_path: Path) -> None:
    disk = Disk()
    assert disk.run(os.path.join, "a", "b") == "a/b"
    with pytest.raises(FileNotFoundError):
        disk.run(os.stat, tmp_path / "absent")
    assert disk.run(os.stat, tmp_path, follow_symlinks=False).st_ino == tmp_path.stat().st_ino


def test_what_hangs_is_left_and_refused_until_it_is_through() -> None:
    disk = Disk()
    gate, done = threading.Event(), threading.Event()

    def hang() -> str:
        gate.wait(20)
        done.set()
        return "late"

    began = time.monotonic()
    with pytest.raises(OSError) as first:
        disk.run(hang)
    assert first.value.errno == errno.ETIMEDOUT and PATIENCE_S <= time.monotonic() - began < 10
    with pytest.raises(OSError, match="the disk hangs"):
        disk.run(os.getpid)
    gate.set()
    assert done.wait(20)
    assert disk.run_for(20.0, os.getpid) == os.getpid()  # its own result, not the late one
    assert disk.run(os.getppid) == os.getppid()


def test_its_thread_takes_no_signals() -> None:
    mask = Disk().run(signal.pthread_sigmask, signal.SIG_BLOCK, ())
    assert signal.SIGTERM in mask and signal.SIGCHLD in mask
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
