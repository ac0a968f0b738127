"""From a flight of any length to the samples that are drawn. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from supervisor.evidence import FlightSample
from supervisor.model import STATES

MOST_SAMPLES = 5000
MOST_PROCESSES = 8
_TICKS_PER_S = 100  # USER_HZ, which every Linux reports to user space whatever its own


@dataclass(frozen=True, slots=True)
class Band:
    """A process of the stack. Its size is 0 in samples that it is not in."""

    pid: int
    name: str
    peak_bytes: int
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """The samples that are drawn, column by column: a choice of the real ones, none of them averaged.

    `taken`: how many there were. `cores` is the processor time of the listed processes since the sample before, None
    where that is not known. `others` is what all processes without a band have. `pressure` is the share of time in
    which some task waited for memory, in per cent.
    """

    taken: int
    times_s: tuple[float, ...]
    states: tuple[int, ...]
    rss: tuple[int, ...]
    use: tuple[int, ...]
    limits: tuple[int | None, ...]
    cores: tuple[float | None, ...]
    pressure: tuple[float | None, ...]
    bands: tuple[Band, ...]
    others: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.times_s)

    @property
    def peak(self) -> int:
        """The index of the highest sample."""
        return max(range(len(self)), key=self.rss.__getitem__)


def series(samples: Sequence[FlightSample], most: int = MOST_SAMPLES) -> Series:
    """What is drawn of a flight.

    Of each stretch of samples those are kept where the total, a band, the use, the processor or the pressure is
    highest or lowest: every peak is drawn as high as it was, and every drawn stack was so at one moment. Samples where
    the state or the limit changes are kept as well.
    """
    bands = _largest(samples)
    places = {pid: place for place, (pid, _, _) in enumerate(bands)}
    sizes = [[0] * len(samples) for _ in bands]
    for index, sample in enumerate(samples):
        for process in sample.processes:
            if process.pid in places and process.rss_bytes is not None:
                sizes[places[process.pid]][index] = max(0, process.rss_bytes)
    cores, rss = _cores(samples), [max(0, sample.rss_bytes) for sample in samples]
    use = [max(0, sample.use_bytes) for sample in samples]
    pressure = [sample.pressure_percent for sample in samples]
    columns: list[Sequence[float]] = [rss, use, *sizes]
    columns += [[-1.0 if value is None else value for value in column] for column in (cores, pressure)]
    kept = _chosen(samples, columns, most)
    shown = [
        Band(pid, name, peak, tuple(column[index] for index in kept))
        for (pid, name, peak), column in zip(bands, sizes, strict=True)
    ]
    return Series(
        taken=len(samples),
        times_s=tuple(samples[index].elapsed_s for index in kept),
        states=tuple(STATES.index(samples[index].state) for index in kept),
        rss=tuple(rss[index] for index in kept),
        use=tuple(use[index] for index in kept),
        limits=tuple(samples[index].limit_bytes for index in kept),
        cores=tuple(cores[index] for index in kept),
        pressure=tuple(pressure[index] for index in kept),
        bands=tuple(shown),
        others=tuple(max(0, rss[index] - sum(column[index] for column in sizes)) for index in kept),
    )


def ordered(samples: Sequence[FlightSample]) -> list[FlightSample]:
    """The samples in the order of their time: a damaged file may hold any."""
    if all(earlier.elapsed_s <= later.elapsed_s for earlier, later in pairwise(samples)):
        return list(samples)
    return sorted(samples, key=lambda sample: sample.elapsed_s)


def _largest(samples: Sequence[FlightSample]) -> list[tuple[int, str, int]]:
    """(pid, name at its peak, peak) of the processes that were largest at any moment, the earliest first."""
    peaks: dict[int, tuple[int, str]] = {}
    for sample in samples:
        for process in sample.processes:
            size = process.rss_bytes or 0
            known = peaks.get(process.pid)
            if known is None or size > known[0]:
                peaks[process.pid] = size, process.name
    # The order of the dictionary is that of first sight; the stack keeps it, so that children lie above their parents.
    largest = sorted(peaks, key=lambda pid: -peaks[pid][0])[:MOST_PROCESSES]
    return [(pid, name, peak) for pid, (peak, name) in peaks.items() if pid in largest and peak > 0]


def _cores(samples: Sequence[FlightSample]) -> list[float | None]:
    found: list[float | None] = [None] * len(samples)
    before: dict[int, int] = {}
    before_s = 0.0
    for index, sample in enumerate(samples):
        now: dict[int, int] = {}
        ticks = 0
        for process in sample.processes:
            now[process.pid] = done = process.cpu_ticks
            # Of processes in both samples: what one did before it came into the list is not of this moment.
            earlier = before.get(process.pid, done)
            if done > earlier:
                ticks += done - earlier
        if index and sample.elapsed_s > before_s:
            found[index] = ticks / _TICKS_PER_S / (sample.elapsed_s - before_s)
        before, before_s = now, sample.elapsed_s
    return found


def _chosen(samples: Sequence[FlightSample], columns: Sequence[Sequence[float]], most: int) -> list[int]:
    if len(samples) <= most:
        return list(range(len(samples)))
    changes = [
        place
        for index in range(1, len(samples))
        if samples[index].state != samples[index - 1].state
        or samples[index].limit_bytes != samples[index - 1].limit_bytes
        for place in (index - 1, index)
    ]
    kept = {0, len(samples) - 1, *changes[:: max(1, -(-len(changes) // (most // 4)))]}
    stretches = max(1, (most - len(kept)) // (2 * len(columns)))
    for number in range(stretches):
        stretch = range(number * len(samples) // stretches, (number + 1) * len(samples) // stretches)
        for column in columns:
            kept.add(max(stretch, key=column.__getitem__))
            kept.add(min(stretch, key=column.__getitem__))
    return sorted(kept)
