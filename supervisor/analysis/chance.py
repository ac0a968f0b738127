"""Differences held against chance: sampling errors, or permutations where there are profiles enough."""

from __future__ import annotations

import math

from supervisor.analysis import noise
from supervisor.analysis.outcome import Comparison, Figure
from supervisor.analysis.sides import Side, Weights, mean_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

ALPHA = 0.01  # the chance of any false alarm in a whole comparison
POWER_Z = 1.645  # a change of the smallest size that is promised to be seen is seen in 95 of 100 comparisons
INFLATION = 1.25  # of a variance, at least: samples in a row are never quite independent
RUN_TO_RUN = 0.01  # what a function's time differs by from run to run, where one profile a side can't tell
RUN_TO_RUN_TOTAL = 0.05  # and a program's
_HEAVY = 0.03  # and a function's that is nearly all of the program
_LEAST_SAMPLES = 25.0  # of both sides together; fewer can't differ enough to tell
_MOST_PERMUTED = 200
_LEAST_REFERENCE = 0.1  # of the whole: less is too little to hold the rest against


def common_factor(sides: tuple[Side, Side], weights: list[Weights], ratio: float) -> noise.Common | None:
    """The factor that most functions' self times changed by, from those with enough samples to tell."""
    before, after = sides
    logs, errors = [], []
    inflation = _inflation(before, after, ratio)
    for (left, right), _ in weights:
        ours, theirs = before.samples(left), after.samples(right)
        if ours > 0 and theirs > 0:
            error = math.sqrt(inflation * (1 / ours + 1 / theirs))
            if error < 0.2:
                logs.append(math.log(theirs / ours / ratio))
                errors.append(error)
    return noise.common_factor(logs, errors)


def _inflation(before: Side, after: Side, ratio: float) -> float:
    # Of after | before + after, where each side's variance is inflated by its own.
    share = ratio / (1 + ratio)
    return INFLATION * (before.inflation * share + after.inflation * (1 - share))


def unexplained(found: Comparison, sides: tuple[Side, Side], common: noise.Common) -> bool:
    """Whether all functions differ by one factor that nobody can tell from another rate, since none is known."""
    if found.per != "run" or found.unit != "samples":
        return False
    total = math.log(mean_of(sides[1].each(sides[1].totals)) / mean_of(sides[0].each(sides[0].totals)))
    if abs(common.log_factor) < max(0.05, 4 * common.error) or abs(total - common.log_factor) > 0.5 * abs(total):
        return False
    found.total_judged = False
    found.total_unjudged = "no profile says its rate"
    found.notes.append(
        f"Nearly all functions differ by the factor {math.exp(common.log_factor):.2f}, as another rate or a longer "
        "recording would have it, and no profile says its rate: scaled by it. The change in total time can't be told."
    )
    return True


