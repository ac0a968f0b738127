"""What a run leaves in words: its record, the lines of its flight, its closing lines. Pure."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from supervisor import pid1, restart
from supervisor.analysis.text import visible
from supervisor.console import beside_mapping
from supervisor.model import STATES, Sample
from supervisor.quantities import human_bytes, human_duration, human_percent, iso, signal_name
from supervisor.thresholds import Level
from supervisor.triggers import Rules, Watched
from supervisor.version import VERSION

if TYPE_CHECKING:
    from supervisor.config import Config

SCHEMA_VERSION = 1
CRASHES_OF_A_LOOP = 3
_MOST_PROCESSES = 20
_TERMINATION_BYTES = 4096


def thresholds(levels: Iterable[Level]) -> dict[str, dict[str, Any]]:
    """The thresholds that hold and why."""
    return {level.name: {"bytes": level.size_bytes, "metric": level.metric, "source": level.source} for level in levels}


class Tally:
    """What a run's samples add up to. `oom_kills_at_start`: the cgroup's count before the target ran."""

    def __init__(self, oom_kills_at_start: int | None) -> None:
        self.samples = 0
        self.peak_bytes = 0
        self.peak_use_bytes = 0
        self.time_in_state_s = dict.fromkeys(STATES, 0.0)
        self.highest = 0
        self.oom_kills_at_start = oom_kills_at_start
        self.oom_kills: int | None = None
        self.oom_kills_of_others = 0
        self._last_s: float | None = None
        self._state = 0

    def add(self, sample: Sample, level: int) -> None:
        """Count a sample after which this state holds."""
        self.samples += 1
        self.peak_bytes = max(self.peak_bytes, sample.rss_bytes)
        self.peak_use_bytes = max(self.peak_use_bytes, sample.use_bytes)
        self.end(sample.at_s)
        self._state = level
        self.highest = max(self.highest, level)
        if self.oom_kills_at_start is None:
            self.oom_kills_at_start = sample.oom_kills
        if sample.oom_kills is not None:
            self.oom_kills = sample.oom_kills

    @property
    def new_oom_kills(self) -> int:
        """OOM kills that the cgroup counted since the run began."""
        return max(0, (self.oom_kills or 0) - (self.oom_kills_at_start or 0))

    def end(self, now_s: float) -> None:
        """Give the time since the last sample to the state that held."""
        if self._last_s is not None:
            self.time_in_state_s[STATES[self._state]] += max(0.0, now_s - self._last_s)
        self._last_s = now_s


def trigger_fields(watched: Watched, rules: Rules) -> dict[str, Any]:
    """What triggers beside memory saw last, for a line of flight.jsonl; empty where none is on."""
    fields: dict[str, Any] = {}
    share = watched.busy.share(rules.window_s, rules.cores) if rules.cpu is not None else None
    if share is not None:
        fields["cpu_share"] = round(share, 4)
    if watched.answers.outcome:
        fields["probe"] = watched.answers.outcome
        p95_s = watched.answers.p95_s
        if p95_s is not None and p95_s < math.inf:
            fields["response_p95_s"] = round(p95_s, 6)
    if watched.firing:
        fields["triggers"] = list(watched.firing)
    return fields


def flight_line(
    sample: Sample, state: str, slope: float, since_s: float, wall_s: float, more: Mapping[str, Any] | None = None
) -> bytes:
    """One line of flight.jsonl: the sample with its largest processes, and `more`."""
    largest = sorted(sample.processes, key=lambda process: -(process.rss_bytes or 0))[:_MOST_PROCESSES]
    line: dict[str, Any] = {
        "at": iso(wall_s),
        "elapsed_s": round(since_s, 3),
        "state": state,
        "rss_bytes": sample.rss_bytes,
        "use_bytes": sample.use_bytes,
        "limit_bytes": sample.limit_bytes,
        "slope_bytes_per_s": round(slope),
        "oom_kills": sample.oom_kills,
        "process_count": len(sample.processes),
        "processes": [
            {"pid": p.pid, "name": p.name, "rss_bytes": p.rss_bytes, "cpu_ticks": p.cpu_ticks} for p in largest
        ],
    }
    if sample.pressure_percent is not None:
        line["pressure_percent"] = sample.pressure_percent
    if sample.high is not None:
        line |= {"high_bytes": sample.high.high_bytes, "high_events": sample.high.events}
    line |= more or {}
    if sample.dear:
        line |= {f"{name}_bytes": size for name, size in sample.dear.items()}
    if sample.missing:
        line["missing"] = dict(list(sample.missing.items())[:10])
    return json.dumps(line, separators=(",", ":")).encode("utf-8", "backslashreplace") + b"\n"


class Subject:
    """What a run's record is of: a command and the pid that stands for it, or None; `more` fields of its record.

    `crash_loops`: runs before it in the same place count, those of the same command as its crashes.
    """

    __slots__ = ("command", "crash_loops", "more", "pid")

    def __init__(
        self, command: list[str], pid: int | None, more: Mapping[str, Any] | None = None, *, crash_loops: bool = True
    ) -> None:
        self.command = command
        self.pid = pid
        self.more = more or {}
        self.crash_loops = crash_loops


def start_record(
    subject: Subject,
    config: Config,
    *,
    run: str,
    guard_pid: int,
    started_at: float,
    ctl: str | None,
    life: int,
    previous_life: str | None,
    crash_loop: Mapping[str, Any],
    boot_id: str,
    host: str,
) -> dict[str, Any]:
    """A run's record as it begins. `ctl`: where `guard ctl` comes to; `crash_loop` as the function of that name."""
    facts = config.facts
    return {
        "schema_version": SCHEMA_VERSION,
        "run": run,
        "version": VERSION,
        "command": subject.command,
        "pid": subject.pid,
        "guard_pid": guard_pid,
        "started": iso(started_at),
        "environment": config.detected.name,
        "limit_bytes": facts.limit_bytes,
        "limit_source": facts.limit_source,
        "cgroup": facts.place.memory[0] if facts.place.memory else None,
        "thresholds": thresholds(config.levels),
        "oom_kills_at_start": facts.oom_kills,
        "ctl": ctl,
        "life": life,
        "previous_life": previous_life,
        **crash_loop,
        "boot_id": boot_id,
        "host": host,
        "outcome": None,
        **subject.more,
    }


