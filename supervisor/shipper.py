"""`--ship` on the watcher's side: when a batch goes, one at a time, and what is told of it.

A worker (`actions/ship`) sends. Whatever asks while one runs is one more batch after it. What an earlier run left waits
until nothing of this one does, and steps aside for it.
"""

from __future__ import annotations

import time
from typing import Any

from supervisor.config import Config
from supervisor.journal import Journal
from supervisor.model import Sample, Start
from supervisor.quantities import masked_url
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
# `docker stop` kills after 10 s, of which the target has had its part.
_STOPPED_S = 3.0


class Shipper:
    """The shipping of one run."""

    def __init__(self, config: Config, journal: Journal, workers: Workers) -> None:
        assert config.ship is not None
        self.hurried = False  # a signal came while guard stayed for the last batch
        self.most_s = float("inf")  # before another life: its wait
        self.stopped = False  # somebody asked for the end, and will not wait for long
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
        self._deadline_s = float("inf")

    def want(self, scope: str, now_s: float, last: Sample | None) -> None:
        """Ship this much as soon as may be: `evidence`, or `all` there is."""
        self._wanted = max(self._wanted, SCOPES.index(scope))
        self._again_s = 0.0
        self.look(now_s, last)

    def look(self, now_s: float, last: Sample | None) -> float:
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
        if last is not None and last.headroom_bytes < COST_BYTES[self._target.kind]:
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

    def ended(self, worker: Worker, result: dict[str, Any], last: Sample | None) -> None:
        """Tell what came of a batch, and begin the next."""
        now_s = time.monotonic()
        scope, leftovers = self._asked, result.pop("leftovers", False)
        outcome = result.pop("outcome", "failed")
        result.pop("paths", None)
        elapsed_s = round(now_s - worker.started_s, 3)
        self._asked = 0
        if self.hurried and outcome != "ok":
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
        self.look(now_s, last)

    def _failed(self, scope: int, result: dict[str, Any], elapsed_s: float) -> None:
        """Told once a cause; tried again later and later, and by the next start."""
        self._wanted = max(self._wanted, scope)
        self._again_s = time.monotonic() + self._wait_s
        self._wait_s = min(2 * self._wait_s, _LONGEST_S)
        tries = result.pop("tries", 0)
        level = "warning" if self._journal.once(f"ship {result.get('reason')}") else "debug"
        self._journal.emit(level, "ship.failed", to=self._to, scope=SCOPES[scope] or "earlier runs",
                           tried=f"PUT to {self._to} ({tries} tries)", elapsed_s=elapsed_s, **result)  # fmt: skip

    def _drop(self, worker: Worker) -> None:
        """Kill it: what it has sent is noted, and a call into a library can't be interrupted."""
        self._dropped = True
        worker.kill()

    def leave(self) -> None:
        """The run is over: what is on its way goes once more with the last batch."""
        self._leaving = True
        worker = self._workers.of_kind(KIND)
        if worker is not None:
            self._drop(worker)

    def last(self, now_s: float) -> float | None:
        """After the end record: seconds guard still stays for the last batch; None when there is none to stay for."""
        patience_s = min(self._config.ship_timeout, self.most_s)
        if self.stopped and not self._config.values["ship-timeout"].explicit:
            patience_s = min(patience_s, _STOPPED_S)
        if self._deadline_s == float("inf"):
            self._deadline_s = now_s + patience_s
            if patience_s > 0 and self._workers.of_kind(KIND) is None:
                self._begin(len(SCOPES) - 1, self._leftovers_s < float("inf"), now_s, max(0.1, patience_s - _SPARE_S))
        worker = self._workers.of_kind(KIND)
        if worker is None or now_s >= self._deadline_s + _SPARE_S:  # one that KILL doesn't end waits for a disk
            return None
        if self.hurried:
            self._deadline_s = min(self._deadline_s, now_s)
        if now_s >= self._deadline_s:
            worker.timed_out = True
            worker.kill()
        return max(_SPARE_S, self._deadline_s - now_s)
