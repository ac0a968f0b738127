"""What a batch sends, what it notes, what it leaves: with a way that is a list, and a clock that is a number."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.actions.ship import Batch, Done
from supervisor.shipping import ledger
from supervisor.shipping.failure import Undelivered
from supervisor.shipping.target import parse

OWN = "20261126T180625Z-app-1-aaaa"
OLD = "20261125T180625Z-app-1-bbbb"
URL = "https://a.example/in"


class Wire:
    """A way that keeps what it gets, and fails as told: one failure an attempt, None for none."""

    def __init__(self, *failures: Undelivered | None) -> None:
        self.got: dict[str, bytes] = {}
        self.order: list[str] = []
        self.failures = list(failures)
        self.refuses: dict[str, Undelivered] = {}

    def send(self, key: tuple[str, ...], file: BinaryIO, size: int, left_s: float) -> None:
        if self.failures and (failure := self.failures.pop(0)) is not None:
            raise failure
        if key[-1] in self.refuses:
            raise self.refuses[key[-1]]
        self.got["/".join(key)] = file.read(size)
        self.order.append(key[-1])

    def close(self) -> None:
        self.order.append("closed")


def down() -> Undelivered:
    return Undelivered("server-error", "503", "", again=True)


def refused(*, whole: bool) -> Undelivered:
    return Undelivered("refused", "413", "", whole=whole)


def make(root: Path, run: str, *evidence: str, marked: bool = True, record: str = "{}") -> Path:
    folder = root / "monitored" / run
    folder.mkdir(parents=True)
    for name in ("run.json", "events.jsonl", "flight.jsonl"):
        (folder / name).write_text(record)
    for name in evidence:
        (root / "auto-memory" / run).mkdir(parents=True, exist_ok=True)
        (root / "auto-memory" / run / name).write_text(name)
    if marked:
        document = ledger.first(URL, parse(URL)).document() | {"host": "host"}
        (folder / "shipped.json").write_text(json.dumps(document))
    return folder


def ship(root: Path, way: Wire, *, url: str = URL, time_s: float = 60.0, **spec: Any) -> tuple[Done, list[float]]:
    """One batch; what came of it, and the waits. Raises Undelivered."""
    given = {"root": str(root), "run": OWN, "scope": "final", "leftovers": False, "time_s": time_s, "mode": 0o600}
    done, now, waits = Done(), [0.0], []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    with Batch(given | spec, ledger.first(url, parse(url)), done, lambda: now[0], sleep) as batch:
        batch.way = way
        batch.ship_all()
    return done, waits


def noted(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "shipped.json").read_text()))


@pytest.mark.parametrize(
    ("scope", "sent"),
    [
        ("evidence", ["001-a.md", "002-b.md"]),
        ("all", ["run.json", "001-a.md", "002-b.md", "events.jsonl", "flight.jsonl"]),
        ("final", ["run.json", "001-a.md", "002-b.md", "events.jsonl", "flight.jsonl"]),
    ],
)
def test_scopes(tmp_path: Path, scope: str, sent: list[str]) -> None:
    folder = make(tmp_path, OWN, "002-b.md", "001-a.md")
    way = Wire()
    done, _ = ship(tmp_path, way, scope=scope)
    assert way.order == [*sent, "closed"]
    assert (done.files, done.bytes) == (len(sent), sum(map(len, way.got.values())))
    assert noted(folder)["complete"] is (scope == "final")
    assert way.got[f"host/{OWN}/001-a.md"] == b"001-a.md"


def test_nothing_is_sent_twice_unless_it_changed(tmp_path: Path) -> None:
    make(tmp_path, OWN, "001-a.md")
    ship(tmp_path, Wire(), scope="all")
    (tmp_path / "monitored" / OWN / "events.jsonl").write_text("more")
    way = Wire()
    ship(tmp_path, way, scope="all")
    assert way.order == ["events.jsonl", "closed"]


def test_another_target_gets_all(tmp_path: Path) -> None:
    folder = make(tmp_path, OWN, "001-a.md")
    ship(tmp_path, Wire(), scope="evidence")
    way = Wire()
    ship(tmp_path, way, scope="evidence", url="https://b.example/in")
    assert way.order == ["001-a.md", "closed"]
    assert noted(folder)["to"] == "https://b.example/…"
    again = Wire()
    ship(tmp_path, again, scope="evidence", url="https://me:new@b.example/in?sig=new")
    assert again.order == ["closed"]


def test_it_tries_again_with_longer_waits_and_then_goes_on(tmp_path: Path) -> None:
    make(tmp_path, OWN)
    way = Wire(down(), down(), down())
    done, waits = ship(tmp_path, way)
    assert waits == [0.3, 0.6, 1.2]
    assert (done.files, done.tries, done.failure) == (3, 6, None)


def test_it_gives_up_after_some_tries_or_when_time_is_over(tmp_path: Path) -> None:
    folder = make(tmp_path, OWN)
    with pytest.raises(Undelivered, match="server-error"):
        ship(tmp_path, Wire(None, *[down()] * 5))
    assert list(noted(folder)["files"]) == ["monitored/run.json"]
    with pytest.raises(Undelivered, match="server-error"):
        ship(tmp_path, Wire(down(), down()), time_s=0.5)
    with pytest.raises(Undelivered, match="deadline"):
        ship(tmp_path, Wire(), time_s=0)
    assert noted(folder)["complete"] is False


def test_time_that_runs_out_between_tries_is_not_the_cause(tmp_path: Path) -> None:
    make(tmp_path, OWN)

    class Slow(Wire):
        def send(self, key: tuple[str, ...], file: BinaryIO, size: int, left_s: float) -> None:
            raise down()

    done, now = Done(), [0.0]
    spec = {"root": str(tmp_path), "run": OWN, "scope": "final", "leftovers": False, "time_s": 0.5, "mode": 0o600}

    def overslept(seconds: float) -> None:
        now[0] += 9

    with Batch(spec, ledger.first(URL, parse(URL)), done, lambda: now[0], overslept) as batch:
        batch.way = Slow()
        with pytest.raises(Undelivered, match="server-error"):
            batch.ship_all()


def test_what_will_not_get_better_is_tried_once(tmp_path: Path) -> None:
    make(tmp_path, OWN)
    way = Wire(refused(whole=True))
    with pytest.raises(Undelivered, match="refused"):
        ship(tmp_path, way)
    assert way.order == ["closed"]


def test_one_file_that_is_refused_does_not_hold_up_others(tmp_path: Path) -> None:
    folder = make(tmp_path, OWN, "001-big.md", "002-b.md")
    way = Wire()
    way.refuses["001-big.md"] = refused(whole=False)
    done, _ = ship(tmp_path, way)
    assert way.order == ["run.json", "002-b.md", "events.jsonl", "flight.jsonl", "closed"]
    assert done.failure is way.refuses["001-big.md"]
    assert noted(folder)["complete"] is False


def test_only_regular_files_that_are_done_are_sent(tmp_path: Path) -> None:
    make(tmp_path, OWN, "001-a.md", ".002-half.md.1.tmp")
    category = tmp_path / "auto-memory" / OWN
    (tmp_path / "secret").write_text("s3cret")
    (category / "003-link.md").symlink_to(tmp_path / "secret")
    os.mkfifo(category / "004-pipe.md")
    (category / "005-folder").mkdir()
    (tmp_path / "auto-cpu").symlink_to(tmp_path / "auto-memory")
    way = Wire()
    ship(tmp_path, way, scope="evidence")
    assert way.order == ["001-a.md", "closed"]


def test_a_link_in_place_of_the_run_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    make(elsewhere, OWN, "001-a.md")
    (tmp_path / "monitored").symlink_to(elsewhere / "monitored")
    (tmp_path / "auto-memory").symlink_to(elsewhere / "auto-memory")
    way = Wire()
    ship(tmp_path, way)
    assert way.order == ["closed"]


def test_earlier_runs_that_are_dead_and_were_to_be_shipped(tmp_path: Path) -> None:
    make(tmp_path, OWN)
    dead = make(tmp_path, OLD, "001-a.md")
    make(tmp_path, "20261124T180625Z-app-1-cccc", "001-never.md", marked=False)
    live = make(tmp_path, "20261123T180625Z-app-1-dddd", "001-live.md")
    complete = make(tmp_path, "20261122T180625Z-app-1-eeee", "001-done.md")
    (complete / "shipped.json").write_text(json.dumps(noted(complete) | {"complete": True}))
    broken = make(tmp_path, "20261121T180625Z-app-1-ffff", "001-broken.md")
    (broken / "shipped.json").write_text("{")
    fd = os.open(live / "run.json", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    way = Wire()
    ship(tmp_path, way, scope="", leftovers=True)
    assert {key.split("/")[1] for key in way.got} == {OLD}
    assert noted(dead)["complete"] is True
    again = Wire()
    ship(tmp_path, again, scope="", leftovers=True)
    assert again.got == {}
    os.close(fd)


def test_two_guards_do_not_ship_the_same_run_at_once(tmp_path: Path) -> None:
    folder = make(tmp_path, OLD)
    fd = os.open(folder, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    way = Wire()
    ship(tmp_path, way, scope="", leftovers=True)
    assert way.got == {}
    os.close(fd)
    ship(tmp_path, way, scope="", leftovers=True)
    assert len(way.got) == 3


def test_a_file_that_grows_is_sent_as_long_as_it_was(tmp_path: Path) -> None:
    folder = make(tmp_path, OWN)

    class Growing(Wire):
        def send(self, key: tuple[str, ...], file: BinaryIO, size: int, left_s: float) -> None:
            with (folder / "flight.jsonl").open("a") as flight:
                flight.write("one more line\n")
            super().send(key, file, size, left_s)

    way = Growing()
    ship(tmp_path, way, scope="all")
    assert len(way.got[f"host/{OWN}/flight.jsonl"]) == noted(folder)["files"]["monitored/flight.jsonl"][0]


@given(st.lists(st.booleans(), max_size=12), st.integers(0, 4))
def test_whenever_it_ends_the_rest_goes_with_the_next(
    tmp_path_factory: pytest.TempPathFactory, fails: list[bool], evidence: int
) -> None:
    root = tmp_path_factory.mktemp("profiles")
    make(root, OLD, *(f"{number:03}-x.md" for number in range(evidence)))
    sent: list[str] = []
    for failing in (fails, []):
        way = Wire(*(down() if fail else None for fail in failing))
        try:
            ship(root, way, scope="", leftovers=True)
        except Undelivered:
            pass
        sent += way.order[:-1]
    assert sorted(sent) == sorted(
        ["run.json", "events.jsonl", "flight.jsonl", *(f"{n:03}-x.md" for n in range(evidence))]
    )
    assert noted(root / "monitored" / OLD)["complete"] is True
