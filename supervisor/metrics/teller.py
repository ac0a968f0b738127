"""The watcher's side: what a run's figures are, told as a line a sample to the process that shows them (`exporter`).

It lasts from the target's first life to its last, so that counters only rise.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from supervisor import sample
from supervisor.config import Config
from supervisor.helper import Helper
from supervisor.journal import Journal
from supervisor.model import Process, Sample
from supervisor.pid1 import Init
from supervisor.policy import Level, State
from supervisor.record import Tally
from supervisor.store import command_name
from supervisor.version import VERSION

KINDS = ("snapshot", "stacks", "growth", "cpu-profile")
_TICKS = os.sysconf("SC_CLK_TCK")
_MOST_NAMES = 20
LAST_PUSH_S = 2.0
_SUMS = ("oom_kills", "samples", "dropped")


class Teller:
    """What was counted over all lives, and the helper process that shows it. `emit` logs: (level, name, **fields)."""

    def __init__(self, config: Config, init: Init, emit: Callable[..., None]) -> None:
        self._config = config
        self._emit = emit
        self._helper = Helper("metrics.exporter", init.poller, init.helpers, fed=True)
        self._before: dict[str, float] = dict.fromkeys(_SUMS, 0)  # by lives that have ended
        self._seconds: dict[str, float] = {}
        self._actions = {(kind, "finished"): 0 for kind in KINDS}
        self._fired: dict[str, int] = {}
        self._ticks: dict[tuple[int, int], int] = {}
        self._cpu_ticks = 0
        self._lost = 0
        self._last: dict[str, Any] = {}
        self._journal: Journal | None = None
        self._begun_at = round(time.time(), 3)
        self._start()

    def _start(self) -> None:
        config = self._config
        self._helper.begin({"address": config.metrics_address, "port": config.metrics_port,
                            "socket": config.metrics_socket, "file": config.metrics_file, "otlp": config.otlp,
                            "last_push_s": LAST_PUSH_S})  # fmt: skip
        if self._last:
            self._send()

    def begin(self, journal: Journal, life: int) -> None:
        """A life begins: its figures are this journal's."""
        self._journal = journal
        self._last = {
            "run": journal.run, "command_name": command_name(journal.command), "version": VERSION,
            "environment": self._config.detected.name, "started_at": round(journal.started_at, 3),
            "begun_at": self._begun_at,
            "restarts": life - 1, "limit": self._config.facts.limit_bytes, "own_rss": None,
        }  # fmt: skip
        journal.listen(self._heard)

    def _heard(self, level: str, name: str, fields: Mapping[str, Any]) -> None:
        kind, _, outcome = name.partition(".")
        if kind == "action" and outcome in ("finished", "failed", "skipped"):
            key = str(fields.get("action")), outcome
            self._actions[key] = self._actions.get(key, 0) + 1
        elif name == "trigger.fired":
            trigger = str(fields.get("trigger"))
            self._fired[trigger] = self._fired.get(trigger, 0) + 1

    def look(self, now_s: float, ready: Collection[int]) -> float:
        """Log what the helper told; begin it again where it ended, seconds until then."""
        helper = self._helper
        if helper.due(now_s):
            self._start()
        for told in helper.take():
            if "serving" in told:
                helper.well()
                self._emit("info", "metrics.serving", what=told["serving"], place=told.get("place"))
            elif "failed" in told:
                self._emit("warning", "metrics.failed", what=told["failed"], reason=told.get("reason"),
                           hint=told.get("hint"))  # fmt: skip
        if helper.failed:
            self._emit("warning", "metrics.failed", what="helper", reason=helper.failed, again_s=helper.again_s,
                       hint="guard doctor")  # fmt: skip
            helper.failed = ""
        return helper.left_s

    def tell(self, reading: Sample, state: State, levels: Iterable[Level]) -> None:
        """A sample, the state after it, the thresholds that hold."""
        assert self._journal is not None
        tally, own, high = self._journal.tally, sample.read_process(os.getpid()), reading.high
        self._count_ticks(reading.processes)
        self._last |= {
            "at": round(self._journal.started_at + reading.at_s - self._journal.started_s, 3),
            "within_s": round(state.wait_s, 3),
            "up": 1,
            "state": state.name,
            "rss": reading.rss_bytes,
            "use": reading.use_bytes,
            "limit": reading.limit_bytes,
            "headroom": reading.headroom_bytes,
            "high": high.high_bytes if high is not None else None,
            "pressure": None if reading.pressure_percent is None else round(reading.pressure_percent / 100, 6),
            "slope": round(state.slope),
            "peak": tally.peak_bytes,
            "processes": len(reading.processes),
            "threads": sum(process.threads for process in reading.processes),
            "names": _by_name(reading.processes),
            "cpu_s": round(self._cpu_ticks / _TICKS, 2),
            "own_rss": own.rss_bytes if own is not None else None,
            "own_cpu_s": round(sum(os.times()[:2]), 2),
            "thresholds": {level.name: level.threshold(reading.limit_bytes) for level in levels},
            "triggers": {name: int(record.fired_s is not None) for name, record in state.watched.records.items()},
            "p95": None if (p95_s := state.watched.answers.p95_s) == float("inf") else p95_s,
            **reading.dear,
        }
        self._send()

    def life_ended(self, *, again: bool) -> None:
        """The target has ended; what its life counted stays."""
        assert self._journal is not None
        zero = {"rss": 0, "processes": 0, "threads": 0, "names": {}, "slope": 0}
        self._last |= {"up": 0, "within_s": None, **zero}
        self._send()
        if again:
            counted = self._counted(self._journal.tally)
            self._before = {name: counted[name] for name in _SUMS}
            self._seconds = counted["seconds"]
            self._ticks.clear()
            self._journal = None

    def end(self) -> None:
        """guard ends. The helper has its last word and ends by itself; until then this is `busy`."""
        self._helper.end()

    def begin_last(self, now_s: float, most_s: float) -> None:
        """As one of guard's last deeds: its end."""
        self.end()

    @property
    def busy(self) -> bool:
        """Whether the helper is still there."""
        return self._helper.lives

    def give_up(self, now_s: float, *, told: bool) -> None:
        """It is waited for no longer: it ends a moment after guard, at the latest."""

    def _count_ticks(self, processes: tuple[Process, ...]) -> None:
        before, self._ticks = self._ticks, {process.identity: process.cpu_ticks for process in processes}
        self._cpu_ticks += sum(max(0, ticks - before.get(who, 0)) for who, ticks in self._ticks.items())

    def _counted(self, tally: Tally) -> dict[str, Any]:
        assert self._journal is not None
        now = {"oom_kills": tally.new_oom_kills, "samples": tally.samples, "dropped": self._journal.stream.dropped}
        seconds = {
            name: round(self._seconds.get(name, 0.0) + value, 3) for name, value in tally.time_in_state_s.items()
        }
        return {name: self._before[name] + now[name] for name in _SUMS} | {"seconds": seconds}

    def _send(self) -> None:
        if self._journal is not None:
            self._last |= self._counted(self._journal.tally)
        self._last["actions"] = [[kind, outcome, count] for (kind, outcome), count in self._actions.items()]
        self._last["fired"] = self._fired
        self._last["lost"] = self._lost
        line = _line(self._last)
        if len(line) > select.PIPE_BUF:
            line = _line(self._last | {"names": {}})
        if not self._helper.send(line, time.monotonic()):
            self._lost += 1


def _line(figures: Mapping[str, Any]) -> bytes:
    return json.dumps(figures, separators=(",", ":")).encode() + b"\n"


def _by_name(processes: tuple[Process, ...]) -> dict[str, int]:
    """RSS added up by name; of the largest names, the rest is `other`."""
    sizes: dict[str, int] = {}
    for process in processes:
        sizes[process.name] = sizes.get(process.name, 0) + (process.rss_bytes or 0)
    if len(sizes) <= _MOST_NAMES:
        return sizes
    ordered = sorted(sizes.items(), key=lambda item: -item[1])
    kept = dict(ordered[: _MOST_NAMES - 1])
    kept["other"] = kept.get("other", 0) + sum(size for _, size in ordered[_MOST_NAMES - 1 :])
    return kept
