"""`--probe` on the watcher's side: the process that probes (`probe`), what it told, what becomes of it."""

from __future__ import annotations

import select
from typing import Any

from supervisor.config import Config
from supervisor.helper import Helper
from supervisor.model import Probe

OUTCOMES = ("answered", "timeout", "refused", "failed")
# A target that has just started has the processor for itself first.
_FIRST_S = 0.5


class Prober:
    """The process that probes, and what came of it. `news` waits in it: events (level, name, fields) for the log."""

    def __init__(self, config: Config, response_s: float | None, poller: select.poll, helpers: set[int]) -> None:
        self._helper = Helper("probe.py", poller, helpers, secret=True)
        self._spec = {
            "url": config.probe,
            "interval_s": config.probe_interval,
            "timeout_s": max(config.probe_timeout, 2 * (response_s or 0.0)),
        }
        self.news: list[tuple[str, str, dict[str, Any]]] = []
        self._helper.begin_in(_FIRST_S)

    @property
    def left_s(self) -> float:
        """Seconds until there is something to do besides reading."""
        return self._helper.left_s

    def take(self, now_s: float) -> list[Probe]:
        """What came of probes since the last call."""
        helper = self._helper
        if helper.due(now_s):
            helper.begin(self._spec)
        found: list[Probe] = []
        for told in helper.take():
            outcome, elapsed_s = told.get("outcome"), told.get("elapsed_s")
            if outcome in OUTCOMES and isinstance(elapsed_s, int | float):
                helper.well()
                found.append(Probe(str(outcome), float(elapsed_s), str(told.get("said", ""))[:300]))
        if helper.failed:
            fields = {"reason": helper.failed, "again_s": helper.again_s, "hint": "guard doctor"}
            self.news.append(("warning", "prober.failed", fields))
            helper.failed = ""
        return found

    def end(self) -> None:
        """End it."""
        self._helper.end()
