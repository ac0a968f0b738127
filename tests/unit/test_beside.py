"""Work in a process beside this one, and what is read there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from supervisor import beside, comparing
from supervisor.beside import Beside
from supervisor.errors import UsageError


def test_an_answer_of_any_size_comes_back() -> None:
    answer = [("x" * 100, None, 1.5, {"a": index}) for index in range(20_000)]
    assert Beside(lambda: answer).answer() == answer


def test_a_process_that_ends_without_an_answer_gives_none() -> None:
    assert Beside(lambda: os._exit(7)).answer() is None
    assert Beside(object).answer() is None  # not plain data


def test_a_process_that_nobody_waits_for_any_more_is_ended() -> None:
    read, write = os.pipe()
    other = Beside(lambda: os.read(read, 1))
    os.close(read)
    other.end()
    with pytest.raises(ChildProcessError):
        os.waitpid(other._pid, os.WNOHANG)
    os.close(write)


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two files that count as large."""
    monkeypatch.setattr(comparing, "_LARGE_BYTES", 1)
    monkeypatch.setattr(beside, "cores", lambda: 2)
    for name in "ab":
        (tmp_path / name).write_text(f"main (a.py:1);{name} (a.py:2) 30\nmain{name} (a.py:1) 5\n")
        (tmp_path / f"{name}.meta.json").write_text('{"used_rate_hz": 50, "seconds": 2.5, "whole": false}')
    return [str(tmp_path / name) for name in "ab"]


def test_sides_read_at_the_same_time_are_those_read_in_turn(pair: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    together = comparing.read_sides(pair[:1], pair[1:], keep=False)
    monkeypatch.setattr(beside, "cores", lambda: 1)
    in_turn = comparing.read_sides(pair[:1], pair[1:], keep=False)
    for one, other in zip(together, in_turn, strict=True):
        assert [each.packed() for each in one] == [each.packed() for each in other]
    assert together[0][0].functions == in_turn[0][0].functions
    assert together[0][0].seconds == 2.5


def test_sides_with_stacks_in_common_are_read_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "_LARGE_BYTES", 1)
    monkeypatch.setattr(beside, "cores", lambda: 2)
    started: list[object] = []

    def refused(work: object) -> None:
        started.append(work)
        raise OSError

    monkeypatch.setattr(beside, "Beside", refused)
    for name, stack in (("a", "main;x"), ("b", "main;x"), ("c", "main;y")):
        (tmp_path / name).write_text(f"{stack} 3\nmain;{name} 2\n")
    paths = {name: [str(tmp_path / name)] for name in "abc"}
    for other, beside_this in (("b", 0), ("c", 1)):
        sides = comparing.read_sides(paths["a"], paths[other], keep=False)
        assert len(started) == beside_this
        assert [reading.total for side in sides for reading in side] == [5, 5]


def children() -> set[str]:
    """This process's children; the session may have others, a machine that boots say."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_what_is_wrong_with_either_side_is_told(pair: list[str]) -> None:
    bad = pair[0] + ".bad"
    before = children()
    Path(bad).write_text("no profile\n")
    for sides, name in (((bad, pair[1]), "baseline"), ((pair[0], bad), "current")):
        with pytest.raises(UsageError, match=f"bad \\({name}\\) is no profile"):
            comparing.read_sides([sides[0]], [sides[1]], keep=False)
    assert children() <= before  # nothing is left behind
