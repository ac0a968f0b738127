"""A helper that is fed: what it gets, what it doesn't get when it doesn't read, and when it is ended for that."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor import helper
from supervisor.helper import Helper

ECHO = """
import json, sys
spec = json.loads(sys.stdin.readline())
print(json.dumps({"got": spec["word"]}), flush=True)
for line in sys.stdin:
    print(line, end="", flush=True)
print(json.dumps({"got": "the end"}), flush=True)
"""


def runs(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Helpers run this, whatever their module is."""
    (folder / "runs.py").write_text(code)
    monkeypatch.setattr(helper, "_HELPED", str(folder / "runs.py"))


class Fed:
    """A fed helper with its poller and pids."""

    def __init__(self) -> None:
        self.poller = select.poll()
        self.pids: set[int] = set()
        self.helper = Helper("echo", self.poller, self.pids, fed=True)
        self.helper.begin({"word": "first"})
        (self.pid,) = self.pids

    def told(self) -> list[dict[str, object]]:
        while not (found := self.helper.take()) and not self.helper.failed:
            assert self.poller.poll(20_000)
        return found


@pytest.fixture
def fed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fed]:
    runs(ECHO, tmp_path, monkeypatch)
    running = Fed()
    yield running
    running.helper.end()
    if running.pids:
        os.kill(running.pid, signal.SIGKILL)
        os.waitpid(running.pid, 0)


def test_it_gets_its_spec_and_then_lines(fed: Fed) -> None:
    assert fed.told() == [{"got": "first"}]
    assert fed.helper.send(b'{"got": 2}\n', 0.0)
    assert fed.told() == [{"got": 2}]
    assert b"first" not in Path(f"/proc/{fed.pid}/cmdline").read_bytes()


def test_what_a_pipe_would_not_take_whole_is_refused(fed: Fed) -> None:
    assert not fed.helper.send(b"x" * select.PIPE_BUF + b"\n", 0.0)
    assert fed.told() == [{"got": "first"}]


def test_one_that_does_not_read_loses_lines_and_is_killed(fed: Fed) -> None:
    """And never holds up who feeds it: a full pipe is an answer at once."""
    fed.told()
    os.kill(fed.pid, signal.SIGSTOP)
    os.waitpid(fed.pid, os.WUNTRACED)
    line = b'{"a": "' + b"x" * 4000 + b'"}\n'
    sent = 0
    while fed.helper.send(line, 10.0):
        sent += 1
    assert 8 <= sent < 64
    assert not fed.helper.send(line, 10.0 + helper._STUCK_S - 1)
    assert os.waitpid(fed.pid, os.WNOHANG) == (0, 0)
    assert not fed.helper.send(line, 10.0 + helper._STUCK_S)
    assert os.waitpid(fed.pid, 0)[1] == signal.SIGKILL
    fed.pids.clear()
    assert fed.told() == []
    assert fed.helper.failed == "it ended"
    assert not fed.helper.send(line, 50.0)


def test_its_end_is_the_end_of_what_it_is_fed(fed: Fed) -> None:
    fed.told()
    assert fed.helper.lives
    fed.helper.end()
    _, status = os.waitpid(fed.pid, 0)
    fed.pids.clear()
    assert os.WIFEXITED(status)
    assert not fed.helper.lives


def test_what_ends_all_of_a_service_does_not_end_it_before_guard(fed: Fed) -> None:
    fed.told()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(fed.pid, number)
    assert fed.helper.send(b'{"still": "here"}\n', 0.0)
    assert fed.told() == [{"still": "here"}]


def test_one_that_is_not_fed_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs("import time\nprint('{\"got\": 1}', flush=True)\ntime.sleep(600)\n", tmp_path, monkeypatch)
    poller, pids = select.poll(), set[int]()
    lasting = Helper("waits", poller, pids)
    lasting.begin({})
    (pid,) = pids
    assert poller.poll(20_000) and lasting.take() == [{"got": 1}]
    lasting.end()
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
