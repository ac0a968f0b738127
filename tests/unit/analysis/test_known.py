"""What profiles of a comparison share changes nothing in any of them, and stays bounded."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.analysis import foldedfile, known
from supervisor.analysis.folded import split_frame
from supervisor.analysis.known import Known, Shared
from supervisor.analysis.reading import Tally

FRAMES = st.sampled_from(
    ["main (a.py:1)", "main (a.py:9)", "main (a.py)", "work (a.py:3)", "f", "lib (x.so)", "a:1)", "thread (0x7F): x"]
)
LINES = st.lists(st.tuples(st.lists(FRAMES, min_size=1, max_size=5).map(";".join), st.integers(0, 3)), max_size=12)


def read(lines: list[tuple[str, int]], shared: Shared | None) -> dict[str, Any]:
    data = "".join(f"{stack} {weight}\n" for stack, weight in lines).encode()
    return foldedfile.read(BytesIO(data), data, keep=True, shared=shared).packed()


@given(st.lists(LINES, min_size=2, max_size=4))
def test_a_profile_is_read_as_if_it_were_alone(profiles: list[list[tuple[str, int]]]) -> None:
    shared = Shared()
    assert [read(each, shared) for each in profiles] == [read(each, None) for each in profiles]


def test_a_stack_is_taken_apart_once() -> None:
    shared = Shared()
    read([("a (a.py:1);b (b.py:1)", 1)], shared)
    table = shared.of(split_frame)
    table.clear()
    read([("a (a.py:1);b (b.py:1)", 5)], shared)
    assert set(table) == {b"a (a.py:1)", b"b (b.py:1)"}  # for the lines of a new profile's functions
    read([("a (a.py:1);b (b.py:1)", 5)] * 3, shared)
    table.clear()
    assert table.functions([b"a (a.py:1);b (b.py:1)"]) and not table


def test_what_only_looks_like_a_line_makes_no_function_of_two() -> None:
    tally = Tally()
    for frame in (":12)", "12)", "a:12)", "a:13)", "f (a.py:1)", "f (a.py:2)"):
        tally.add(frame, 1)
    names = [function for function, _ in tally.reading("x").functions]
    assert names == [":12)", "12)", "a:12)", "a:13)", "f"]


def test_stacks_are_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "_MOST_STACK_BYTES", 5000)
    table = Known(remember=True)
    for number in range(100):
        table.functions([b"f (a.py:1);g%d (a.py:2)" % number])
    assert 10 < len(table._stacks) < 30
    alone = Known()
    alone.functions([b"f (a.py:1)"])
    assert not alone._stacks


def test_too_many_functions_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MOST_FUNCTIONS", 3)
    shared = Shared()
    for text in ("abc", "cde"):
        found = read([(f"main;{letter}", 1) for letter in text], shared)["functions"]
        assert [row[0] for row in found] == ["main", *text[:2], "(functions beyond the first 100,000)"]
