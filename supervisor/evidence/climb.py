"""How memory grew: the last climb of a flight, its rate and its shape. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from supervisor.evidence import FlightSample

LEAST_RISE_BYTES = 4 << 20
LEAST_RISE_SHARE = 0.05
_DIP_SHARE = 0.3
_FLAT_SHARE = 0.05
_IDLE_SHARE = 0.15
_STEADY = 0.5
_STILL_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Climb:
    """The climb to the highest point: where it began and ended (seconds from the run's start), from and to how much.

    `shape` is `steady`, or `in steps` where a few samples took most of it. `to_the_end`: the run ended while memory
    grew still.
    """

    start_s: float
    end_s: float
    from_bytes: int
    to_bytes: int
    shape: str
    to_the_end: bool

    @property
    def rise_bytes(self) -> int:
        """By how much memory grew."""
        return self.to_bytes - self.from_bytes

    @property
    def seconds(self) -> float:
        """For how long."""
        return self.end_s - self.start_s

    @property
    def rate_bytes_per_s(self) -> float:
        """How fast, on the average."""
        return self.rise_bytes / self.seconds if self.seconds > 0 else 0.0


def living(samples: Sequence[FlightSample]) -> list[FlightSample]:
    """The samples without those at the end that only saw the target's remains (it had ended, not yet been reaped)."""
    end = len(samples)
    while end and samples[end - 1].rss_bytes == 0:
        end -= 1
    return list(samples[:end])


def last_climb(samples: Sequence[FlightSample]) -> Climb | None:
    """The climb that led to the highest point of the tree's RSS; None when memory did not grow worth a word.

    Going back from the top, dips of up to 30 % of the rise (or 5 % of the size) belong to it; then what was flat before
    it (within 5 % of the rise, over more than 15 % of the time) is left out: hours of idling don't thin the rate.
    """
    series = living(samples)
    if len(series) < 2:
        return None
    sizes = [sample.rss_bytes for sample in series]
    top = max(range(len(sizes)), key=lambda index: (sizes[index], -index))
    start = low = top
    noise = max(LEAST_RISE_BYTES, LEAST_RISE_SHARE * sizes[top])
    for index in range(top - 1, -1, -1):
        if sizes[index] < sizes[low]:
            low = index
        elif sizes[index] - sizes[low] > max(_DIP_SHARE * (sizes[top] - sizes[low]), noise):
            break
        start = low
    rise = sizes[top] - sizes[start]
    if rise < noise or series[top].elapsed_s <= series[start].elapsed_s:
        return None
    flat = sizes[start] + _FLAT_SHARE * rise
    begin = max(index for index in range(start, top) if sizes[index] <= flat)
    flat_s, all_s = (series[index].elapsed_s - series[start].elapsed_s for index in (begin, top))
    if flat_s <= _IDLE_SHARE * all_s:
        begin = start  # an even climb passes through its lowest part, too
    steps = [later - earlier for earlier, later in zip(sizes[begin:top], sizes[begin + 1 : top + 1], strict=True)]
    largest = sum(sorted(steps, reverse=True)[: max(1, len(steps) // 10)])
    shape = "in steps" if len(steps) >= 4 and largest > _STEADY * rise else "steady"
    return Climb(
        start_s=series[begin].elapsed_s,
        end_s=series[top].elapsed_s,
        from_bytes=sizes[begin],
        to_bytes=sizes[top],
        shape=shape,
        to_the_end=_grows_still(series, series[begin].elapsed_s, rise),
    )


def _grows_still(series: Sequence[FlightSample], start_s: float, rise: int) -> bool:
    """Whether memory grew over the last fifth of the time since the climb began: the halves of that fifth differ.

    A program that loads, fills its caches and stays there does not grow still; one that leaks does.
    """
    end_s = series[-1].elapsed_s
    border = end_s - _STILL_SHARE * (end_s - start_s)
    late = [sample.rss_bytes for sample in series if sample.elapsed_s >= border]
    if len(late) < 2:
        # So few samples that the fifth has only one: the last step tells.
        return len(series) > 1 and series[-1].rss_bytes - series[-2].rss_bytes > rise / 10
    half = len(late) // 2
    gained = statistics.median(late[half:]) - statistics.median(late[:half])
    # Evenly grown, the halves lie a tenth of the rise apart; a third of that counts.
    return gained >= rise / 30


def grown(samples: Sequence[FlightSample], climb: Climb | None) -> list[tuple[int, str, int, int]]:
    """Who grew over the climb: (pid, name, bytes gained, bytes at the end), most gained first; without one, by size."""
    series = living(samples)
    if not series:
        return []
    if climb is None:
        last = series[-1]
        sized = [(each.pid, each.name, 0, each.rss_bytes or 0) for each in last.processes]
        return sorted(sized, key=lambda entry: -entry[3])
    window = [sample for sample in series if climb.start_s <= sample.elapsed_s <= climb.end_s]
    first = {each.pid: each.rss_bytes or 0 for each in window[0].processes}
    top: dict[int, tuple[str, int]] = {}
    for sample in window:
        for each in sample.processes:
            if each.rss_bytes is not None and each.rss_bytes >= top.get(each.pid, ("", 0))[1]:
                top[each.pid] = each.name, each.rss_bytes
    found = [(pid, name, size - first.get(pid, 0), size) for pid, (name, size) in top.items()]
    return sorted(found, key=lambda entry: (-entry[2], -entry[3]))
