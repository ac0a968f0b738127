"""Quantiles and shares with intervals that assume no distribution. Pure.

The interval of a quantile runs between two order statistics: how many of n values lie below the quantile p is
binomial(n, p) whatever they are drawn from, so the ranks follow from its tails (Thompson 1936; David and Nagaraja,
Order Statistics, 7.1). The interval of a share is Clopper and Pearson's (1934). Both hold at least their nominal
coverage for independent runs; ties only widen it.
"""

from __future__ import annotations

from math import ceil, exp, inf, lgamma, log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CONFIDENCE = 0.95


def binomial_cdf(k: int, n: int, p: float) -> float:
    """The chance of at most `k` in `n` draws of chance `p`."""
    return 0.0 if k < 0 else min(1.0, sum(_binomial(i, n, p) for i in range(min(k, n) + 1)))


def _binomial(k: int, n: int, p: float) -> float:
    """The chance of exactly `k`, by logarithms: factorials of a thousand runs are past any float."""
    if p <= 0 or p >= 1:
        return float(k == (n if p >= 1 else 0))
    return exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * log(p) + (n - k) * log(1 - p))


def quantile_ranks(n: int, p: float, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """Ranks (from 1) of the order statistics that hold the quantile between them; 0 and n + 1 stand for no bound.

    At most half of 1 - `confidence` is left out on each side.
    """
    tail = (1 - confidence) / 2
    low, high, below = 0, n + 1, 0.0
    # X(r) > quantile when fewer than r values lie at or below it: the chance of that is the CDF at r - 1. X(r) <
    # quantile when r or more do.
    for rank in range(1, n + 1):
        below += _binomial(rank - 1, n, p)
        if below <= tail:
            low = rank
        if 1 - below <= tail:
            high = rank
            break
    return low, high


def quantile(lower: list[float], upper: list[float], p: float) -> tuple[float, float, float]:
    """The quantile p with its interval: (estimate, from, to); to is inf where so few values bound it by nothing.

    `lower` and `upper` are what each value is at least and at most, equal for a value that is known; a value cut off
    (a run that was killed at its limit would have wanted more) has inf as its upper one. `from` is 0 without a bound.
    """
    n = len(lower)
    below, above = sorted(lower), sorted(upper)
    low, high = quantile_ranks(n, p)
    estimate = above[min(n, max(1, ceil(p * n))) - 1] if n else inf
    return estimate, below[low - 1] if low >= 1 else 0.0, above[high - 1] if high <= n else inf


def covered(n: int, confidence: float = CONFIDENCE) -> float:
    """The share of all runs that the highest of `n` peaks covers with this confidence: p with p^n = 1 - confidence."""
    return (1 - confidence) ** (1 / n) if n else 0.0


def share_interval(k: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval of a share of which `k` in `n` were seen."""
    if n == 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = 0.0 if k == 0 else _root(lambda p: 1 - binomial_cdf(k - 1, n, p) <= tail)
    high = 1.0 if k == n else _root(lambda p: binomial_cdf(k, n, p) > tail)
    return low, high


def _root(holds: Callable[[float], bool]) -> float:
    """Where a condition that holds from 0 on stops to hold, by halving."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return (low + high) / 2
