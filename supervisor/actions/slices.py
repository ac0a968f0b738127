"""Slices of one profile, at different rates, as one profile at one rate. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervisor.analysis.folded import Counts


class Slices:
    """What was recorded so far, by rate, so that memory follows the number of distinct stacks and not the time."""

    def __init__(self, most_samples: int) -> None:
        self.most_samples = most_samples
        self.counts: dict[int, Counts] = {}
        self.seconds: dict[int, float] = {}

    def add(self, counts: Counts, rate_hz: int, seconds: float) -> None:
        """Take in a slice."""
        known = self.counts.setdefault(rate_hz, {})
        for stack, weight in counts.items():
            known[stack] = known.get(stack, 0) + weight
        self.seconds[rate_hz] = self.seconds.get(rate_hz, 0.0) + seconds

    @property
    def taken(self) -> int:
        """Samples as they came."""
        return sum(sum(counts.values()) for counts in self.counts.values())

    @property
    def thinned(self) -> bool:
        """Whether the cap made samples fewer."""
        return bool(self.seconds) and self.taken > self.most_samples and self._at(self._longest()) > self.most_samples

    def _longest(self) -> float:
        return float(max(self.seconds, key=lambda each: (self.seconds[each], each)))

    def common_rate(self) -> float:
        """The rate that ran longest; halved until what is kept is within the cap."""
        if not self.seconds:
            return 0.0
        rate = self._longest()
        while self._at(rate) > self.most_samples:
            rate /= 2
        return rate

    def _at(self, rate: float) -> float:
        return sum(sum(counts.values()) * rate / each for each, counts in self.counts.items())

    def merged(self) -> tuple[Counts, float]:
        """One profile and its rate: samples of a faster slice are thinned, those of a slower one count more.

        So a weight stands for the same time whenever it was taken.
        """
        rate = self.common_rate()
        merged: Counts = {}
        for each, counts in sorted(self.counts.items()):
            for stack, weight in scaled(counts, rate / each).items():
                merged[stack] = merged.get(stack, 0) + weight
        return merged, rate

    @property
    def scaled_s(self) -> float:
        """Seconds that ran slower than the common rate, so that their samples count more than once."""
        rate = self.common_rate()
        return sum(seconds for each, seconds in self.seconds.items() if each < rate)


def scaled(counts: Counts, factor: float) -> Counts:
    """Weights times `factor` in whole numbers: rounding is carried on, so the total is off by less than one.

    Without the carry a profile of many rare stacks would vanish.
    """
    if factor == 1.0:
        return dict(counts)
    result: Counts = {}
    exact, given = 0.5, 0
    for stack in sorted(counts):
        exact += counts[stack] * factor
        weight = int(exact) - given
        if weight > 0:
            result[stack] = weight
            given += weight
    return result
