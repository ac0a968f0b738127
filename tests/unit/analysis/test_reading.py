"""What a tally adds up, in bounded memory, and what an order of samples says about their worth."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.analysis import known, reading
from supervisor.analysis.folded import by_function
from supervisor.analysis.known import OTHERS
from supervisor.analysis.reading import Tally, inflation

FRAMES = st.sampled_from(
    [
        "main (a.py:1)",
        "main (a.py:9)",
        "work (a.py:3)",
        "work (b.py:3)",
        "work (b.py:0)",
        "f",
        "g (x)",
        "h (a (b).py:2)",
    ]
)
STACKS = st.dictionaries(st.lists(FRAMES, min_size=1, max_size=6).map(";".join), st.integers(0, 50), max_size=20)


@given(STACKS)
def test_a_tally_is_what_by_function_says(counts: dict[str, int]) -> None:
    tally = Tally(keep=True)
    for stack, weight in counts.items():
        tally.add(stack, weight)
    found = tally.reading("x")
    assert found.functions == {(each.function, each.file): each for each in by_function(counts)}
    assert found.total == sum(counts.values())
    assert found.stacks == counts


def test_a_recursive_function_counts_once_a_stack() -> None:
    tally = Tally()
    tally.add("f (a.py:1);f (a.py:2);g (a.py:9)", 5)
    found = tally.reading("x").functions
    assert (found["f", "a.py"].self_weight, found["f", "a.py"].total_weight) == (0, 5)
    assert (found["g", "a.py"].self_weight, found["g", "a.py"].total_weight) == (5, 5)


def test_threads_and_processes_are_no_functions() -> None:
    tally = Tally()
    tally.add('process 7:"python a.py";thread (0x7F01): main;f (a.py:1)', 2)
    tally.add("thread (0x7F01): main", 3)
    found = tally.reading("x")
    assert list(found.functions) == [("f", "a.py")]
    assert found.total == 5


def test_functions_beyond_the_bound_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MOST_FUNCTIONS", 3)
    tally = Tally()
    for number in range(10):
        tally.add(f"main;f{number} (a.py:1)", 1)
    found = tally.reading("x").functions
    assert len(found) == 4
    assert found[OTHERS].self_weight == 8
    assert sum(each.self_weight for each in found.values()) == 10


def test_stacks_beyond_the_bound_are_counted_but_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_MOST_STACK_BYTES", 500)
    tally = Tally(keep=True)
    for number in range(100):
        tally.add(f"main;f{number} (a.py:1)", 1)
    found = tally.reading("x")
    assert found.stacks is not None and 0 < len(found.stacks) < 10
    assert found.stacks_left_out == 100 - len(found.stacks)
    assert found.total == 100 and len(found.functions) == 101


def test_the_cache_of_frames_is_bounded_and_forgetting_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "_MOST_TEXTS", 4)
    tally = Tally()
    for line in range(1, 60):
        tally.add(f"main (a.py:{line});f (b.py:{line})", 1)
    assert len(tally._known) <= 6 and len(tally._known._places) <= 4 and len(tally._known._ends) <= 4
    found = tally.reading("x").functions
    assert {key: each.total_weight for key, each in found.items()} == {("main", "a.py"): 59, ("f", "b.py"): 59}


def test_a_very_long_name_is_cut() -> None:
    tally = Tally()
    tally.add("x" * 5000 + " (a.py:1)", 1)
    ((name, _),) = tally.reading("x").functions
    assert len(name) == 1000


def independent(dice: random.Random, size: int) -> list[int]:
    return dice.choices(range(4), [4, 3, 2, 1], k=size)


def test_independent_samples_are_worth_what_they_are() -> None:
    dice = random.Random(1)
    assert all(inflation(independent(dice, 5000)) < 1.15 for _ in range(20))


def test_samples_in_stretches_are_worth_less() -> None:
    dice = random.Random(1)
    for length in (5, 20):
        sequence = [leaf for leaf in independent(dice, 1000) for _ in range(length)]
        # Each drawn sample came `length` times: the variance of a sum is `length` times that of a Poisson count.
        assert inflation(sequence) == pytest.approx(length, rel=0.25)


def test_one_stretch_each_says_nothing() -> None:
    assert inflation([0] * 500 + [1] * 300 + [2] * 100) == 1.0
    assert inflation([]) == 1.0
    assert inflation([3] * 100) == 1.0
