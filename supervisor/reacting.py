"""Reactions become deeds: hooks and messages by workers, one of a kind at a time, and signals to the target."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import deque
from collections.abc import Collection, Mapping
from typing import Any

from supervisor import pid1, reactions, sample
from supervisor.addresses import masked_url
from supervisor.config import Config
from supervisor.dispositions import at_default
from supervisor.journal import Journal
from supervisor.model import Start
from supervisor.quantities import signal_name
from supervisor.reactions import Reaction
from supervisor.store import command_name
from supervisor.workers import REACTIONS, Worker, Workers

SPOOL = "spool"
_MOST_WAITING = 16
_LATE = {
    "hook": "guard was told to end",
    "notify": "it wasn't delivered in time, and waits for the next start",
    "pyroscope": "it wasn't pushed in time",
}
# Signals whose meaning is to end a process; others would only end one that isn't prepared for them.
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL, signal.SIGABRT)


class Reacting:
    """The reactions of one run, a part. `roots`: processes that were there before guard, which get its signals."""

    def __init__(
        self, init: pid1.Init, config: Config, journal: Journal, workers: Workers, roots: tuple[int, ...] | None
    ) -> None:
        self._init = init
        self._config = config
        self._journal = journal
        self._workers = workers
        # Who is meant: a pid alone may be another's by the time that a signal is due.
        self._roots = {pid: process.start_ticks for pid in roots or () if (process := sample.read_process(pid))}
        self._waiting: deque[tuple[Reaction, dict[str, Any]]] = deque()
        self._known: dict[str, Any] = {}  # the last figures of the run
        self._pushed: str | None = None  # the profile that is being pushed
        self._what: dict[str, dict[str, str]] = {}  # by kind: the program or the masked URL of the last one
        if config.notify is not None and journal.life == 1 and self._spooled():
            self._waiting.append((Reaction("notify", "ok", "messages that an earlier run left"), {}))

    @property
    def _spool(self) -> str:
        store = self._journal.store
        return os.path.join(store.root, SPOOL) if store is not None else ""

    def _spooled(self) -> bool:
        store = self._journal.store
        try:
            return store is not None and bool(store.disk.run(os.listdir, self._spool))
        except OSError:
            return False

    def look(self, now_s: float, ready: Collection[int]) -> float:
        """Do what events since the last call ask for, as far as it can begin now."""
        heard = self._journal.heard
        while heard:
            name, fields = heard.popleft()
            self._known |= fields
            told = self._told(name, fields)
            for reaction in reactions.to_event(name, fields, self._config):
                if reaction.kind == "signal":
                    self._signal(reaction)
                elif len(self._waiting) < _MOST_WAITING:
                    self._waiting.append((reaction, told | {"state": reaction.state, "reason": reaction.reason}))
                else:
                    self._tell("warning", "skipped", reaction, reason=f"{_MOST_WAITING} wait already")
        for kind in REACTIONS:
            if self._waiting and self._workers.of_kind(kind) is None:
                found = next((entry for entry in self._waiting if entry[0].kind == kind), None)
                if found is not None:
                    self._waiting.remove(found)
                    self._begin(*found)
        return float("inf")

    def _told(self, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        journal, target = self._journal, self._init.target
        known: dict[str, Any] = {key: self._known[key] for key in ("rss_bytes", "limit_bytes") if key in self._known}
        return {
            **known, **fields, "event": name, "run": journal.run, "host": os.uname().nodename,
            "name": command_name(journal.command), "pid": target.pid if target is not None else None,
            "evidence": journal.path, "suspect": journal.suspect or fields.get("suspect"),
        }  # fmt: skip

    def _begin(self, reaction: Reaction, told: dict[str, Any]) -> None:
        config, journal = self._config, self._journal
        start = Start(reaction.kind, reaction.state, 0, reaction.reason)
        spec: dict[str, Any] = {
            "action": start.kind, "state": start.state, "pid": 0, "name": "", "run": journal.run, "directory": "",
        }  # fmt: skip
        extra_s = 0.0
        if reaction.kind == "hook":
            spec |= {"cwd": config.directory, "timeout_s": config.hook_timeout}
            secret = json.dumps({"command": reaction.command, "variables": reactions.variables(told)}, default=str)
            extra_s = config.hook_timeout
            what = {"program": reaction.command[0]}
        elif reaction.kind == "pyroscope":
            assert config.pyroscope is not None
            secret = config.pyroscope
            self._pushed = reaction.path
            spec |= {"profile": reaction.path, "kind": told["action"], "service": command_name(journal.command),
                     "environment": config.detected.name, "trigger": told.get("trigger")}  # fmt: skip
            what = {"url": masked_url(secret)}
        else:
            assert config.notify is not None
            spec |= {"told": told, "spool": self._spool, "mode": config.evidence_mode}
            secret = config.notify
            what = {"url": masked_url(secret)}
        try:
            self._workers.begin(start, spec, time.monotonic(), extra_s, secret=secret)
        except OSError as error:
            why = error.strerror or str(error)
            self._tell("warning", "failed", reaction, reason=why, said=why, tried="start of a worker", **what,
                       hint="ulimit -n -u")  # fmt: skip
            return
        self._what[start.kind] = what
        self._tell("info", "started", reaction, reason=reaction.reason, **what)

    def _tell(self, level: str, how: str, reaction: Reaction, **fields: Any) -> None:
        self._journal.emit(level, f"action.{how}", action=reaction.kind, state=reaction.state, pid=None,
                           path=reaction.path, **fields)  # fmt: skip

    def ended(self, worker: Worker, result: dict[str, Any]) -> None:
        """Log what came of one, and begin the next."""
        start, outcome = worker.start, result.pop("outcome", "failed")
        elapsed_s = round(time.monotonic() - worker.started_s, 3)
        pushed = self._pushed if start.kind == "pyroscope" else None
        reaction = Reaction(start.kind, start.state, start.reason, path=pushed)
        result.pop("paths", None)
        result = {**self._what.get(start.kind, {}), **result}
        if outcome == "ok":
            self._tell("info", "finished", reaction, elapsed_s=elapsed_s, **result)
        elif result.get("reason") == "interrupted":
            self._tell("warning", "skipped", reaction, reason=_LATE[start.kind], elapsed_s=elapsed_s,
                       **self._what.get(start.kind, {}))  # fmt: skip
        else:
            self._tell("warning", "failed", reaction, tried=f"{start.kind} for {elapsed_s} s", elapsed_s=elapsed_s,
                       **result)  # fmt: skip
        self.look(time.monotonic(), ())

    def _signal(self, reaction: Reaction) -> None:
        """Send the target its signal; one that would end a process which doesn't wait for it is left out."""
        name = signal_name(reaction.number)
        pids = list(self._roots) if self._init.target is None else [self._init.target.pid]
        for pid in pids if self._init.status is None else ():
            if pid in self._roots and not self._is_meant(pid):
                continue  # it has ended, which the samples tell
            fields = {"action": "signal", "state": reaction.state, "pid": pid, "signal": name}
            if reaction.number not in _ENDING and at_default(pid, reaction.number):
                self._journal.emit("warning", "action.skipped", **fields, path=None,
                                   reason=f"process {pid} doesn't handle {name}, which would end it",
                                   hint=f"install a handler for {name} in the program")  # fmt: skip
                continue
            try:
                os.kill(pid, reaction.number)
            except OSError as error:
                why = error.strerror or str(error)
                self._journal.emit("warning", "action.failed", **fields, path=None, tried=f"kill -{name[3:]} {pid}",
                                   reason=why, said=why, hint=f"ls /proc/{pid}")  # fmt: skip
            else:
                self._journal.emit("info", "action.finished", **fields, path=None, elapsed_s=0.0)

    def _is_meant(self, pid: int) -> bool:
        process = sample.read_process(pid)
        return process is not None and process.start_ticks == self._roots[pid]

    def end(self) -> None:
        """Begin nothing any more."""
        self._waiting.clear()
        self._journal.heard = None

    def last(self, kinds: tuple[str, ...]) -> LastReactions:
        """Those of these kinds as one of the last deeds."""
        return LastReactions(self, kinds)

    def left(self, kinds: tuple[str, ...]) -> int:
        """How many of these kinds run or wait."""
        waiting = sum(reaction.kind in kinds for reaction, _ in self._waiting)
        return waiting + sum(worker.start.kind in kinds for worker in self._workers.running.values())

    def drop(self, kinds: tuple[str, ...], now_s: float) -> None:
        """Begin no more of these kinds, and ask those that run to end."""
        self._waiting = deque(entry for entry in self._waiting if entry[0].kind not in kinds)
        for worker in self._workers.running.values():
            if worker.start.kind in kinds:
                worker.ask_to_end(now_s)


class LastReactions:
    """Reactions that the end of a run waits for."""

    def __init__(self, reacting: Reacting, kinds: tuple[str, ...]) -> None:
        self._reacting = reacting
        self._kinds = kinds

    def begin_last(self, now_s: float, most_s: float) -> None:
        """Nothing to begin: they begin when their turn comes."""

    @property
    def busy(self) -> bool:
        """Whether one runs or waits."""
        return self._reacting.left(self._kinds) > 0

    def give_up(self, now_s: float, *, told: bool) -> None:
        """Ask them to end: a message that isn't away goes to the disk."""
        self._reacting.drop(self._kinds, now_s)
