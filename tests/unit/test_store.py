from __future__ import annotations

import _thread
import errno
import fcntl
import json
import os
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from supervisor import evidence, store
from supervisor.actions import retention
from supervisor.ctl import door
from supervisor.disk import Disk
from tests.telling import PATIENCE_S
from tests.unit.test_files import NOT_REGULAR, in_its_place


def make(root: Path, run: str = "20261124T111644Z-app-1-abcd") -> store.Store:
    return store.Store(str(root), run, 0o600, 10**9, Disk())


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["/usr/bin/app", "x"], "app"),
        (["python3.11", "-u", "scripts/leak.py"], "leak"),
        (["python", "-m", "gunicorn", "app:app"], "gunicorn"),
        (["python", "-c", "print()"], "python"),
        (["sh", "run.sh"], "run"),
        (["a b/ü$(x)"], "x"),
        (["..."], "command"),
        ([], "watch"),
        (["x" * 300], "x" * 40),
    ],
)
def test_names(command: list[str], name: str) -> None:
    assert store.command_name(command) == name


def test_a_run_id_sorts_by_time_and_tells_what_ran() -> None:
    first, second = store.run_id(["a"], 7, 1e9), store.run_id(["a"], 7, 1e9 + 1)
    assert (
        first < second and first.startswith("20010909T014640Z-a-7-") and len(first) == len("20010909T014640Z-a-7-abcd")
    )


def test_all_is_private(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        place = make(tmp_path / "profiles")
        place.begin({"outcome": None})
        place.category("auto-memory")
        place.flight.add(b"{}\n")
    finally:
        os.umask(old)
    for path in (tmp_path / "profiles").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_a_live_run_is_locked_and_no_previous_one(tmp_path: Path) -> None:
    first = make(tmp_path, "20260101T000000Z-a-1-0000")
    first.begin({"run": "20260101T000000Z-a-1-0000", "outcome": None})
    second = "20260102T000000Z-a-2-0000"
    assert store.previous_run(str(tmp_path), second) is None
    assert first._lock_fd is not None
    fcntl.flock(first._lock_fd, fcntl.LOCK_UN)
    found = store.previous_run(str(tmp_path), second)
    assert found is not None and found["run"] == "20260101T000000Z-a-1-0000"


@pytest.mark.parametrize("kind", NOT_REGULAR)
def test_what_is_no_file_holds_nobody_up(tmp_path: Path, kind: str) -> None:
    run = tmp_path / "monitored" / "20260101T000000Z-a-1-0000"
    run.mkdir(parents=True)
    for path in (run / "run.json", run / "flight.jsonl", tmp_path / "budget.json"):
        in_its_place(kind, path)
    assert store.previous_run(str(tmp_path), "x") is None
    assert store.last_sample(str(tmp_path), run.name) == {}
    assert make(tmp_path).spent_before("app", 0) == []


def test_a_lock_is_held_free_or_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    path.write_text("{}")
    holder, asking = os.open(path, os.O_RDONLY), os.open(path, os.O_RDONLY)
    assert store.lock_held(asking) is False
    fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)  # asking has left no lock of its own
    assert store.lock_held(asking) is True
    os.close(holder)

    def none(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    assert store.lock_held(asking) is None
    os.close(asking)


def test_where_there_are_no_locks_each_who_asks_is_careful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run that may live nothing is removed, nothing is told as its end; it is read like one that is over."""
    run = "20260101T000000Z-a-1-0000"
    make(tmp_path, run).begin({"run": run, "outcome": None})

    def none(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    monitored = os.open(tmp_path / "monitored", os.O_RDONLY)
    assert retention.locked(monitored, run) is True
    os.close(monitored)
    assert store.previous_run(str(tmp_path), "x") is None
    record = tmp_path / "monitored" / run / "run.json"
    record.write_text(json.dumps({"run": run, "outcome": "exited"}))
    assert store.previous_run(str(tmp_path), "x") == {"run": run, "outcome": "exited"}
    record.write_text(json.dumps({"run": run, "outcome": None}))
    assert not evidence.read(str(tmp_path / "monitored" / run)).lives


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00"])
def test_a_record_cut_short_trips_nobody(tmp_path: Path, text: str) -> None:
    run = tmp_path / "monitored" / "20260101T000000Z-a-1-0000"
    run.mkdir(parents=True)
    (run / "run.json").write_text(text)
    found = store.previous_run(str(tmp_path), "x")
    assert found is None or found["unreadable"]


def test_the_budget_is_kept_by_command_and_survives_garbage(tmp_path: Path) -> None:
    place = make(tmp_path)
    assert place.spent_before("app", 0) == []
    place.note_spent("app", [("growth", "warning", 100.0), ("stacks", "critical", 200.0)])
    place.note_spent("other", [("growth", "warning", 300.0)])
    assert place.spent_before("app", 150) == [("stacks", "critical", 200.0)]
    for garbage in ("", "[]", '{"app": 3}', '{"app": [["x"]]}'):
        (tmp_path / "budget.json").write_text(garbage)
        assert place.spent_before("app", 0) == []
        place.note_spent("app", [])


def fails(path: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[store.Store | None, list[Any]]:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    return store.open_store(str(path), "20260101T000000Z-a-1-0000", 0o600, 10**9)


def test_a_file_or_a_link_in_its_place_falls_back_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    place, moved = fails(tmp_path / "file", tmp_path, monkeypatch)
    assert place is not None and place.root.startswith(str(tmp_path / "tmp"))
    assert moved == [(str(tmp_path / "file"), "Not a directory", place.root)]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    place, moved = fails(tmp_path / "link", tmp_path, monkeypatch)
    assert place is not None and moved[0][1] == "it is a link, and guard follows none"
    assert os.listdir(tmp_path / "elsewhere") == []


def test_with_no_place_at_all_there_is_only_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "tmp").write_text("")
    place, moved = fails(tmp_path / "file", tmp_path, monkeypatch)
    assert place is None and [entry[2] for entry in moved] == [None, None]


def test_a_fallback_that_another_user_made_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    shared = tmp_path / "tmp" / f"guard-{os.getuid()}"
    shared.mkdir(parents=True)
    shared.chmod(0o777)
    place, _ = fails(tmp_path / "file", tmp_path, monkeypatch)
    assert place is None


def test_records_are_json(tmp_path: Path) -> None:
    place = make(tmp_path)
    place.begin({"command": ["\udcff"], "outcome": None})
    place.end({"outcome": "exited"})
    assert json.loads(Path(place.run_path, "run.json").read_text()) == {"outcome": "exited"}


def test_a_place_that_fails_leaves_no_thread_and_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("wanted", "temporary"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "monitored").write_text("in the way")
    places = (str(tmp_path / "wanted"), str(tmp_path / "temporary"))
    monkeypatch.setattr(store, "places", lambda wanted: places)
    monkeypatch.setattr(store, "private_parent", lambda place, wanted: None)
    threads, opened = _thread._count(), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        found, failed = store.open_store(places[0], "run", 0o600, 1 << 30)
        assert found is None and len(failed) == 2
    patience_s = time.monotonic() + PATIENCE_S
    while _thread._count() != threads:
        assert time.monotonic() < patience_s, "threads are left"
        time.sleep(0.01)
    assert len(os.listdir("/proc/self/fd")) == opened


def test_a_disk_that_hangs_does_not_keep_the_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    opened = door.open_door(folder, "run")
    os.close(folder)
    thawed, entered = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> None:
        entered.set()
        thawed.wait(60)

    monkeypatch.setattr(os, "unlink", hang)
    opened.close()
    assert entered.is_set() and not thawed.is_set()
    thawed.set()
