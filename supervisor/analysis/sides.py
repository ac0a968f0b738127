"""The two sides of a comparison: their profiles on one scale, their functions in pairs."""

from __future__ import annotations

import math

from supervisor.analysis import matching
from supervisor.analysis.folded import FunctionTotal
from supervisor.analysis.known import OTHERS
from supervisor.analysis.outcome import Comparison, Figure, Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from supervisor.analysis.folded import Counts, Key
    from supervisor.analysis.reading import Reading


class UnitsError(ValueError):
    """The sides weigh different things."""


class Side:
    """Profiles of one side, each weight as samples and as a value (time, time a second, share)."""

    def __init__(self, readings: Sequence[Reading], values: Sequence[float]) -> None:
        self.readings = readings
        self.values = values  # of one sample
        self.count = len(readings)
        self.scale = 1.0

    def samples(self, weights: Sequence[int]) -> float:
        """How many equally weighty samples stand behind the sum of values."""
        if self.count == 1:
            value = self.values[0] * weights[0] / self.readings[0].weight_per_sample
            squares = self.values[0] * self.values[0] * weights[0] / self.readings[0].weight_per_sample
            return value * value / squares if squares else 0.0
        value = squares = 0.0
        for reading, worth, weight in zip(self.readings, self.values, weights, strict=True):
            value += worth * weight / reading.weight_per_sample
            squares += worth * worth * weight / reading.weight_per_sample
        return value * value / squares if squares else 0.0

    def each(self, weights: Sequence[int]) -> list[float]:
        """The values of the profiles."""
        if self.count == 1:
            return [self.scale * self.values[0] * weights[0] / self.readings[0].weight_per_sample]
        return [
            self.scale * worth * weight / reading.weight_per_sample
            for reading, worth, weight in zip(self.readings, self.values, weights, strict=True)
        ]

    @property
    def totals(self) -> list[int]:
        """The weights of the profiles."""
        return [reading.total for reading in self.readings]

    @property
    def inflation(self) -> float:
        """The profiles' inflation, weighed by their samples."""
        samples = sum(reading.samples for reading in self.readings)
        return sum(reading.inflation * reading.samples for reading in self.readings) / samples


class Pair:
    """A function's weights on both sides, profile by profile."""

    __slots__ = ("after", "before", "match", "row")

    def __init__(self, match: matching.Match | None, before: Key | None, after: Key | None) -> None:
        self.match = match
        self.before = before
        self.after = after
        self.row: Row


def of_one_life(
    baseline: list[Reading], current: list[Reading], per: str
) -> tuple[list[Reading], list[Reading], list[str]]:
    """The profiles that can be compared by time, and what is to be told of those left out.

    A few of a while among ones of a whole life (or the other way round) are left out, so that time can still be judged:
    as long as at least half of each side stays. Else, and for anything but `auto`, all stay.
    """
    sides = (baseline, current)
    everything = [*baseline, *current]
    timed = {reading.seconds_per_weight is not None for reading in everything}
    partial = {reading.whole is False for reading in everything}
    if per != "auto" or len(partial) < 2 or len(timed) > 1 or any(reading.unit == "bytes" for reading in everything):
        return baseline, current, []
    for a_while in (False, True):
        kept = [[each for each in side if (each.whole is False) is a_while] for side in sides]
        enough = all(2 * len(some) >= len(side) for some, side in zip(kept, sides, strict=True))
        if enough and (not a_while or all(each.seconds for some in kept for each in some)):
            notes = []
            for name, some, side in zip(("baseline", "current"), kept, sides, strict=True):
                left = [each for each in side if each not in some]
                if left:
                    those = "are of a while of a running process, unlike the others"
                    if a_while:
                        those = "aren't of a while of a running process, as the others are"
                    notes.append(
                        f"{len(left)} of the {len(side)} {name} profiles {those}: left out, {left[0].origin} first."
                    )
                if side[0] in left:
                    notes += side[0].notes  # what was said of the whole side stands there
            return kept[0], kept[1], notes
    return baseline, current, []