def end_record(
    start: Mapping[str, Any],
    tally: Tally,
    *,
    outcome: str,
    status: int | None,
    code: int,
    ended_at: float,
    elapsed_s: float,
    largest_bytes: int,
    suspect: Mapping[str, Any] | None,
    evidence: list[str],
    log_lines_dropped: int,
    guard_rss_bytes: int | None,
    guard_rss_peak_bytes: int | None,
) -> dict[str, Any]:
    """A run's record when it has ended: `start`, and what it came to.

    `code`: what guard exits with, `status`: the target's wait status; `largest_bytes`: the largest of those reaped.
    """
    return {
        **start,
        "outcome": outcome,
        **ending(status),
        "code": code,
        "ended": iso(ended_at),
        "elapsed_s": round(elapsed_s, 3),
        "peak_bytes": max(tally.peak_bytes, largest_bytes),
        "peak_use_bytes": tally.peak_use_bytes,
        "samples": tally.samples,
        "highest_state": STATES[tally.highest],
        "time_in_state_s": {name: round(value, 3) for name, value in tally.time_in_state_s.items()},
        "oom_kills": tally.new_oom_kills,
        "suspect": suspect,
        "evidence": evidence,
        "log_lines_dropped": log_lines_dropped,
        "guard_rss_bytes": guard_rss_bytes,
        "guard_rss_peak_bytes": guard_rss_peak_bytes,
    }


def outcome(status: int, *, stopped: bool, oom_kills: int) -> str:
    """How the run ended, from the target's wait status and what else is known."""
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == 9 and oom_kills > 0:
        return "oom-killed"
    if stopped:
        return "stopped"
    return "signalled" if os.WIFSIGNALED(status) else "exited"


def end_unseen(
    before: Mapping[str, Any], last: Mapping[str, Any], same_boot: bool, oom_kills: int | None
) -> tuple[str, dict[str, Any]]:
    """Why a run that has no end record ended, and what was known last.

    `before` is its start record, `last` the last line of its flight. `oom_kills` is what the cgroup counts now, None
    when it is no longer the same group: with memory.oom.group=1 the kernel kills guard along with its target.
    """
    names = ("at", "state", "rss_bytes", "use_bytes", "limit_bytes")
    known = {f"last_{name}": last[name] for name in names if name in last}
    if not same_boot:
        return "guard was killed or the machine went down", known
    counted = last.get("oom_kills", before.get("oom_kills_at_start"))
    if isinstance(oom_kills, int) and isinstance(counted, int) and oom_kills > counted:
        kills = oom_kills - counted
        times = "once" if kills == 1 else f"{kills} times"
        return f"guard was killed; the kernel's OOM killer struck {times} in its cgroup after its last sample", {
            **known,
            "oom_kills": kills,
        }
    use, limit = last.get("use_bytes"), last.get("limit_bytes")
    if isinstance(use, int) and isinstance(limit, int) and limit - use < limit // 10:
        shown = f"{human_bytes(use)} of {human_bytes(limit)}"
        return (
            f"guard was killed, likely with its whole cgroup for memory: {shown} were in use at its last sample",
            known,
        )
    return "guard was killed", known


