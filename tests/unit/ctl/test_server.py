"""The door and who comes to it: real sockets, a clock of the test's own."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import evidence
from supervisor.ctl import client, door, server
from supervisor.ctl.server import MOST_CLIENTS, MOST_REQUEST_BYTES, SILENCE_S, BadRequest, Control, parse
from supervisor.errors import UsageError
from supervisor.model import VERBS, Asked

RUN = "20261124T111644Z-app-4242-0a1b"


class Place:
    """A control with its door in a folder."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "monitored" / RUN
        self.folder.mkdir(parents=True, mode=0o700)
        self.poller = select.poll()
        self.control = Control(self.poller)
        fd = os.open(self.folder, os.O_RDONLY)
        self.door = door.open_door(fd, RUN)
        os.close(fd)
        self.control.attach(self.door)

    def turn(self, now_s: float = 0.0) -> list[Asked]:
        """One turn of the loop: what is asked now."""
        ready = [fd for fd, _ in self.poller.poll(0)]
        asked = self.control.serve(ready, now_s)
        self.control.enforce(now_s)
        return asked

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        fd = os.open(self.folder, os.O_RDONLY)
        connection.connect(f"/proc/self/fd/{fd}/{door.NAME}")
        os.close(fd)
        return connection

    def ask(self, data: bytes, turns: int = 2) -> tuple[socket.socket, list[Asked]]:
        connection = self.connect()
        connection.sendall(data)
        return connection, [asked for _ in range(turns) for asked in self.turn()]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path)
    yield found
    found.control.close()


def told(connection: socket.socket) -> dict[str, Any]:
    """The one answer, and that it was the last word."""
    with connection:
        data = b""
        with contextlib.suppress(ConnectionResetError):  # what it sent was not read to the end
            while chunk := connection.recv(65536):
                data += chunk
    assert data.endswith(b"\n") and data.count(b"\n") == 1
    return dict(json.loads(data))


def test_a_request_and_its_answer(place: Place) -> None:
    connection, asked = place.ask(b'{"verb": "profile", "pid": 7, "duration_s": 2}\n')
    assert asked == [Asked(1, "profile", os.geteuid(), os.getpid(), 7, 2.0)]
    place.control.under_way(1)  # it waits for the end
    place.control.answer(1, {"ok": True, "paths": ["a"]})
    assert told(connection) == {"ok": True, "paths": ["a"]}
    assert place.turn() == []


def test_who_does_not_wait_is_told_when_it_begins(place: Place) -> None:
    connection, asked = place.ask(b'{"verb": "stacks", "wait": false}\n')
    place.control.under_way(asked[0].number)
    assert told(connection) == {"ok": True, "waited": False}


def test_a_request_may_come_in_pieces(place: Place) -> None:
    connection, asked = place.ask(b'{"verb": ')
    assert asked == []
    connection.sendall(b'"state"}\n')
    (found,) = place.turn()
    assert found.verb == "state"
    connection.close()


def test_the_socket_is_private_and_goes_with_the_run(place: Place) -> None:
    status = os.lstat(place.folder / door.NAME)
    assert stat.S_ISSOCK(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o600
    assert place.door.where == door.NAME
    place.control.close()
    assert os.listdir(place.folder) == []


def test_a_long_path_is_no_obstacle(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 6)
    place = Place(deep)
    assert len(str(place.folder)) > 108
    run = evidence.read(str(place.folder))
    assert client.is_reachable(run)
    place.control.close()
    assert not client.is_reachable(run)


@pytest.mark.parametrize("planted", ["link", "file", "socket"])
def test_what_stands_in_its_place_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: str) -> None:
    """Neither followed nor replaced: the door is elsewhere, and the record will name it."""
    folder, temporary = tmp_path / "run", tmp_path / "tmp"
    folder.mkdir()
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    path = folder / door.NAME
    with socket.socket(socket.AF_UNIX) as other:
        if planted == "link":
            path.symlink_to(tmp_path / "elsewhere")
        elif planted == "file":
            path.write_text("mine")
        else:
            monkeypatch.chdir(folder)
            other.bind(door.NAME)
        before = os.lstat(path)
        fd = os.open(folder, os.O_RDONLY)
        found = door.open_door(fd, RUN)
        os.close(fd)
        assert os.lstat(path).st_ino == before.st_ino and not (tmp_path / "elsewhere").exists()
        assert found.where == str(temporary / f"guard-{os.getuid()}" / f"{RUN}.sock")
        (folder / "run.json").write_text(json.dumps({"ctl": found.where}))
        run = evidence.read(str(folder))
        assert client.is_reachable(run)
        os.chmod(temporary / f"guard-{os.getuid()}", 0o755)  # not private: whoever made it may not be guard
        assert not client.is_reachable(run)
        found.close()


