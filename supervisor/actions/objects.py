"""What a runtime that knows its objects tells beside growth by mapping: which class gained, between two moments."""

from __future__ import annotations

import time
from typing import Any

from supervisor.analysis import markdown
from supervisor.profilers import engine, java
from supervisor.profilers.failure import Failure
from supervisor.quantities import human_bytes

_MOST = 20
_SHOWN = 5
_MOST_CENSUSES = 12
_SHORTEST_GAP_S = 1.0
_STEP_BYTES = 8 << 20
# Counting only what is still reachable takes a full collection, of a larger heap a long one.
_MOST_LIVE_BYTES = 1 << 30
_LAST_S = 2.0  # what is left for a last census when guard has asked for the end


class Objects:
    """Censuses of a process's objects: one at the start, others as it grows, at most so many and within the budget."""

    def __init__(self, pid: int, rss_bytes: int, budget: float) -> None:
        self.failure: Failure | None = None
        self.taken = 0
        self.cost_s = 0.0
        self.live = rss_bytes <= _MOST_LIVE_BYTES
        self._pid = pid
        self._budget = max(budget, 0.001)
        self._first: java.Histogram = {}
        self._last: java.Histogram = {}
        self._rss = rss_bytes
        self._due_s = 0.0
        self.take(rss_bytes)

    def look(self, rss_bytes: int) -> bool:
        """Take another where it has grown and the budget allows; whether one was taken. Raises Interrupted."""
        grew = abs(rss_bytes - self._rss) >= max(_STEP_BYTES, self._rss // 20)
        if self.failure is not None or not grew or time.monotonic() < self._due_s or self.taken >= _MOST_CENSUSES:
            return False
        self.take(rss_bytes)
        return True

    def take(self, rss_bytes: int, deadline_s: float = java.DEADLINE_S) -> None:
        """Take one now; a failure is kept, and ends it."""
        began_s = time.monotonic()
        try:
            found = java.histogram(self._pid, live=self.live, deadline_s=deadline_s)
        except Failure as failure:
            self.failure = failure
            return
        self.taken += 1
        self.cost_s = time.monotonic() - began_s
        self._due_s = time.monotonic() + max(_SHORTEST_GAP_S, self.cost_s / self._budget)
        self._rss = rss_bytes
        self._first = self._first or found
        self._last = found

    def last(self, rss_bytes: int) -> None:
        """The end is near: once more, where that is known to be quick."""
        if self.failure is None and self.taken and self.cost_s < _LAST_S / 4 and rss_bytes != self._rss:
            self.take(rss_bytes, _LAST_S)

    def facts(self) -> tuple[dict[str, Any], dict[str, Any] | None, list[str]]:
        """For the meta; the class that tells most, or None; notes for people."""
        rows = java.grown(self._first, self._last)
        class_ = java.telling(rows)
        notes = []
        if rows:
            how = "reachable ones" if self.live else "all, also those that wait to be collected"
            parts = [
                f"{markdown.code(row['name'])} +{row['gained_count']} ({human_bytes(row['gained_bytes'])})"
                for row in rows[:_SHOWN]
            ]
            notes.append(f"Objects that became more between {self.taken} censuses ({how}): {', '.join(parts)}.")
            if class_ is not None and class_ not in rows[:1]:
                notes.append(f"The program's own class among them that gained most is {markdown.code(class_['name'])}.")
        if self.failure is not None:
            notes.append(f"Its objects could not be counted: {self.failure.said}.")
        meta = {
            "censuses": self.taken,
            "census_live": self.live,
            "census_s": round(self.cost_s, 3),
            "classes": rows[:_MOST],
        }
        return meta, class_, notes


def of(pid: int, rss_bytes: int, budget: float) -> Objects | None:
    """For a process whose runtime counts its objects (Java); None for others."""
    return Objects(pid, rss_bytes, budget) if engine.of(pid) == engine.JAVA else None
