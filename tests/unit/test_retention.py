from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import store
from supervisor.actions import retention
from supervisor.actions.retention import Kept, choose
from supervisor.actions.task import Task

DAY = 86400.0


def run(n: int, *, age: float = 0.0, size: int = 10, lives: bool = False, unshipped: bool = False) -> Kept:
    return Kept(f"run{n}", 1000 * DAY - age, size, lives, unshipped)


@pytest.mark.parametrize(
    ("runs", "limits", "gone"),
    [
        ([run(1), run(2)], (5, 30, 100), []),
        ([run(n, age=n) for n in range(5)], (3, 30, 1000), ["run4", "run3"]),
        ([run(1, age=40 * DAY), run(2)], (5, 30, 1000), ["run1"]),
        ([run(1, age=3, size=60), run(2, age=2, size=60), run(3, age=1, size=60)], (5, 30, 100), ["run1", "run2"]),
        # What isn't shipped goes last, but it goes.
        ([run(1, age=3, unshipped=True), run(2, age=2), run(3, age=1)], (2, 30, 1000), ["run2"]),
        ([run(1, age=3, unshipped=True), run(2, age=2, unshipped=True)], (1, 30, 1000), ["run1"]),
        ([run(1, age=40 * DAY, unshipped=True), run(2, age=2)], (1, 30, 1000), ["run1"]),
        ([run(1, age=99 * DAY, lives=True), run(2, age=2, size=500)], (5, 30, 100), ["run2"]),
    ],
)
def test_choose(runs: list[Kept], limits: tuple[int, int, int], gone: list[str]) -> None:
    count, days, size = limits
    assert choose(runs, 1000 * DAY, keep_runs=count, keep_age_s=days * DAY, keep_bytes=size) == gone


@given(
    st.lists(st.tuples(st.floats(0, 1e7), st.integers(0, 100), st.booleans(), st.booleans()), max_size=20),
    st.integers(1, 10),
    st.integers(1, 300),
)
def test_what_stays_fits_unless_it_lives(entries: list[tuple[float, int, bool, bool]], count: int, size: int) -> None:
    runs = [Kept(f"r{n:02}", age, *rest) for n, (age, *rest) in enumerate(entries)]
    gone = set(choose(runs, 1e7, keep_runs=count, keep_age_s=1e8, keep_bytes=size))
    stays = [kept for kept in runs if kept.run not in gone]
    assert not any(kept.lives for kept in runs if kept.run in gone)
    if not any(kept.lives for kept in stays):
        assert len(stays) <= count and sum(kept.size_bytes for kept in stays) <= size


def make(root: Path, run: str, *, size: int = 100) -> Path:
    for category in ("monitored", "auto-memory"):
        (root / category / run).mkdir(parents=True)
        (root / category / run / "file").write_bytes(b"x" * size)
    record = root / "monitored" / run / "run.json"
    record.write_text("{}")
    return record


def test_it_removes_old_runs_but_no_live_one_and_follows_no_link(tmp_path: Path) -> None:
    root = tmp_path / "profiles"
    ids = [f"2026010{n}T000000Z-app-{n}-abcd" for n in range(1, 6)]
    records = [make(root, run) for run in ids]
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (root / "auto-memory" / ids[1] / "link").symlink_to(outside)
    (root / "auto-cpu").symlink_to(outside)
    (root / "monitored" / "not-a-run").mkdir()
    live = os.open(records[0], os.O_RDONLY)
    fcntl.flock(live, fcntl.LOCK_EX)
    spec = {
        "action": "retention", "state": "ok", "pid": 0, "name": "", "run": ids[4], "root": str(root),
        "directory": str(root / "monitored" / ids[4]), "keep_runs": 1, "keep_age_s": 1e9, "keep_bytes": 1 << 40,
    }  # fmt: skip
    result = retention.take(Task(spec))
    os.close(live)
    assert result["removed"] == 3
    assert sorted(os.listdir(root / "monitored")) == [ids[0], ids[4], "not-a-run"]
    assert sorted(os.listdir(root / "auto-memory")) == [ids[0], ids[4]]
    assert (outside / "precious").exists()


def test_profiles_push_out_no_run_and_live_only_while_they_are_taken(tmp_path: Path) -> None:
    root = tmp_path / "profiles"
    old = "20260101T000000Z-app-1-abcd"
    make(root, old)
    profiles = [f"2026020{n}T000000Z-app-{n}-abcd" for n in range(1, 5)]
    for run in profiles:
        (root / "development" / run).mkdir(parents=True)
    taken = os.open(root / "development" / profiles[0], os.O_RDONLY)
    fcntl.flock(taken, fcntl.LOCK_EX)
    with retention.Place(str(root)) as place:
        found = place.survey()
        assert {kept.run for kept in found if kept.profile} == set(profiles)
        assert [kept.run for kept in found if kept.lives] == [profiles[0]]
        gone = choose(found, time.time(), keep_runs=2, keep_age_s=1e9, keep_bytes=1 << 40)
        assert gone == profiles[1:3]
        assert not place.remove(profiles[0]) and place.remove(profiles[1])
    os.close(taken)


def test_a_runs_time_is_in_its_id() -> None:
    at = store.began("20261124T111644Z-app-1-abcd")
    assert at is not None
    assert time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)) == "2026-11-24T11:16:44Z"
    assert store.began("baseline.md") is None


def test_two_that_remove_the_same_run_both_see_it_gone(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    run = "20260101T000000Z-app-1-abcd"
    for _ in range(3):
        (tmp_path / run).mkdir()
        for number in range(500):
            (tmp_path / run / f"{number}").write_text("")
        fd = os.open(tmp_path, os.O_RDONLY)
        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(lambda _, fd=fd: retention._remove(fd, run), range(3))) == [True] * 3
        os.close(fd)
        assert not (tmp_path / run).exists()