def test_a_client_follows_no_link(tmp_path: Path) -> None:
    place = Place(tmp_path)
    real = tmp_path / "real"
    os.rename(place.folder / door.NAME, real)
    run = evidence.read(str(place.folder))
    os.symlink(real, place.folder / door.NAME)
    assert not client.is_reachable(run)
    os.unlink(place.folder / door.NAME)
    os.link(real, place.folder / door.NAME)
    assert client.is_reachable(run)
    place.control.close()


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense\n",
        b"[]\n",
        b'{"verb": "explode"}\n',
        b'{"verb": "state"}\n{"verb": "stop"}\n',
        b'{"verb": "state", "shell": "id"}\n',
        b'{"verb": "stacks", "pid": true}\n',
        b'{"verb": "stacks", "pid": -1}\n',
        b'{"verb": "profile", "duration_s": NaN}\n',
        b'{"verb": "profile", "duration_s": 1e9}\n',
        b'{"verb": "stop", "wait": 0}\n',
        b"x" * (MOST_REQUEST_BYTES + 1),
        b'"' + b"x" * MOST_REQUEST_BYTES + b'"\n',
        b"[" * (MOST_REQUEST_BYTES - 1) + b"\n",
    ],
)
def test_what_is_no_request_is_refused_and_named(place: Place, line: bytes) -> None:
    connection, asked = place.ask(line, turns=3)
    assert asked == []
    answer = told(connection)
    assert answer["ok"] is False and answer["error"].startswith("not a request: ") and answer["hint"]
    ((name, fields),) = place.control.news
    assert name == "ctl.refused" and fields["uid"] == os.geteuid()


@given(st.one_of(st.binary(max_size=300), st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(), lambda inner: st.lists(inner)
    | st.dictionaries(st.sampled_from(["verb", "pid", "duration_s", "wait", "x"]), inner)).map(
        lambda value: json.dumps(value).encode())))  # fmt: skip
def test_parsing_never_breaks(line: bytes) -> None:
    try:
        verb, pid, duration_s, wait = parse(line)
    except BadRequest:
        return
    assert verb in VERBS and isinstance(wait, bool)
    assert pid is None or 0 < pid < 1 << 31
    assert duration_s is None or 0 < duration_s <= server.MOST_DURATION_S


def test_who_says_nothing_is_dropped_and_who_waits_is_not(place: Place) -> None:
    waiting, _ = place.ask(b'{"verb": "stop"}\n')
    silent = place.connect()
    place.turn(1.0)
    assert place.control.enforce(1.0) == SILENCE_S
    place.turn(1.0 + SILENCE_S)
    assert "no request came" in told(silent)["error"]
    assert place.control.enforce(1e6) == float("inf")
    place.control.answer_all(("stop",), {"ok": True})
    assert told(waiting) == {"ok": True}


def test_too_many_are_sent_away_and_room_comes_again(place: Place) -> None:
    held = [place.ask(b'{"verb": "stop"}\n')[0] for _ in range(MOST_CLIENTS)]
    late = place.connect()
    place.turn()
    assert "others ask already" in told(late)["error"]
    held.pop().close()
    place.turn()
    connection, asked = place.ask(b'{"verb": "state"}\n')
    assert [each.verb for each in asked] == ["state"]
    for each in (*held, connection):
        each.close()
    place.turn()
    place.control.answer(asked[0].number, {"ok": True})  # nobody is there: nothing happens


