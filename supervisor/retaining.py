"""Retention on the watcher's side: once a run, when it is time for it, old runs make room.

A worker (`actions/retention`) removes them. A run that ends before its time does it as one of its last deeds.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from supervisor.config import Config
from supervisor.model import Start
from supervisor.workers import Worker, Workers

if TYPE_CHECKING:
    from supervisor.journal import Journal

KIND = "retention"
_AFTER_S = 5.0


def start(
    workers: Workers, config: Config, now_s: float, run: str, directory: str, root: str, root_id: list[int]
) -> None:
    """Start the worker; `run`, whose folder `directory` is, stays in any case. Raises OSError (EAGAIN, ENOMEM, ...)."""
    why = Start(KIND, "ok", 0, "once a run")
    spec = {
        "action": KIND, "state": why.state, "pid": 0, "name": "", "run": run, "directory": directory,
        "root": root, "root_id": root_id, "keep_runs": config.keep_runs, "keep_age_s": config.keep_age,
        "keep_bytes": config.keep_bytes,
    }  # fmt: skip
    workers.begin(why, spec, now_s, 0.0)


class Retaining:
    """The retention of one run, a part of its watching or one of its last deeds."""

    def __init__(self, config: Config, journal: Journal, workers: Workers) -> None:
        self._config = config
        self._journal = journal
        self._workers = workers
        self._leaving = False
        self._due_s: float | None = journal.started_s + _AFTER_S
        if self._too_many():
            self._due_s = journal.started_s

    def _too_many(self) -> bool:
        store = self._journal.store
        return store is not None and store.runs_on_disk() > self._config.keep_runs

    def look(self, now_s: float, ready: Collection[int]) -> float:
        """Begin when it is time; seconds until then."""
        if self._due_s is None or self._leaving:
            return float("inf")
        if now_s < self._due_s:
            return self._due_s - now_s
        self._begin(now_s)
        return float("inf")

    def end(self) -> None:
        """The run is over: it begins as one of the last deeds, or not at all."""
        self._leaving = True

    def begin_last(self, now_s: float, most_s: float) -> None:
        """Begin where the run ended before its time for it, and left something that others may have to go for."""
        store = self._journal.store
        if store is not None and self._due_s is not None and (store.evidence or self._too_many()):
            self._begin(now_s)

    def _begin(self, now_s: float) -> None:
        self._due_s = None
        store = self._journal.store
        if store is None or store.runs_on_disk() < 2:
            return
        try:
            start(self._workers, self._config, now_s, store.run, store.run_path, store.root, store.root_id)
        except OSError as error:
            self._journal.trouble(KIND, error, store.root)

    @property
    def busy(self) -> bool:
        """Whether old runs are being removed."""
        return self._workers.of_kind(KIND) is not None

    def give_up(self, now_s: float, *, told: bool) -> None:
        """Kill it: the next run goes on with it."""
        worker = self._workers.of_kind(KIND)
        if worker is not None:
            worker.kill()

    def ended(self, worker: Worker, result: dict[str, Any]) -> None:
        """Tell what it removed."""
        elapsed_s = round(time.monotonic() - worker.started_s, 3)
        result.pop("paths", None)
        level = "warning" if result.pop("outcome", "failed") != "ok" else "info" if result.get("removed") else "debug"
        self._journal.emit(level, "retention.applied", elapsed_s=elapsed_s, **result)