def crash_loop(before: Mapping[str, Any], command: list[str]) -> dict[str, Any]:
    """What a run's record says of the crashes before it; empty when the run before it was no crash of this command.

    `crashes_before` runs ended badly within `restart.GOOD_UP_S`, one after the other, since `crashing_since`;
    `dropped_runs` of them left nothing but that and are gone.
    """
    bad = before.get("outcome") in ("signalled", "oom-killed") or (before.get("outcome") == "exited" and before["code"])
    elapsed_s = before.get("elapsed_s")
    soon = isinstance(elapsed_s, int | float) and elapsed_s < restart.GOOD_UP_S
    if not bad or not soon or before.get("command") != command:
        return {}
    return {
        "crashes_before": int(before.get("crashes_before", 0)) + 1,
        "crashing_since": before.get("crashing_since") or before.get("started"),
        "dropped_runs": int(before.get("dropped_runs", 0)),
    }


def fault(error: Exception) -> dict[str, Any]:
    """The fields of a fault of guard's own, `goes_on` besides."""
    import traceback

    trace = "".join(traceback.format_exception(error)[-6:])
    return {"reason": f"{type(error).__name__}: {error}", "traceback": trace, "hint": "report it with these lines"}


def ending(status: int | None) -> dict[str, Any]:
    """Code and signal of a wait status."""
    if status is None:
        return {"code": 0, "signal": None}
    by = signal_name(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else None
    return {"code": pid1.exit_code(status), "signal": by}


def suspect_words(suspect: Mapping[str, Any] | None) -> str:
    """The suspect for people: process, function, share of the growth."""
    if not suspect:
        return "no suspect: memory never grew past a threshold, or nothing could be attributed"
    where = f"process {suspect['pid']} ({visible(str(suspect.get('name', '?')))})"
    if suspect.get("enough") is False:
        where = f"on little evidence {where}"
    if suspect.get("mapping") and not suspect.get("function"):
        amount = human_bytes(suspect["bytes"])
        share = human_percent(suspect["share"])
        did = "held" if suspect.get("share_of") == "held" else "took"
        lies = f"{share} of what it {did} is in {visible(str(suspect['mapping']))} ({amount})"
        return f"{where}: {lies}{beside_mapping(suspect)}{_and_grown(suspect)}"
    if not suspect.get("function"):
        if grew := suspect.get("grew"):
            return f"{where}: {_grown(grew)}"
        return f"{where} held the memory; its functions could not be told apart"
    place = f" ({suspect['file']}:{suspect['line']})" if suspect.get("line") else ""
    amount = human_bytes(suspect["bytes"])
    return (
        f"{where}, function {visible(str(suspect['function']))}{visible(place)}: "
        f"{human_percent(suspect['share'])} of its growth ({amount}){_and_grown(suspect)}"
    )


def _and_grown(suspect: Mapping[str, Any]) -> str:
    return f"; {_grown(suspect['grew'])}" if suspect.get("grew") else ""


def _grown(grew: Mapping[str, Any]) -> str:
    held = f", held by {visible(str(grew['holder']))}" if grew.get("holder") else ""
    return f"{visible(str(grew['type']))} grew by {human_bytes(grew['bytes'])}{held}"


def closing_lines(record: Mapping[str, Any], run_path: str | None) -> list[str]:
    """Three lines for people: outcome and peak, the suspect, the next command."""
    how = record["outcome"]
    if record.get("signal"):
        how += f" by {record['signal']}"
    reached = record["highest_state"]
    peak = human_bytes(record["peak_bytes"]) if record["peak_bytes"] else "not seen"
    first = (
        f"guard: {how}, code {record['code']}, after {human_duration(record['elapsed_s'])}; "
        f"peak {peak} of {human_bytes(record['limit_bytes'])}, highest state {reached}"
    )
    evidence = [path for path in record["evidence"] if path.endswith(".md")]
    growth = [path for path in evidence if "growth" in path] or evidence
    following = growth[-1] if growth else (f"{run_path}/events.jsonl" if run_path else None)
    last = f"guard: next: less {following}" if following else "guard: next: guard doctor"
    return [first, f"guard: {suspect_words(record.get('suspect'))}", last]


def termination_text(record: Mapping[str, Any], run_path: str | None) -> bytes:
    """At most 4 KB for /dev/termination-log."""
    text = "\n".join(closing_lines(record, run_path)) + "\n"
    return text.encode("utf-8", "backslashreplace")[:_TERMINATION_BYTES]
