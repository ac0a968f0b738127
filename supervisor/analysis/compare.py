"""Two sides of profiles compared, function by function: pure. docs/compare.md has every formula.

A function's time is its samples times the time of one; what is compared is either that (`run`), that per second of
recording (`second`), or its share of the whole (`share`). Every difference is held against chance before it is called
one; where none stands out, the smallest change that would have is part of the answer.
"""

from __future__ import annotations

import math

from supervisor.analysis import noise
from supervisor.analysis.chance import ALPHA, common_factor, permuted, sampled, unexplained
from supervisor.analysis.outcome import GONE, IMPROVEMENT, MIXED, NEW, REGRESSION, UNCHANGED, Comparison, Figure, Row
from supervisor.analysis.sides import basis, mean_of, pairs_of, ratio_of, weights_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.analysis.folded import Counts
    from supervisor.analysis.reading import Reading


def compare(
    baseline: list[Reading],
    current: list[Reading],
    *,
    per: str = "auto",
    stacks: Callable[[], tuple[Counts, Counts] | None] = lambda: None,
) -> Comparison:
    """Compare one or more profiles a side. `stacks` is asked for both sides' stacks if a rename may be seen in them.

    `per` is `auto`, `run`, `second` or `share`. Raises ValueError for kinds that can't be compared.
    """
    found, sides = basis(baseline, current, per)
    baseline, current = found.sides
    before, after = sides
    pairs = pairs_of(baseline, current, stacks)
    found.rows = [pair.row for pair in pairs]
    for pair in pairs:
        if pair.before is not None and pair.after is not None and pair.before != pair.after and pair.row.was is None:
            found.same_place[pair.before] = pair.after
    weights = [weights_of(pair, baseline, current) for pair in pairs]
    ratio = ratio_of(before, after)
    common = common_factor(sides, weights, ratio)
    if common is not None and unexplained(found, sides, common):
        after.scale = math.exp(-common.log_factor)
        ratio /= after.scale
        common = noise.Common(0.0, common.error, common.inflation)
    for pair, weight in zip(pairs, weights, strict=True):
        for figure, (left, right) in zip((pair.row.self_time, pair.row.total_time), weight, strict=True):
            figure.before, figure.after = mean_of(before.each(left)), mean_of(after.each(right))
    found.total = Figure(mean_of(before.each(before.totals)), mean_of(after.each(after.totals)))
    if min(before.count, after.count) > 1 and noise.least_chance(before.count, after.count) <= ALPHA:
        permuted(found, sides, weights)
    else:
        sampled(found, sides, weights, ratio, common)
    _judge(found)
    return found


def _judge(found: Comparison) -> None:
    whole = max(found.total.before, 1e-300)
    for row in found.rows:
        _judge_row(found, row)
    found.rows.sort(
        key=lambda row: (
            row.verdict == UNCHANGED,
            -abs(row.self_time.change) - 0.01 * abs(row.total_time.change),
            -row.total_time.after,
            row.function,
            row.file or "",
        )
    )
    worse = [row for row in found.of(REGRESSION) if not row.minor]
    better = [row for row in found.of(IMPROVEMENT) if not row.minor]
    slower = found.total.found and found.total_judged and found.total.change > 0
    faster = found.total.found and found.total_judged and found.total.change < 0
    if (worse or slower) and (better or faster):
        found.verdict = MIXED
    elif worse or slower:
        found.verdict = REGRESSION
    elif better or faster:
        found.verdict = IMPROVEMENT
    # What was lost: by self times, which count nothing twice; at least what any one total or the whole says.
    judged = [(row, figure) for row in worse for figure in row.judged if found.matters(figure)]
    lost = sum(figure.change for row, figure in judged if figure is row.self_time)
    lost = max([lost, *(figure.change for row, figure in judged if figure is row.total_time)])
    if slower:
        lost = max(lost, found.total.change)
    found.score = 100 / (1 + lost / whole)


def _judge_row(found: Comparison, row: Row) -> None:
    own, total = row.self_time, row.total_time
    if not (own.found or total.found):
        pass
    elif total.before <= 0 or total.after <= 0:
        row.verdict = NEW if total.before <= 0 else GONE
        row.figure = total
    else:
        row.judged = [figure for figure in (own, total) if figure.found]
        if own.found and total.found and own.change * total.change < 0:
            # Code that moved between a function and its callees changes their self times and no total.
            row.judged = [total]
        # Self time says where it is, unless it is the smaller part of it or there was none to be so much more of.
        most = 2 * abs(own.change) >= abs(total.change) and found.matters(own) >= found.matters(total)
        row.figure = own if row.judged == [own] or (len(row.judged) == 2 and most and own.before > 0) else total
        row.verdict = REGRESSION if row.figure.change > 0 else IMPROVEMENT
    row.minor = not any(found.matters(figure) for figure in row.judged or [row.figure])
