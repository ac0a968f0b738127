"""How busy the tree was over the last while, and who was: from processor ticks, processes that came and went included.

Pure. What a process has used is in its own count, and, once it was waited for, in its parent's (proc(5): cutime and
cstime). So a child that came and went between two samples is seen in its parent; what is seen of it both ways counts
once.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from supervisor.model import Process, Sample

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Who is busy now: a process's use follows with this time constant.
_FOLLOW_S = 10.0
_POINTS = 60

Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Busy:
    """What the samples so far showed.

    `used_s`: processor time of the tree since the first one. `points` are (when, `used_s`) within the window, oldest
    first. `rates`: cores that a process used of late.
    """

    at_s: float | None = None
    used_s: float = 0.0
    points: tuple[tuple[float, float], ...] = ()
    before: Mapping[Identity, Process] = field(default_factory=dict)
    rates: Mapping[Identity, float] = field(default_factory=dict)

    def share(self, window_s: float, cores: float) -> float | None:
        """Share of the cores over the window; None until the window is full."""
        if self.at_s is None or not self.points or cores <= 0:
            return None
        since_s, used_s = self.points[0]
        if self.at_s - since_s < window_s:
            return None
        return (self.used_s - used_s) / ((self.at_s - since_s) * cores)

    def busiest(self, sample: Sample) -> Process | None:
        """The process that used most of late; among idle ones the one that worked most in its life."""
        return max(
            (process for process in sample.processes if process.state not in ("Z", "X")),
            key=lambda process: (round(self.rates.get(process.identity, 0.0), 2), process.cpu_ticks),
            default=None,
        )


def follow(busy: Busy, sample: Sample, window_s: float, cores: float) -> Busy:
    """With one more sample. A tree can't use more than `cores`: what looks so was read late."""
    now = {process.identity: process for process in sample.processes}
    if busy.at_s is None:
        return replace(busy, at_s=sample.at_s, points=((sample.at_s, 0.0),), before=now)
    elapsed_s = sample.at_s - busy.at_s
    if elapsed_s <= 0:
        return busy
    used_s = busy.used_s + min(_used_ticks(busy.before, now) / TICKS_PER_S, elapsed_s * cores)
    points = busy.points
    if sample.at_s - points[-1][0] >= window_s / _POINTS:
        points = (*points, (sample.at_s, used_s))
    while len(points) > 1 and sample.at_s - points[1][0] >= window_s:
        points = points[1:]
    kept = math.exp(-elapsed_s / _FOLLOW_S)
    rates: dict[Identity, float] = {}
    for identity, process in now.items():
        before = busy.before.get(identity)
        ticks = max(0, process.cpu_ticks - (before.cpu_ticks if before is not None else 0))
        rate = min(ticks / TICKS_PER_S / elapsed_s, cores)
        rates[identity] = rate + (busy.rates.get(identity, 0.0) - rate) * kept
    return Busy(sample.at_s, used_s, points, now, rates)


def _used_ticks(before: Mapping[Identity, Process], now: Mapping[Identity, Process]) -> int:
    """Ticks that the tree used between two samples."""
    told: dict[int, int] = {}  # by a living parent's pid: what was counted already of children that are gone
    parents = {process.pid: process for process in before.values()}
    living = {process.pid for process in now.values()}
    for identity, process in before.items():
        if identity in now:
            continue
        parent, steps = process.ppid, 0
        while parent not in living and parent in parents and steps < len(parents):
            parent, steps = parents[parent].ppid, steps + 1
        told[parent] = told.get(parent, 0) + process.cpu_ticks + process.waited_ticks
    used = 0
    for identity, process in now.items():
        known = before.get(identity)
        if known is None:
            used += process.cpu_ticks + process.waited_ticks
            continue
        used += max(0, process.cpu_ticks - known.cpu_ticks)
        used += max(0, process.waited_ticks - known.waited_ticks - told.get(process.pid, 0))
    return used