def basis(baseline: list[Reading], current: list[Reading], per: str) -> tuple[Comparison, tuple[Side, Side]]:
    baseline, current, notes = of_one_life(baseline, current, per)
    everything = [*baseline, *current]
    memory = {reading.unit == "bytes" for reading in everything}
    if len(memory) > 1:
        said = "one side has heap or growth profiles, which weigh bytes, the other CPU profiles, which weigh time"
        raise UnitsError(said)
    timed = all(reading.seconds_per_weight is not None for reading in everything)
    any_timed = any(reading.seconds_per_weight is not None for reading in everything)
    windows = all(reading.whole is False and reading.seconds for reading in everything)
    unit = "bytes" if True in memory else "s" if timed else "samples"
    chosen = per
    unjudged = "compared are shares" if per == "share" else ""
    if per == "auto":
        chosen = "run"
        if windows:
            chosen = "second"
            notes.append("All profiles are of a while of a running process: compared is time per second of recording.")
        elif any_timed and not timed:
            chosen = "share"
            unjudged = "not every profile says how long a sample is"
            notes.append("Not every profile says how long a sample is: compared are shares of each profile's whole.")
        elif unit != "bytes" and any(reading.whole is False for reading in everything):
            chosen = "share"
            unjudged = "some profiles are of a while, others of a whole life or don't say"
            notes.append(
                "Some profiles are of a while of a running process and others of a whole life, or don't say: "
                "compared are shares of each profile's whole."
            )
    if chosen == "second" and not all(reading.seconds for reading in everything):
        raise ValueError("not every profile says how long was recorded, so nothing can be said per second")
    if chosen == "second" and unit == "samples" and any_timed:
        raise ValueError("some profiles count samples of unknown length and others time: only shares can be compared")
    if chosen == "run" and unit == "samples" and any_timed:
        raise ValueError("some profiles count samples of unknown length and others time: only shares can be compared")
    sides = []
    for readings in (baseline, current):
        values = []
        for reading in readings:
            worth = reading.weight_per_sample
            if unit == "s" and reading.seconds_per_weight is not None:
                worth *= reading.seconds_per_weight
            if chosen == "second" and reading.seconds:
                worth /= reading.seconds
            if chosen == "share":
                worth = 1 / reading.samples
            values.append(worth)
        sides.append(Side(readings, values))
    found = Comparison((baseline, current), unit, chosen)
    found.notes = notes
    found.total_unjudged = unjudged
    _tell_rates(found, timed, any_timed)
    return found, (sides[0], sides[1])


def _tell_rates(found: Comparison, timed: bool, any_timed: bool) -> None:
    if found.per == "run" and found.unit == "samples" and not any_timed:
        found.notes.append(
            "No profile says how long a sample is (folded stacks without a .meta.json don't): all are taken to have "
            "been sampled at one rate."
        )
    if not timed:
        return
    lengths = [
        sorted({round((each.seconds_per_weight or 0) * each.weight_per_sample * 1e3, 3) for each in side})
        for side in found.sides
    ]
    low, high = min(map(min, lengths)), max(map(max, lengths))
    if low > 0 and high / low > 1.05 and found.per != "share":
        words = [", ".join(f"{length:g}" for length in side) for side in lengths]
        found.notes.append(f"A sample is {words[0]} ms in the baseline and {words[1]} ms now: scaled to time.")


def pairs_of(
    baseline: list[Reading], current: list[Reading], stacks: Callable[[], tuple[Counts, Counts] | None]
) -> list[Pair]:
    left, right = _merged(baseline), _merged(current)
    if left.keys() == right.keys():
        matches = [matching.Match(key, key, "same") for key in left]
    else:
        matches = matching.by_name(left, right)
        lost, new = dict(left), dict(right)
        for match in matches:
            del lost[match.before], new[match.after]
        totals = (float(sum(each.total for each in baseline)), float(sum(each.total for each in current)))
        if matching.worth_a_look(lost, totals[0]) and matching.worth_a_look(new, totals[1]):
            same = {match.after: match.before for match in matches}
            for match in matching.renamed(lost, new, totals, same, stacks()):
                matches.append(match)
                del lost[match.before], new[match.after]
        pairs = [_pair(match, match.before, match.after, left, right) for match in matches]
        pairs += [_pair(None, key, None, left, right) for key in lost]
        return pairs + [_pair(None, None, key, left, right) for key in new]
    return [_pair(match, match.before, match.after, left, right) for match in matches]


def _pair(
    match: matching.Match | None,
    before: Key | None,
    after: Key | None,
    left: dict[Key, FunctionTotal],
    right: dict[Key, FunctionTotal],
) -> Pair:
    pair = Pair(match, before, after)
    shown = right[after] if after is not None else left[before or OTHERS]
    pair.row = Row(shown.function, shown.file, shown.line, Figure(0.0, 0.0), Figure(0.0, 0.0))
    if match is not None and match.before != match.after and match.how != "same":
        pair.row.was, pair.row.how = match.before, match.how
    return pair


def _merged(readings: list[Reading]) -> dict[Key, FunctionTotal]:
    if len(readings) == 1:
        return readings[0].functions
    merged: dict[Key, FunctionTotal] = {}
    for reading in readings:
        for key, each in reading.functions.items():
            known = merged.get(key)
            if known is None:
                merged[key] = FunctionTotal(each.function, each.file, each.line, each.self_weight, each.total_weight)
            else:
                known.self_weight += each.self_weight
                known.total_weight += each.total_weight
    return merged


Weights = tuple[tuple[list[int], list[int]], tuple[list[int], list[int]]]


def weights_of(pair: Pair, baseline: list[Reading], current: list[Reading]) -> Weights:
    """Self and total weights of a function, each as (by profile of the baseline, by profile of the current side)."""
    selves: list[list[int]] = []
    totals: list[list[int]] = []
    for key, readings in ((pair.before, baseline), (pair.after, current)):
        known = [reading.functions.get(key) if key is not None else None for reading in readings]
        selves.append([each.self_weight if each else 0 for each in known])
        totals.append([each.total_weight if each else 0 for each in known])
    return (selves[0], selves[1]), (totals[0], totals[1])


def mean_of(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def ratio_of(before: Side, after: Side) -> float:
    """How many samples the current side has for each of the baseline's where nothing changed."""
    worth = [mean_of(side.each(side.totals)) / side.samples(side.totals) for side in (before, after)]
    return worth[0] / worth[1]