def sampled(
    found: Comparison,
    sides: tuple[Side, Side],
    weights: list[Weights],
    ratio: float,
    common: noise.Common | None,
) -> None:
    """Hold differences against the sampling errors (one profile a side, or too few for permutations)."""
    before, after = sides
    inflation = _inflation(before, after, ratio)
    if common is not None:
        inflation *= common.inflation
    between = _between(sides, weights)
    run_to_run = max(RUN_TO_RUN**2, between) * (1 / before.count + 1 / after.count)
    each_side = 1 / before.count + 1 / after.count
    whole_run = max(RUN_TO_RUN_TOTAL**2, between, _spread(sides)) * each_side
    heavy_run = max(_HEAVY**2, between, _spread(sides)) * each_side
    shifted = common if common is not None and abs(common.log_factor) > 2 * common.error else None
    if shifted is not None:
        found.notes.append(
            f"Most functions changed by {math.expm1(shifted.log_factor):+.1%} in common, which may be the machine or "
            "the load: a function counts as changed where it differs from that, too."
        )
    tests = []
    for row, weight in zip(found.rows, weights, strict=True):
        for figure, (left, right) in zip((row.self_time, row.total_time), weight, strict=True):
            ours, theirs = before.samples(left), after.samples(right)
            whole = figure is row.total_time and figure.before == row.self_time.before
            if ours + theirs < _LEAST_SAMPLES * inflation or (whole and figure.after == row.self_time.after):
                continue  # a leaf's total is its self time: one test, not two
            variance = inflation
            part = (figure.before + figure.after) / (found.total.before + found.total.after)
            jitter = run_to_run + part * max(0.0, heavy_run - run_to_run)  # the heavier, the more it is the program
            if found.per == "share":
                variance *= max(1e-9, 1 - (figure.before + figure.after) / 2)
            count = ours + theirs

            def z_at(
                factor: float,
                more: float,
                ours: float = ours,
                theirs: float = theirs,
                variance: float = variance,
                jitter: float = jitter,
            ) -> float:
                spread = variance + (jitter + more) * (ours + theirs) * factor / (1 + factor) ** 2
                return noise.signed_root(ours, theirs, factor) / math.sqrt(spread)

            z = z_at(ratio, 0.0)
            if shifted is not None:
                # What most functions did together isn't this one's doing: it has to differ from that, and from
                # what it was itself, the same way.
                other = z_at(ratio * math.exp(shifted.log_factor), shifted.error**2)
                z = other if z * other > 0 and abs(z) >= 2 else 0.0
            error = math.sqrt(variance / (count * ratio / (1 + ratio) ** 2) + jitter)
            tests.append((figure, noise.two_sided(z), error))
    _conclude(found, tests)
    samples = before.samples(before.totals), after.samples(after.totals)
    if tests:
        jitter = run_to_run + 0.1 * max(0.0, heavy_run - run_to_run)
        error = math.sqrt(10 * inflation / samples[0] + 10 * inflation / samples[1] + jitter)
        found.tenth = _grown((noise.critical(ALPHA / len(tests)) + POWER_Z) * error)
    error = math.sqrt(inflation / samples[0] + inflation / samples[1] + whole_run)
    if found.total.before > 0 and found.total.after > 0 and found.per != "share":
        z = math.log(found.total.after / found.total.before) / error
        found.total.chance = noise.two_sided(z)
        found.total.found = found.total.chance <= ALPHA
        found.total.detectable = _grown((noise.critical(ALPHA) + POWER_Z) * error)
    if found.per == "share":
        found.total_judged = False
    several = before.count + after.count > 2
    found.method = (
        f"sampling error of each {'share' if found.per == 'share' else 'time'}, variance × {inflation:.2f}, "
        f"and {math.sqrt(run_to_run / (1 / before.count + 1 / after.count)) * 100:.1f} % from run to run "
        f"({'measured' if several and between > RUN_TO_RUN**2 else 'assumed'}); "
        f"Holm's correction over {found.tested} tests"
    )
    if several:
        found.notes.append(
            f"{before.count} and {after.count} profiles are too few for a test without assumptions (5 a side are "
            "enough): their sums are compared as one profile each."
        )
    else:
        found.notes.append(
            "One profile a side can't show how runs differ from each other: 5 or more a side can, taken in turn."
        )


def _grown(log: float) -> float | None:
    """The relative change whose logarithm this is; None where that is beyond any figure."""
    return math.expm1(log) if log < 700 else None


def _conclude(found: Comparison, tests: list[tuple[Figure, float, float]]) -> None:
    found.tested = len(tests)
    if not tests:
        return
    edge = noise.critical(ALPHA / len(tests)) + POWER_Z
    for (figure, _, error), chance in zip(tests, noise.holm([chance for _, chance, _ in tests]), strict=True):
        figure.chance = chance
        figure.found = chance <= ALPHA
        figure.detectable = _grown(edge * error)


