"""`--probe` on the watcher's side: the process that probes (`probe`), what it told, what becomes of it."""

from __future__ import annotations

import select
import time
from typing import Any

from supervisor.config import Config
from supervisor.helper import Helper
from supervisor.model import Probe
from supervisor.quantities import human_duration

OUTCOMES = ("answered", "timeout", "refused", "failed")
# Every probe is told of, at the latest when its time is over; from one that is silent for longer nothing will come.
_SILENCE_S = 5.0
# A target that has just started has the processor for itself first.
_FIRST_S = 0.5


class Prober:
    """The process that probes, and what came of it. `news` waits in it: events (level, name, fields) for the log."""

    def __init__(self, config: Config, response_s: float | None, poller: select.poll, helpers: set[int]) -> None:
        self._helper = Helper("probe.py", poller, helpers, secret=True)
        self._spec: dict[str, Any] = {
            "url": config.probe,
            "interval_s": config.probe_interval,
            "timeout_s": max(config.probe_timeout, 2 * (response_s or 0.0)),
        }
        self._patience_s = self._spec["timeout_s"] + config.probe_interval + _SILENCE_S
        self._heard_s = float("inf")
        self.news: list[tuple[str, str, dict[str, Any]]] = []
        self._helper.begin_in(_FIRST_S)

    @property
    def left_s(self) -> float:
        """Seconds until there is something to do besides reading."""
        silence_s = self._heard_s + self._patience_s - time.monotonic() if self._helper.heard else float("inf")
        return min(self._helper.left_s, max(0.0, silence_s))

    def take(self, now_s: float) -> list[Probe]:
        """What came of probes since the last call."""
        helper = self._helper
        if helper.due(now_s):
            helper.begin(self._spec)
            self._heard_s = now_s
        found: list[Probe] = []
        for told in helper.take():
            outcome, elapsed_s = told.get("outcome"), told.get("elapsed_s")
            if outcome in OUTCOMES and isinstance(elapsed_s, int | float):
                helper.well()
                self._heard_s = now_s
                found.append(Probe(str(outcome), float(elapsed_s), str(told.get("said", ""))[:300]))
        if helper.heard and now_s - self._heard_s >= self._patience_s:
            helper.give_up(f"it said nothing for {human_duration(self._patience_s)}")
        if helper.failed:
            fields = {"reason": helper.failed, "again_s": helper.again_s, "hint": "guard doctor"}
            self.news.append(("warning", "prober.failed", fields))
            helper.failed = ""
        return found

    def end(self) -> None:
        """End it."""
        self._helper.end()
