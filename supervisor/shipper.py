"""`--ship` on the watcher's side: when a batch goes, one at a time, and what is told of it.

A worker (`actions/ship`) sends. Whatever asks while one runs is one more batch after it. What an earlier run left waits
until nothing of this one does, and steps aside for it.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

from supervisor.addresses import masked_url
from supervisor.config import Config
from supervisor.journal import Journal
from supervisor.model import Start
from supervisor.shipping.target import parse
from supervisor.workers import Worker, Workers

KIND = "ship"
SCOPES = ("", "evidence", "all", "final")
# What the worker takes of the limit by kind of target (its peak with 200 MB to send measured, rounded up).
COST_BYTES = {"directory": 16 << 20, "http": 24 << 20, "s3": 32 << 20}
_BATCH_S = 60.0
_LEFTOVERS_S = 300.0
_LEFTOVERS_AFTER_S = 1.0
_AGAIN_S, _LONGEST_S = 30.0, 600.0
# A worker that can't be told to end is killed that long after its own time.
_SPARE_S = 0.5


class Shipper:
    """The shipping of one run, a part of its watching and then one of its last deeds."""

    def __init__(self, config: Config, journal: Journal, workers: Workers) -> None:
        assert config.ship is not None
        self.headroom_bytes: int | None = None  # of the last sample
        self._hurried = False  # somebody told guard to end while it stayed for the last batch
        self._url = config.ship
        self._to = masked_url(config.ship)
        self._target = parse(config.ship)
        self._config = config
        self._journal = journal
        self._workers = workers
        self._wanted = 0  # of SCOPES
        self._leftovers_s = journal.started_s + _LEFTOVERS_AFTER_S  # when it is time for those of earlier runs
        self._again_s = 0.0  # after a failure: not before
        self._wait_s = _AGAIN_S
        self._asked = 0  # what the running batch is for
        self._dropped = False  # the running one was killed: nothing is said of it
        self._leaving = False

    def want(self, scope: str, now_s: float) -> None:
        """Ship this much as soon as may be: `evidence`, or `all` there is."""
        self._wanted = max(self._wanted, SCOPES.index(scope))
        self._again_s = 0.0
        self.look(now_s, ())

    def look(self, now_s: float, ready: Collection[int]) -> float:
        """Begin what is due, if there is room and it isn't too soon after a failure; seconds to the next look."""
        if self._leaving:
            return float("inf")
        running = self._workers.of_kind(KIND)
        if running is not None:
            if self._wanted and not self._asked and not self._dropped:
                self._drop(running)  # an earlier run's files can wait
            return float("inf")
        due_s = max(self._again_s, 0.0 if self._wanted else self._leftovers_s)
        if now_s < due_s:
            return due_s - now_s
        if self.headroom_bytes is not None and self.headroom_bytes < COST_BYTES[self._target.kind]:
            return float("inf")  # the next sample may tell of room
        self._begin(self._wanted, not self._wanted, now_s, _BATCH_S if self._wanted else _LEFTOVERS_S)
        return float("inf")

    def _begin(self, scope: int, leftovers: bool, now_s: float, time_s: float) -> None:
        store = self._journal.store
        self._wanted, self._asked, self._dropped = 0, scope, False
        if leftovers:
            self._leftovers_s = float("inf")
        if store is None:
            return
        start = Start(KIND, "ok", 0, SCOPES[scope] or "earlier runs")
        spec = {
            "action": KIND, "state": start.state, "pid": 0, "name": "", "run": self._journal.run,
            "directory": store.run_path, "root": store.root, "root_id": store.root_id, "scope": SCOPES[scope],
            "leftovers": leftovers, "time_s": time_s, "mode": self._config.evidence_mode,
        }  # fmt: skip
        try:
            self._workers.begin(start, spec, now_s, time_s + _SPARE_S, secret=self._url)
        except OSError as error:
            why = error.strerror or str(error)
            self._failed(scope, {"reason": "worker", "said": why, "hint": "ulimit -n -u"}, 0.0)

    def ended(self, worker: Worker, result: dict[str, Any]) -> None:
        """Tell what came of a batch, and begin the next."""
        now_s = time.monotonic()
        scope, leftovers = self._asked, result.pop("leftovers", False)
        outcome = result.pop("outcome", "failed")
        result.pop("paths", None)
        elapsed_s = round(now_s - worker.started_s, 3)
        self._asked = 0
        if self._hurried and outcome != "ok":
            result |= {"reason": "interrupted", "said": "a signal told guard to end", "hint": ""}
        if self._dropped:
            self._dropped = False
            self._wanted = max(self._wanted, scope)
            self._leftovers_s = now_s if not scope else self._leftovers_s
        elif outcome == "ok":
            self._wait_s, self._again_s = _AGAIN_S, 0.0
            if not scope and not leftovers:  # another guard's worker was at one of them
                self._leftovers_s = now_s + _AGAIN_S
            level = "info" if result.get("files") else "debug"
            self._journal.emit(level, "ship.finished", to=self._to, scope=worker.start.reason, elapsed_s=elapsed_s,
                              **result)  # fmt: skip
        else:
            if not scope and not leftovers:
                self._leftovers_s = now_s
            self._failed(scope, result, elapsed_s)
        self.look(now_s, ())

    def _failed(self, scope: int, result: dict[str, Any], elapsed_s: float) -> None:
        """Told once a cause; tried again later and later, and by the next start."""
        self._wanted = max(self._wanted, scope)
        self._again_s = time.monotonic() + self._wait_s
        self._wait_s = min(2 * self._wait_s, _LONGEST_S)
        tried = f"copy to {self._to}" if self._target.kind == "directory" else f"PUT to {self._to}"
        if (tries := result.pop("tries", 0)) > 1:
            tried += f" ({tries} tries)"
        level = "warning" if self._journal.once(f"ship {result.get('reason')}") else "debug"
        self._journal.emit(level, "ship.failed", to=self._to, scope=SCOPES[scope] or "earlier runs",
                           tried=tried, elapsed_s=elapsed_s, **result)  # fmt: skip

    def _drop(self, worker: Worker) -> None:
        """Kill it: what it has sent is noted, and a call into a library can't be interrupted."""
        self._dropped = True
        worker.kill()

    def end(self) -> None:
        """The run is over: what is on its way goes once more with the last batch."""
        self._leaving = True
        worker = self._workers.of_kind(KIND)
        if worker is not None:
            self._drop(worker)

    def begin_last(self, now_s: float, most_s: float) -> None:
        """After the end record: send all there is, which may take so long."""
        if most_s > 0 and self._workers.of_kind(KIND) is None:
            self._begin(len(SCOPES) - 1, self._leftovers_s < float("inf"), now_s, max(0.1, most_s - _SPARE_S))

    @property
    def busy(self) -> bool:
        """Whether a batch is on its way."""
        return self._workers.of_kind(KIND) is not None

    def give_up(self, now_s: float, *, told: bool) -> None:
        """Kill it: what it has sent is noted. `told`: somebody told guard to end."""
        worker = self._workers.of_kind(KIND)
        if worker is not None:
            self._hurried |= told
            worker.timed_out = True
            worker.kill()
