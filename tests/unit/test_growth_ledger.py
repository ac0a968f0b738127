"""Who gets which bytes: readings in, weights out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor.actions.ledger import STEP_BYTES, Ledger

MIB = 1 << 20


def test_the_stack_gets_what_was_gained_since_the_last() -> None:
    ledger = Ledger(100 * MIB)
    ledger.caught("leak", 103 * MIB)
    assert ledger.settle(103 * MIB)
    ledger.caught("other", 104 * MIB)
    assert ledger.settle(105 * MIB)
    assert ledger.counts == {"leak": 3 * MIB, "other": 1 * MIB}


def test_memory_that_falls_back_has_no_weight_and_is_carried_over() -> None:
    ledger = Ledger(100 * MIB)
    ledger.caught("churn", 121 * MIB)
    assert not ledger.settle(101 * MIB)
    ledger.caught("leak", 102 * MIB)
    assert ledger.settle(102 * MIB)
    assert ledger.counts == {"leak": 2 * MIB}
    assert ledger.temporary == 1


def test_memory_given_back_is_nobodys_growth() -> None:
    ledger = Ledger(100 * MIB)
    ledger.fell(60 * MIB)
    assert not ledger.due(60 * MIB, STEP_BYTES)
    assert ledger.due(61 * MIB, STEP_BYTES)
    ledger.caught("leak", 70 * MIB)
    ledger.settle(70 * MIB)
    assert ledger.counts == {"leak": 10 * MIB}


def test_little_is_not_enough() -> None:
    ledger = Ledger(0)
    for n in range(1, 5):
        ledger.caught("a", n * MIB)
        ledger.settle(n * MIB)
    assert not ledger.enough
    ledger.caught("a", 5 * MIB)
    ledger.settle(5 * MIB)
    assert ledger.enough


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 500), st.integers(0, 500)), max_size=50))
def test_never_more_than_was_gained(history: list[tuple[str, int, int]]) -> None:
    ledger = Ledger(100 * MIB)
    highest = 100 * MIB
    gained, last = 0, 100 * MIB
    for stack, caught, after in history:
        for rss in (caught * MIB, after * MIB):
            gained += max(0, rss - last)
            last = rss
        highest = max(highest, caught * MIB)
        ledger.fell(caught * MIB)
        ledger.caught(stack, caught * MIB)
        ledger.settle(after * MIB)
        ledger.fell(after * MIB)
        assert ledger.attributed_bytes <= gained
        assert all(weight > 0 for weight in ledger.counts.values())


def test_what_is_known_to_stay_is_charged_though_something_else_was_given_back() -> None:
    ledger = Ledger(100 * MIB)
    ledger.caught("a", 130 * MIB)
    assert ledger.settle(110 * MIB, stays=True)
    assert ledger.counts == {"a": 10 * MIB}
    ledger.caught("b", 130 * MIB)
    assert not ledger.settle(110 * MIB, stays=True)
    assert ledger.attributed_bytes == 10 * MIB
