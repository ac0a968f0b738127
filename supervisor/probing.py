"""`--probe` on the watcher's side: the process that probes (`probe`), what it told, what becomes of it."""

from __future__ import annotations

import select
from collections.abc import Callable, Collection
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
    """The process that probes, a part. `tell` logs: (level, name, **fields)."""

    def __init__(
        self, config: Config, response_s: float | None, poller: select.poll, helpers: set[int],
        tell: Callable[..., None],
    ) -> None:  # fmt: skip
        self._tell = tell
        self._found: list[Probe] = []
        self._helper = Helper("probe", poller, helpers, secret=True)
        self._spec: dict[str, Any] = {
            "url": config.probe,
            "interval_s": config.probe_interval,
            "timeout_s": max(config.probe_timeout, 2 * (response_s or 0.0)),
        }
        self._patience_s = self._spec["timeout_s"] + config.probe_interval + _SILENCE_S
        self._heard_s = float("inf")
        self._helper.begin_in(_FIRST_S)

    def take(self) -> list[Probe]:
        """What came of probes since the last call."""
        found, self._found = self._found, []
        return found

    def look(self, now_s: float, ready: Collection[int]) -> float:
        """Hear what it tells, begin it again when it is time; seconds until it was silent for too long."""
        helper, before = self._helper, len(self._found)
        if helper.due(now_s):
            helper.begin(self._spec)
            self._heard_s = now_s
        for told in helper.take():
            outcome, elapsed_s = told.get("outcome"), told.get("elapsed_s")
            if outcome in OUTCOMES and isinstance(elapsed_s, int | float):
                helper.well()
                self._heard_s = now_s
                self._found.append(Probe(str(outcome), float(elapsed_s), str(told.get("said", ""))[:300]))
        if helper.heard and now_s - self._heard_s >= self._patience_s:
            helper.give_up(f"it said nothing for {human_duration(self._patience_s)}")
        if helper.failed:
            self._tell("warning", "prober.failed", reason=helper.failed, again_s=helper.again_s, hint="guard doctor")
            helper.failed = ""
        if len(self._found) > before:
            return 0.0
        silence_s = self._heard_s + self._patience_s - now_s if helper.heard else float("inf")
        return min(helper.left_s, max(0.0, silence_s))

    def end(self) -> None:
        """End it."""
        self._helper.end()