def _between(sides: tuple[Side, Side], weights: list[Weights]) -> float:
    """The median relative variance of functions' self times between the profiles of a side, sampling taken out."""
    spreads = []
    for selves, _ in weights:
        for side, ours in zip(sides, selves, strict=True):
            if side.count < 2:
                continue
            values = side.each(ours)
            mean = mean_of(values)
            samples = side.samples(ours) / side.count
            if mean > 0 and samples >= 20:
                variance = sum((value - mean) ** 2 for value in values) / (side.count - 1)
                spreads.append(variance / mean**2 - 1 / samples)
    return max(0.0, sorted(spreads)[len(spreads) // 2]) if spreads else 0.0


def _spread(sides: tuple[Side, Side]) -> float:
    """The relative variance of the whole between the profiles of a side, the greater one."""
    found = 0.0
    for side in sides:
        values = side.each(side.totals)
        if side.count > 1:
            mean = mean_of(values)
            found = max(found, sum((value - mean) ** 2 for value in values) / (side.count - 1) / mean**2)
    return found


class _Test:
    """One figure of a comparison by permutation: its values, profile by profile, and the samples behind them.

    `place` is that of its row, None for the whole; `own` whether it is the row's self time.
    """

    __slots__ = ("figure", "own", "place", "samples", "values")

    def __init__(self, place: int | None, figure: Figure, values: list[float], samples: float, *, own: bool) -> None:
        self.place = place
        self.figure = figure
        self.values = values
        self.samples = samples
        self.own = own


class _Reference:
    """What functions' times are held against: the time of all functions but those that were found to have changed.

    So a busy machine, which all of a profile have in common, is taken out. `sizes` is 1 for the baseline on average.
    """

    def __init__(self, totals: list[float], before: int, *, held: bool) -> None:
        self.sizes = [1.0] * len(totals)
        self.without: set[int] = set()
        self._rest = totals
        self._whole = mean_of(totals)
        self._before = before
        self._held = held and self._set(totals)

    def _set(self, rest: list[float]) -> bool:
        if min(rest) <= 0 or mean_of(rest) < _LEAST_REFERENCE * self._whole:
            return False
        middle = mean_of(rest[: self._before])
        self._rest, self.sizes = rest, [each / middle for each in rest]
        return True

    def leave_out(self, test: _Test) -> bool:
        """Take a function out; False when too little would be left."""
        if test.place is None or not self._held:
            return False
        if not self._set([rest - each for rest, each in zip(self._rest, test.values, strict=True)]):
            return False
        self.without.add(test.place)
        return True

    def part(self, test: _Test) -> float:
        """How much of the reference a figure is itself."""
        apart = test.place in self.without if test.own else bool(self.without)
        if not self._held or test.place is None or apart:
            return 0.0
        return min(1.0, mean_of(test.values) / mean_of(self._rest))

    def held(self, test: _Test) -> tuple[list[float], float]:
        """The values held against it, and the least variance of one."""
        values = test.values
        if test.place is not None:
            values = [value / size for value, size in zip(values, self.sizes, strict=True)]
        mean = mean_of(values)
        rest = 1 - self.part(test)
        sampling = rest * len(values) / test.samples if test.samples else 0.0
        return values, mean * mean * max(sampling, (rest * RUN_TO_RUN) ** 2, 1e-12)


def permuted(found: Comparison, sides: tuple[Side, Side], weights: list[Weights]) -> None:
    """Hold differences against every other way to deal the profiles to the sides.

    Functions are held against the others, the whole as it is. What is found is taken out of the others, the surest
    first, and the rest is held against what is left: else a slower function would make all others seem faster.
    """
    before, after = sides
    tests = _tests(found, sides, weights)
    if not tests:
        return
    # 5 + 5 profiles can't give a chance below 0.8 %; where there are more, less is allowed.
    strict = noise.least_chance(before.count, after.count) <= ALPHA / 2
    alpha = ALPHA / 2 if strict else ALPHA
    width = before.count + after.count
    telling = sum(before.samples(own[0]) + after.samples(own[1]) >= 20 * width for own, _ in weights)
    reference = _Reference(before.each(before.totals) + after.each(after.totals), before.count, held=telling >= 5)
    rows = [reference.held(test) for test in tests]
    outcome = noise.permute([values for values, _ in rows], [floor for _, floor in rows], before.count, alpha)
    current = range(before.count, width)
    while True:
        students = [noise.student(values, floor, current) for values, floor in rows]
        chances = [outcome.chance(each) for each in students]
        sure = [
            (abs(student), index)
            for index, (test, student, chance) in enumerate(zip(tests, students, chances, strict=True))
            if chance <= alpha and test.own and test.place not in reference.without
        ]
        if not sure or not reference.leave_out(tests[max(sure)[1]]):
            break
        rows = [reference.held(test) for test in tests]
    found.tested = len(tests)
    tenths = []
    for test, (values, floor), chance in zip(tests, rows, chances, strict=True):
        figure = test.figure
        figure.chance = chance
        figure.found = chance <= alpha and figure.change != 0
        mean = mean_of(values[: before.count])
        if mean > 0:
            error = _error(values, floor, before.count) / max(0.01, 1 - reference.part(test))
            figure.detectable = (outcome.critical + POWER_Z) * error / mean
            if test.place is not None and figure.before > 0:
                # Of the function whose part of the whole is next to a tenth; errors fall with the root of the samples.
                part = figure.before / found.total.before
                tenths.append((abs(math.log(part / 0.1)), figure.detectable * math.sqrt(part / 0.1)))
    found.tenth = min(tenths)[1] if tenths else None
    for test, (values, _) in zip(tests, rows, strict=True):
        if test.place is None:
            continue
        figure, row = test.figure, found.rows[test.place]
        then, now = mean_of(values[: before.count]), mean_of(values[before.count :])
        if not found.total.found:
            for shown in (figure, row.total_time if row.total_time.chance is None else figure):
                shown.before, shown.after = then, now
        elif (figure.change > 0) != (now > then) or abs(figure.change) < abs(now - then) / 2:
            figure.found = False  # it only differs from what the others did
    common = mean_of(reference.sizes[before.count :])
    if not found.total.found and abs(common - 1) > 0.01:
        found.notes.append(
            f"What the functions without a finding have in common ({common - 1:+.1%} on average, within chance) is "
            "taken out of all functions' times."
        )
    found.method = (
        f"permutation of {before.count} + {after.count} profiles, corrected by the greatest statistic of each "
        f"arrangement over {found.tested} tests; an error in {alpha:.1%} of comparisons is allowed"
    )


def _tests(found: Comparison, sides: tuple[Side, Side], weights: list[Weights]) -> list[_Test]:
    before, after = sides
    tests = []
    order = sorted(
        range(len(found.rows)), key=lambda i: -(found.rows[i].total_time.before + found.rows[i].total_time.after)
    )
    for index in order[:_MOST_PERMUTED]:
        row, (selves, totals) = found.rows[index], weights[index]
        for figure, (left, right) in ((row.self_time, selves), (row.total_time, totals)):
            samples = before.samples(left) + after.samples(right)
            if samples < _LEAST_SAMPLES or (figure is row.total_time and totals == selves):
                continue  # a leaf's total is its self time: one test, not two
            values = before.each(left) + after.each(right)
            tests.append(_Test(index, figure, values, samples, own=figure is row.self_time))
    found.total_judged = found.per != "share" and found.total_judged
    if found.total_judged:
        whole = before.samples(before.totals) + after.samples(after.totals)
        values = before.each(before.totals) + after.each(after.totals)
        tests.append(_Test(None, found.total, values, whole, own=False))
    return tests


def _error(values: list[float], floor: float, before: int) -> float:
    left, right = values[:before], values[before:]
    within = sum((value - mean_of(left)) ** 2 for value in left) + sum((value - mean_of(right)) ** 2 for value in right)
    variance = max(within / max(1, len(values) - 2), floor)
    return math.sqrt(variance * (1 / len(left) + 1 / len(right)))
