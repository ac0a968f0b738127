"""The statistics against what is known about them."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.analysis import noise


def test_chances_are_those_of_the_normal_distribution() -> None:
    normal = statistics.NormalDist()
    for z in (0.0, 0.5, 1.96, 4.0):
        assert noise.two_sided(z) == pytest.approx(2 * (1 - normal.cdf(z)), abs=1e-12)
    for chance in (0.5, 0.05, 0.01, 1e-6):
        assert noise.two_sided(noise.critical(chance)) == pytest.approx(chance)


def exact(before: int, after: int, ratio: float) -> float:
    """The one-sided chance of so many or more of `before + after` on the side that has more than expected."""
    count, part = before + after, ratio / (1 + ratio)
    chances = [math.comb(count, k) * part**k * (1 - part) ** (count - k) for k in range(count + 1)]
    return sum(chances[after:]) if after > count * part else sum(chances[: after + 1])


@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([0.1, 0.5, 1.0, 3.0]))
def test_the_signed_root_is_close_to_the_exact_binomial_and_never_much_surer(
    before: int, after: int, ratio: float
) -> None:
    z = noise.signed_root(before, after, ratio)
    if abs(z) > 2:
        truth = exact(before, after, ratio)
        assert 0.6 * truth <= noise.two_sided(z) / 2 <= 2.5 * truth
    assert noise.signed_root(after, before, 1 / ratio) == pytest.approx(-z, abs=1e-6)  # the root of a rounding error


def test_holm_on_a_worked_example() -> None:
    assert noise.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert noise.holm([]) == []
    assert noise.holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_only_makes_chances_larger_and_keeps_their_order(chances: list[float]) -> None:
    corrected = noise.holm(chances)
    assert all(a <= b <= 1 for a, b in zip(chances, corrected, strict=True))
    pairs = sorted(zip(chances, corrected, strict=True))
    assert [b for _, b in pairs] == sorted(b for _, b in pairs)


def test_the_common_factor_is_found_though_nearly_half_changed_otherwise() -> None:
    dice = random.Random(3)
    for _ in range(50):
        logs = [0.3 + dice.gauss(0, 0.02) for _ in range(11)] + [dice.uniform(-2, 2) for _ in range(9)]
        found = noise.common_factor(logs, [0.02] * 20)
        assert found is not None
        assert found.log_factor == pytest.approx(0.3, abs=0.04)
        assert found.inflation < 20


def test_the_common_factor_of_two_camps_is_the_one_that_stayed() -> None:
    found = noise.common_factor([0.0, 0.01, -0.01, 0.005, 0.4, 0.41, 0.39, 0.405], [0.02] * 8)
    assert found is not None and abs(found.log_factor) < 0.02


def test_extra_variance_shows() -> None:
    dice = random.Random(4)
    found = noise.common_factor([dice.gauss(0, 0.1) for _ in range(200)], [0.02] * 200)
    assert found is not None and found.inflation == pytest.approx(25, rel=0.3)
    assert noise.common_factor([0.1] * 4, [0.1] * 4) is None


def test_a_permutation_by_hand() -> None:
    row = [1.0, 2.0, 3.0, 10.0, 11.0, 12.0]
    outcome = noise.permute([row], [0.0], 3, 0.1)
    # Of the 20 ways to deal six values, this one and its mirror image differ most.
    student = noise.student(row, 0.0, range(3, 6))
    assert student == pytest.approx(9 / math.sqrt(1.0 * 2 / 3))
    assert outcome.chance(student) == outcome.chance(-student) == 0.1
    assert outcome.chance(0.0) == 1.0
    assert noise.least_chance(3, 3) == pytest.approx(0.1)
    assert noise.least_chance(5, 5) == pytest.approx(2 / 252)
    assert noise.least_chance(4, 6) == pytest.approx(1 / 210)


def test_permutations_err_as_seldom_as_they_say_whatever_the_distribution() -> None:
    dice = random.Random(5)
    alarms = 0
    for _ in range(400):
        rows = [[dice.paretovariate(1.5) for _ in range(10)] for _ in range(6)]
        outcome = noise.permute(rows, [0.0] * 6, 5, 0.05)
        alarms += min(outcome.chance(noise.student(row, 0.0, range(5, 10))) for row in rows) <= 0.05
    assert alarms <= 32  # 20 expected; more than 32 come once in 300 times


def test_many_arrangements_are_drawn_and_always_the_same() -> None:
    dice = random.Random(6)
    rows = [[dice.gauss(0, 1) for _ in range(40)] for _ in range(3)]
    one, other = (noise.permute(rows, [0.0] * 3, 20, 0.01) for _ in range(2))
    assert one.greatest == other.greatest
    assert one.chance(1e9) == 1 / (noise.DRAWN + 1)
