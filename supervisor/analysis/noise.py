"""How much of a difference is chance: pure, in floats, without a library of statistics.

One profile a side: sample counts are taken as Poisson with an inflated variance, compared by the signed root of the
deviance of the conditional binomial (McCullagh & Nelder, Generalized Linear Models, 4.5), corrected over the functions
by Holm's method. Several a side: labels are permuted, corrected by the greatest statistic of each arrangement
(Westfall & Young 1993), which supposes no distribution.
"""

from __future__ import annotations

import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_EXACT = 3000  # arrangements; beyond it that many are drawn
DRAWN = 2000


def two_sided(z: float) -> float:
    """The chance of a standard normal value as far from 0 as `z` or farther."""
    return math.erfc(abs(z) / math.sqrt(2))


def critical(chance: float) -> float:
    """The z whose two-sided chance is this one."""
    low, high = 0.0, 40.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided(middle) > chance else (low, middle)
    return high


def signed_root(before: float, after: float, ratio: float) -> float:
    """How far two Poisson counts are from `after = ratio × before`, as a normal value; positive when there's more.

    With the correction for continuity, so that small counts don't pass for more than they are.
    """
    count = before + after
    expected, expected_rest = count * ratio / (1 + ratio), count / (1 + ratio)
    distance = abs(after - expected) - 0.5
    if count <= 0 or distance <= 0:
        return 0.0
    sign = 1.0 if after > expected else -1.0
    seen = expected + sign * distance
    rest = expected_rest - sign * distance
    deviance = seen * math.log(seen / expected) if seen > 0 else 0.0
    deviance += rest * math.log(rest / expected_rest) if rest > 0 else 0.0
    return sign * math.sqrt(max(0.0, 2 * deviance))


def holm(chances: Sequence[float]) -> list[float]:
    """Chances corrected for how many there are, so that any of them errs as seldom as one (Holm 1979)."""
    order = sorted(range(len(chances)), key=lambda index: chances[index])
    corrected = [1.0] * len(chances)
    worst = 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, chances[index] * (len(chances) - rank)))
        corrected[index] = worst
    return corrected


class Common:
    """What most functions have in common: log of the factor they changed by, its error, and the variance left.

    `inflation` is by how much their differences from the factor exceed what their own errors allow.
    """

    __slots__ = ("error", "inflation", "log_factor")

    def __init__(self, log_factor: float, error: float, inflation: float) -> None:
        self.log_factor = log_factor
        self.error = error
        self.inflation = inflation


def common_factor(logs: Sequence[float], errors: Sequence[float]) -> Common | None:
    """The factor that most functions changed by, from the logs of their ratios and the errors of these.

    The shortest half (Rousseeuw's shorth) finds it even when nearly half of the functions changed otherwise; those
    near it then give the mean. None for fewer than 5 functions.
    """
    if len(logs) < 5:
        return None
    ordered = sorted(logs)
    half = len(logs) // 2 + 1
    windows = [(ordered[i + half - 1] - ordered[i], i) for i in range(len(logs) - half + 1)]
    shortest = min(windows)[0]
    # Where several are nearly as short, the one that says the least has changed.
    _, start = min((abs(ordered[i + half // 2]), i) for width, i in windows if width <= 1.25 * shortest + 1e-12)
    centre = ordered[start + half // 2]
    spread = sorted(abs(log - centre) / error for log, error in zip(logs, errors, strict=True))
    # With fewer than 8 the spread says too little; 0.6745 is the median distance of a normal value.
    inflation = max(1.0, (spread[(len(spread) - 1) // 2] / 0.6745) ** 2) if len(logs) >= 8 else 1.0
    near = [
        (log, 1 / error**2)
        for log, error in zip(logs, errors, strict=True)
        if abs(log - centre) <= 2.5 * error * math.sqrt(inflation)
    ]
    weight = sum(each for _, each in near)
    if not weight:
        return None
    return Common(sum(log * each for log, each in near) / weight, math.sqrt(inflation / weight), inflation)


class Permuted:
    """The greatest statistic of each arrangement, in order; few arrangements reach beyond `critical`."""

    __slots__ = ("critical", "exact", "greatest")

    def __init__(self, greatest: list[float], alpha: float, *, exact: bool) -> None:
        count = len(greatest)
        self.greatest = greatest
        self.exact = exact
        self.critical = greatest[min(count - 1, math.ceil(count * (1 - alpha)) - 1)]

    def chance(self, statistic: float) -> float:
        """The chance of a statistic as far from 0 as this one in any row."""
        from bisect import bisect_left

        count = len(self.greatest)
        reached = count - bisect_left(self.greatest, abs(statistic) * (1 - 1e-9))
        return reached / count if self.exact else (reached + 1) / (count + 1)


def least_chance(before: int, after: int) -> float:
    """The smallest chance that dealing so many profiles to two sides in every way can give."""
    # With sides of one size each arrangement has a mirror image that differs as much.
    return (2 if before == after else 1) / math.comb(before + after, after)


def student(row: Sequence[float], floor: float, chosen: Sequence[int]) -> float:
    """Student's t of the chosen places of a row against the others, with `floor` as the least variance of a value."""
    width, after = len(row), len(chosen)
    before = width - after
    whole, squares = sum(row), sum(value * value for value in row)
    return _student(row, whole, squares, floor, chosen, before, after)


def _student(
    row: Sequence[float], whole: float, squares: float, floor: float, chosen: Sequence[int], before: int, after: int
) -> float:
    ours = math.fsum([row[place] for place in chosen])
    mean_after, mean_before = ours / after, (whole - ours) / before
    within = squares - after * mean_after**2 - before * mean_before**2
    variance = max(within / max(1, before + after - 2), floor, 1e-300)
    return (mean_after - mean_before) / math.sqrt(variance * (1 / after + 1 / before))


def permute(rows: Sequence[Sequence[float]], floors: Sequence[float], before: int, alpha: float) -> Permuted:
    """Compare the last values of each row with the first `before` by dealing the columns anew in every way.

    `floors` are the least variances of a value of each row: no row counts as surer than its samples allow. Beyond
    3,000 arrangements 2,000 are drawn, always the same.
    """
    from itertools import combinations

    width = len(rows[0])
    after = width - before
    exact = math.comb(width, after) <= _MOST_EXACT
    known = [
        (row, sum(row), sum(value * value for value in row), floor) for row, floor in zip(rows, floors, strict=True)
    ]
    greatest = sorted(
        max(abs(_student(*row, chosen, before, after)) for row in known)
        for chosen in (combinations(range(width), after) if exact else _drawn(width, after))
    )
    return Permuted(greatest, alpha, exact=exact)


def _drawn(width: int, after: int) -> list[tuple[int, ...]]:
    import random

    dice = random.Random(20261124)
    return [tuple(dice.sample(range(width), after)) for _ in range(DRAWN)]
