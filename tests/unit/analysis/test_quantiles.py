"""Intervals: against exact values, and their coverage on draws from known distributions."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.analysis.quantiles import binomial_cdf, covered, quantile, quantile_ranks, share_interval


@given(st.integers(1, 60), st.integers(-1, 61), st.floats(0.001, 0.999))
def test_the_binomial_is_exact(n: int, k: int, p: float) -> None:
    exact = math.fsum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(min(k, n) + 1))
    assert binomial_cdf(k, n, p) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize(
    # The median's ranks as in tables of the sign test (David and Nagaraja, table of 7.1; 95 %).
    ("n", "ranks"), [(5, (0, 6)), (6, (1, 6)), (10, (2, 9)), (20, (6, 15)), (50, (18, 33)), (100, (40, 61))],
)  # fmt: skip
def test_the_ranks_of_the_median(n: int, ranks: tuple[int, int]) -> None:
    assert quantile_ranks(n, 0.5) == ranks


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.3085),
        (10, 10, 0.6915, 1.0),
        (5, 10, 0.1871, 0.8129),
        (1, 20, 0.0013, 0.2487),
        (3, 1000, 0.0006, 0.0087),
    ],
)
def test_clopper_pearson(k: int, n: int, low: float, high: float) -> None:
    assert share_interval(k, n) == pytest.approx((low, high), abs=1e-4)


def test_few_values_bound_little() -> None:
    assert quantile([5.0], [5.0], 0.5) == (5.0, 0.0, math.inf)
    assert quantile([], [], 0.5) == (math.inf, 0.0, math.inf)
    assert share_interval(0, 0) == (0.0, 1.0)
    values = [float(n) for n in range(1, 74)]
    assert quantile(values[:71], values[:71], 0.95)[2] == math.inf
    assert quantile(values[:72], values[:72], 0.95)[2] == 72.0  # 0.95^72 < 2.5 %: the highest of 72 bounds it


def test_a_value_cut_off_moves_upper_bounds_only() -> None:
    lower = [float(n) for n in range(1, 101)]
    upper = [*lower[:60], *([math.inf] * 40)]
    at, low, high = quantile(lower, upper, 0.5)
    assert (at, low) == quantile(lower, lower, 0.5)[:2] and high == math.inf


def test_what_the_highest_covers() -> None:
    assert covered(59) == pytest.approx(0.95, abs=1e-3) and covered(1) == pytest.approx(0.05) and covered(0) == 0.0


DRAWS: list[tuple[str, Callable[[random.Random], float], Callable[[float], float]]] = [
    ("uniform", lambda r: r.random(), lambda p: p),
    ("exponential", lambda r: r.expovariate(1.0), lambda p: -math.log(1 - p)),
    ("heavy tail", lambda r: r.paretovariate(1.1), lambda p: (1 - p) ** (-1 / 1.1)),
]


@pytest.mark.parametrize(("draw", "truth"), [each[1:] for each in DRAWS], ids=[each[0] for each in DRAWS])
@pytest.mark.parametrize(("n", "p"), [(10, 0.5), (30, 0.9), (80, 0.95)])
def test_coverage(draw: Callable[[random.Random], float], truth: Callable[[float], float], n: int, p: float) -> None:
    """At least 95 % of intervals hold the quantile; 1.5 % less is what 1,500 draws can miss by chance (p < 0.005)."""
    noise, times = random.Random(n * 1000 + int(p * 100)), 1500
    hits = 0
    for _ in range(times):
        values = [draw(noise) for _ in range(n)]
        _, low, high = quantile(values, values, p)
        hits += low <= truth(p) <= high
    assert hits / times >= 0.95 - 0.015
    if p == 0.5:
        assert hits / times < 0.999  # an interval that holds everything would say nothing


def test_coverage_of_shares() -> None:
    noise, times = random.Random(3), 2000
    for share in (0.05, 0.3):
        counts = [sum(noise.random() < share for _ in range(40)) for _ in range(times)]
        known = {k: share_interval(k, 40) for k in set(counts)}
        assert sum(known[k][0] <= share <= known[k][1] for k in counts) / times >= 0.95 - 0.013
