"""Slices at different rates as one profile."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor.actions.slices import Slices, scaled

COUNTS = st.dictionaries(st.text("abc;", min_size=1, max_size=6), st.integers(1, 1000), max_size=30)


def test_one_rate_stays_as_it_is() -> None:
    slices = Slices(1000)
    slices.add({"a;b": 3, "a": 1}, 100, 1.0)
    slices.add({"a;b": 2}, 100, 1.0)
    assert slices.merged() == ({"a;b": 5, "a": 1}, 100.0)
    assert not slices.thinned
    assert slices.scaled_s == 0


def test_rates_are_brought_to_the_one_that_ran_longest() -> None:
    slices = Slices(10_000)
    slices.add({"start": 100}, 400, 0.25)  # a quarter of a second at 400 Hz
    slices.add({"work": 900}, 100, 9.0)
    slices.add({"slow": 10}, 10, 1.0)  # lowered for a second
    merged, rate = slices.merged()
    assert rate == 100
    assert merged == {"start": 25, "work": 900, "slow": 100}  # weights follow time
    assert slices.scaled_s == 1.0
    assert slices.taken == 1010


def test_the_cap_thins() -> None:
    slices = Slices(100)
    slices.add({"a": 300, "b": 30}, 100, 3.0)
    merged, rate = slices.merged()
    assert slices.thinned
    assert rate == 25
    assert sum(merged.values()) <= 100
    assert merged["a"] / merged["b"] > 8


def test_nothing() -> None:
    assert Slices(10).merged() == ({}, 0.0)


@given(COUNTS, st.floats(0.001, 50))
def test_scaling_keeps_the_total(counts: dict[str, int], factor: float) -> None:
    total = sum(counts.values()) * factor
    assert abs(sum(scaled(counts, factor).values()) - total) <= 1
    assert all(weight > 0 for weight in scaled(counts, factor).values())


@given(st.integers(1, 2000), st.floats(0.01, 1))
def test_rare_stacks_do_not_vanish(number: int, factor: float) -> None:
    counts = {f"stack{each}": 1 for each in range(number)}
    assert abs(len(scaled(counts, factor)) - number * factor) <= 1


@given(
    st.lists(st.tuples(COUNTS, st.sampled_from([10, 50, 100, 400]), st.floats(0.1, 3)), min_size=1),
    st.integers(1, 5000),
)
def test_the_cap_always_holds(pieces: list[tuple[dict[str, int], int, float]], cap: int) -> None:
    slices = Slices(cap)
    for counts, rate, seconds in pieces:
        slices.add(counts, rate, seconds)
    merged, _ = slices.merged()
    assert sum(merged.values()) <= cap + len({rate for _, rate, _ in pieces})