def test_who_talks_on_is_dropped(place: Place) -> None:
    connection, asked = place.ask(b'{"verb": "stop"}\n')
    connection.sendall(b"more\n")
    place.turn()
    place.control.answer(asked[0].number, {"ok": True})
    with pytest.raises(ConnectionError):
        if not connection.recv(10):
            raise ConnectionError
    connection.close()


def test_another_user_is_refused(place: Place) -> None:
    place.control._uids = (os.geteuid() + 1, os.geteuid() + 2)
    connection, asked = place.ask(b'{"verb": "stop"}\n')
    assert asked == [] and "only the user" in told(connection)["error"]
    assert place.control.news[0][1]["peer_pid"] == os.getpid()


def test_a_listener_that_cannot_accept_is_no_busy_loop(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, listener: Any) -> None:
            self.fileno, self.close = listener.fileno, listener.close

        def _accept(self) -> None:
            raise OSError(24, "Too many open files")

    listener = place.door.listener
    place.door.listener = Full(listener)  # type: ignore[assignment]
    connection = place.connect()
    place.turn(5.0)
    assert place.poller.poll(0) == []
    assert place.control.news == [
        ("ctl.failed", {"reason": "Too many open files", "path": door.NAME, "hint": "ulimit -n"})
    ]
    place.door.listener = listener
    assert place.control.enforce(5.5) == 0.5
    connection.sendall(b'{"verb": "state"}\n')
    assert place.turn(6.0) == [] and place.turn(6.1) == []
    (asked,) = place.turn(6.2)
    assert asked.verb == "state"
    connection.close()


def test_another_life_has_another_door_and_who_waits_stays(place: Place, tmp_path: Path) -> None:
    connection, asked = place.ask(b'{"verb": "restart"}\n')
    folder = tmp_path / "next"
    folder.mkdir()
    fd = os.open(folder, os.O_RDONLY)
    place.control.attach(door.open_door(fd, RUN))
    os.close(fd)
    assert os.listdir(place.folder) == [] and os.listdir(folder) == [door.NAME]
    place.control.answer_all(("restart",), {"ok": True, "run": "next"})
    assert told(connection)["run"] == "next" and asked[0].verb == "restart"


def test_an_answer_that_is_too_long_is_said_to_be(place: Place) -> None:
    connection, asked = place.ask(b'{"verb": "state"}\n')
    place.control.answer(asked[0].number, {"ok": True, "text": "x" * server.MOST_ANSWER_BYTES})
    assert told(connection) == {"ok": False, "error": "the answer is too long", "hint": ""}


def test_no_such_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no guard runs"):
        client.find(str(tmp_path), None)
    with pytest.raises(UsageError, match="no run"):
        client.find(str(tmp_path), "web")


def test_a_run_by_id_by_a_part_and_the_only_one(place: Place, tmp_path: Path) -> None:
    (place.folder / "run.json").write_text("{}")
    for wanted in (None, "last", RUN, "20261124", "app-4242", str(place.folder)):
        assert client.find(str(tmp_path), wanted).id == RUN
        place.turn()  # who only looks whether somebody is there is let in and forgotten
        place.turn()
    ended = tmp_path / "monitored" / RUN.replace("app", "api")
    ended.mkdir()
    (ended / "run.json").write_text('{"outcome": "exited"}')
    assert client.find(str(tmp_path), "a").id == RUN  # the other one can't be meant
    with pytest.raises(UsageError, match="has ended"):
        client.find(str(tmp_path), "api")
    other = Place(tmp_path / "other")
    os.rename(other.folder, tmp_path / "monitored" / RUN.replace("app", "apt"))
    with pytest.raises(UsageError, match="2 guards run"):
        client.find(str(tmp_path), None)
    with pytest.raises(UsageError, match="fits 2 runs"):
        client.find(str(tmp_path), "ap")
    assert client.find(str(tmp_path), "apt").id != RUN
    other.control.close()
