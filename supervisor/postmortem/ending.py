"""What ended a run, and how sure that is. Pure: evidence and the kernel's facts in, a verdict with its reasons out."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from supervisor.evidence import Event, FlightSample, Run
from supervisor.evidence.climb import living
from supervisor.evidence.fields import text, whole
from supervisor.postmortem.kernel import Facts, OomKill
from supervisor.quantities import human_bytes, human_duration, human_percent, signal_name

Certainty = Literal["certain", "likely", "unknown"]
_NEAR_SHARE = 0.9
_CLOCK_SLACK_S = 2.0
_AFTER_S = 30.0
_BESIDE_S = 5.0
_TOGETHER_S = 1.0
_SHORT_ID = 12
_NAME_LENGTH = 15  # the kernel cuts a process's name to this


@dataclass(frozen=True, slots=True)
class Verdict:
    """`cause`: exit, signal, oom-kill, stopped, restart, guard-killed, machine-gone, running or unknown.

    `words` is a sentence for people; `why` are the facts it rests on; `group` the cgroup whose limit an OOM kill
    was for (`machine`: the whole machine's memory); `victim` the process it hit.
    """

    cause: str
    certainty: Certainty
    words: str
    why: tuple[str, ...]
    group: str | None = None
    victim: int | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """All that a verdict may rest on."""

    run: Run
    samples: Sequence[FlightSample]
    events: Sequence[Event]
    facts: Facts
    told: Event | None = None  # what the next guard in this place said of it when it started: previous_run.found

    @property
    def last(self) -> FlightSample | None:
        """The last sample that saw the tree alive."""
        series = living(self.samples[-20:])
        return series[-1] if series else None

    @property
    def last_word_s(self) -> float | None:
        """When the run was last heard of."""
        moments = [sample.at_s for sample in self.samples[-1:]]
        moments += [event.at_s for event in self.events[-1:] if event.at_s is not None]
        return self.run.record.ended_s or max(moments, default=self.run.record.started_s)

    def last_event(self, *names: str) -> Event | None:
        """The last event of one of these names."""
        return next((event for event in reversed(self.events) if event.name in names), None)


def judge(known: Known) -> Verdict:
    """What ended the run."""
    record = known.run.record
    if known.run.lives:
        return Verdict("running", "certain", "it runs: a guard watches it now", ("a guard holds the run's lock",))
    if record.outcome is None or record.outcome == "guard-killed":
        return _without_end(known)
    return _with_end(known, record.outcome, record.code, record.signal, record.oom_kills or 0, "guard's end record")


def _with_end(known: Known, outcome: str, code: int | None, by: str | None, oom_kills: int, source: str) -> Verdict:
    killer = text(known.run.record.raw.get("killer"))
    if killer is not None:
        return _by_killer(known, killer, outcome, source)
    if outcome == "oom-killed":
        return _oom_killed(known, oom_kills, source)
    if outcome == "signalled":
        return _signalled(known, by or "a signal", source)
    if outcome == "exited":
        return _exited(known, code, oom_kills, source)
    if outcome == "stopped":
        order = known.last_event("signal.forwarded", "signal.kept")
        name = text(order.fields.get("signal")) if order is not None else None
        told = f"guard was told to by {name}" if name else "guard was told to"
        how = f" by {by}" if by else f" with code {code}" if code is not None else ""
        return Verdict("stopped", "certain", f"stopped: {told}, and the target ended{how}", (f"{source}: stopped",))
    if outcome == "replaced":
        event = known.last_event("restart.scheduled", "reload.triggered")
        reason = text(event.fields.get("reason")) if event is not None else None
        words = f"guard ended it to begin a new one{f': {reason}' if reason else ''}"
        return Verdict("restart", "certain", words, (f"{source}: replaced",))
    return Verdict("unknown", "unknown", f"its record says {outcome!r}, which this guard doesn't know", (source,))


def _by_killer(known: Known, killer: str, outcome: str, source: str) -> Verdict:
    """Somebody said before that it would kill (`guard oomd-hook`)."""
    unit = text(known.run.record.raw.get("unit")) or "its group"
    why = [f"{killer} told guard that it was about to kill {unit}"]
    if outcome == "oom-killed":
        why.append(f"{source}: its largest process was gone right after")
        words = f"killed by {killer}, which frees memory before the kernel has to"
        return Verdict("oom-kill", "certain", words, tuple(why), unit, known.run.record.pid)
    return Verdict(
        "stopped", "likely", f"{killer} was about to kill it, and it lived on", (*why, f"{source}: {outcome}")
    )


def _exited(known: Known, code: int | None, oom_kills: int, source: str) -> Verdict:
    shown = "an unknown code" if code is None else f"code {code}"
    why = [f"{source}: the target exited with {shown}"]
    kill = kill_of(known, at_end=True)
    child = code - 128 if code is not None and code > 128 else 0
    if (oom_kills or kill) and code and (child == signal.SIGKILL or kill is not None):
        if oom_kills:
            why.append(_counted(oom_kills))
        if kill is not None:
            why.append(_logged(kill))
        words = f"a process of its tree was OOM-killed, and the target ended with {shown} after it"
        certainty: Certainty = "certain" if kill is not None and child == signal.SIGKILL else "likely"
        return Verdict("oom-kill", certainty, words, tuple(why), _group(known, kill), kill.pid if kill else None)
    if oom_kills:
        why.append(f"{_counted(oom_kills)}; the target outlived what it hit")
    words = f"exited with {shown}"
    if child in signal.valid_signals() and child:
        words += f", which a shell gives for a child that {signal_name(child)} ended"
    return Verdict("exit", "certain" if code is not None else "likely", words, tuple(why))


def _signalled(known: Known, by: str, source: str) -> Verdict:
    why = [f"{source}: the target was ended by {by}"]
    if by == "SIGKILL":
        kill = kill_of(known)
        if kill is not None:
            words = f"OOM-killed: {_whose(kill, known)}"
            return Verdict("oom-kill", "certain", words, (*why, _logged(kill)), _group(known, kill), kill.pid)
        near = nearness(known)
        if known.facts.log is not None:
            why.append("the kernel's log has no OOM kill of its processes")
        elif near and known.last is not None and known.last.oom_kills is None:
            words = f"OOM-killed, it seems: SIGKILL with {near}"
            return Verdict("oom-kill", "likely", words, (*why, near, "no counter of OOM kills"), _group(known, None))
        if known.run.record.oom_kills == 0 and known.last is not None and known.last.oom_kills is not None:
            why.append("its cgroup counted no OOM kill")
        words = "killed by SIGKILL, which guard didn't send: a kill -9, a container's or service's stop timeout"
        return Verdict("signal", "certain", words, tuple(why))
    forwarded = any(event.name == "signal.forwarded" and event.fields.get("sent") == by for event in known.events[-50:])
    words = f"ended by {by}"
    if forwarded:
        words += ", which came from outside and guard passed on"
        why.append(f"event signal.forwarded: {by}")
    elif by in ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS"):
        words += ", a fault of its own"
    return Verdict("signal", "certain", words, tuple(why))


def _oom_killed(known: Known, oom_kills: int, source: str) -> Verdict:
    """SIGKILL and a counter that rose are two facts; a third makes sure that they belong together."""
    why = [f"{source}: the target was ended by SIGKILL"]
    if oom_kills:
        why.append(_counted(oom_kills))
    kill = kill_of(known)
    near = nearness(known)
    certainty: Certainty = "likely"
    if kill is not None:
        why.append(_logged(kill))
        certainty = "certain"
    if near:
        why.append(near)
        certainty = "certain"
    if known.run.record.guard_pid == 1:
        why.append("guard was the container's init: nobody else was in that cgroup")
        certainty = "certain" if oom_kills else certainty
    words = f"OOM-killed: {_whose(kill, known)}"
    return Verdict(
        "oom-kill", certainty, words, tuple(why), _group(known, kill), kill.pid if kill else known.run.record.pid
    )


def _without_end(known: Known) -> Verdict:
    """No end record and nobody holds the lock: guard itself was killed, or all of it went down."""
    run, facts = known.run, known.facts
    ended = known.last_event("run.exited")
    if ended is not None:
        outcome = text(ended.fields.get("outcome")) or ""
        code, by = whole(ended.fields.get("code")), text(ended.fields.get("signal"))
        kills = 1 if outcome == "oom-killed" else 0
        return _with_end(known, outcome, code, by, kills, "guard's last event (its end record could not be written)")
    if (killer := text(run.record.raw.get("killer"))) is not None:
        words = f"{killer} was about to kill it; what came of that guard did not live to see"
        return Verdict("oom-kill", "likely", words, ("there is no end record",), text(run.record.raw.get("unit")))
    if not run.record.raw and not known.samples and not known.events:
        kill = kill_of(known)
        if kill is not None:
            words = f"OOM-killed, guard was hit before it wrote anything: {_whose(kill, known)}"
            return Verdict("oom-kill", "certain", words, (*run.problems, _logged(kill)), _group(known, kill), kill.pid)
        return Verdict("unknown", "unknown", "nothing of this run can be read", run.problems)
    why = ["there is no end record, and no guard holds the run's lock"]
    if facts.where == "here":
        return _guard_killed_here(known, why)
    near = nearness(known)
    if near:
        words = f"OOM-killed together with guard, it seems: the last sample saw {near}"
        return Verdict("oom-kill", "likely", words, (*why, near, *_distance(known)), _group(known, None))
    if facts.where == "rebooted":
        words = "the machine went down, or guard was killed before it did"
        return Verdict("machine-gone", "likely", words, (*why, *_distance(known)))
    words = "guard was killed or its machine went down (or this is a copy made while it ran)"
    return Verdict("guard-killed", "likely", words, (*why, *_distance(known)))


def _guard_killed_here(known: Known, why: list[str]) -> Verdict:
    facts, last = known.facts, known.last
    if facts.guard_lives:
        words = f"guard (process {known.run.record.guard_pid}) still runs, without its lock"
        return Verdict("running", "likely", words, (*why, "a process of its pid and start time lives"))
    kill = kill_of(known, at_end=True)
    if kill is not None:
        hit = {each.pid for each in kills_of(known, at_end=True)}
        whom = "its tree was hit, and guard was killed"
        if known.run.record.guard_pid in hit:
            whom = "guard was hit" if len(hit) == 1 else "guard and its tree together"
        words = f"OOM-killed, {whom}: {_whose(kill, known)}"
        return Verdict("oom-kill", "certain", words, (*why, _logged(kill)), _group(known, kill), kill.pid)
    before = last.oom_kills if last is not None else None
    near = nearness(known)
    if before is not None and facts.oom_kills is not None and facts.oom_kills > before:
        why.append(f"its cgroup counts {facts.oom_kills - before} more OOM kills than at the last sample")
        words = "OOM-killed together with guard, it seems"
        return Verdict("oom-kill", "likely", words, (*why, *([near] if near else [])), _group(known, None))
    if near and facts.log is None:
        words = f"OOM-killed together with guard, it seems: the last sample saw {near}"
        why.append(f"the kernel's log can't be read: {facts.log_refused}")
        return Verdict("oom-kill", "likely", words, (*why, near), _group(known, None))
    why.append("this machine has not been restarted since")
    if facts.log is not None:
        why.append("the kernel's log has no OOM kill of its processes")
    told = text(known.told.fields.get("reason")) if known.told is not None else None
    if known.told is not None and (whole(known.told.fields.get("oom_kills")) or 0) > 0:
        words = "OOM-killed together with guard, it seems"
        return Verdict("oom-kill", "likely", words, (*why, f"the next guard here said: {told}"), _group(known, None))
    left = f"; the target (process {known.run.record.pid}) lives on, unwatched" if facts.target_lives else ""
    words = f"guard itself was killed (SIGKILL, or its container was taken away){left}"
    return Verdict("guard-killed", "certain", words, tuple(why))


def _distance(known: Known) -> tuple[str, ...]:
    where, record = known.facts.where, known.run.record
    if where == "rebooted":
        return ("this machine has been restarted since",)
    if where == "elsewhere":
        return (f"it ran on another machine ({record.host}), whose kernel can't be asked here",)
    return ("its record doesn't tell on which boot of which machine it ran",)


# -- facts ------------------------------------------------------------------------------------------------------------


def nearness(known: Known) -> str:
    """How near the last sample was to the limit, where it was: over 90 %, or there within two waits at its slope."""
    last = known.last
    if last is None or not last.limit_bytes:
        return ""
    share = last.use_bytes / last.limit_bytes
    of = f"{human_percent(share)} of the limit of {human_bytes(last.limit_bytes)} in use"
    if share >= _NEAR_SHARE:
        return of
    series = living(known.samples[-20:])
    gap_s = last.elapsed_s - series[-2].elapsed_s if len(series) > 1 else 0.0
    left_s = last.time_to_limit_s
    if left_s is not None and 0 < left_s <= 2 * gap_s:
        return f"{of} and {human_duration(left_s)} left at its slope"
    return ""


def kill_of(known: Known, *, at_end: bool = False) -> OomKill | None:
    """The last OOM kill that hit the run; of several together (memory.oom.group) that of the largest process."""
    kills = kills_of(known, at_end=at_end)
    together = [kill for kill in kills if kills[-1].at_s - kill.at_s <= _TOGETHER_S]
    return max(together, key=lambda kill: kill.rss_bytes or 0, default=None)


def kills_of(known: Known, *, at_end: bool = False) -> list[OomKill]:
    """The OOM kills in the kernel's log that hit one of the run's processes while it ran, in order.

    By pid and name, and in a container, where pids are others, by name and cgroup at the run's end.
    `at_end`: only such as stand beside the end.
    """
    end_s, record = known.last_word_s, known.run.record
    if not known.facts.log or end_s is None:
        return []
    start_s = (record.started_s or 0.0) - _CLOCK_SLACK_S
    # Without an end record the last word is a sample, and the kill came up to an interval later.
    last_s = end_s + (_CLOCK_SLACK_S if record.ended_s is not None else _AFTER_S)
    names = _names(known)

    def hit(kill: OomKill) -> bool:
        if not start_s <= kill.at_s <= last_s or (at_end and kill.at_s < end_s - _BESIDE_S):
            return False
        if names.get(kill.pid) == kill.name[:_NAME_LENGTH]:
            return True
        return kill.at_s >= end_s - _BESIDE_S and kill.name in names.values() and _same_group(kill, known.run)

    return [kill for kill in known.facts.log if hit(kill)]


def _same_group(kill: OomKill, run: Run) -> bool:
    """Whether the victim's group is the run's.

    What the kernel calls /a/b lies at MOUNT/a/b. A container sees its own group as /; but its host name is the start
    of its id, which docker and podman put into the group's name.
    """
    group, directory, host = kill.task_group or "", run.record.cgroup or "", run.record.host or ""
    if len(group) > 1 and directory.endswith(group):
        return True
    return len(host) == _SHORT_ID and set(host) <= set("0123456789abcdef") and host in group


def _names(known: Known) -> Mapping[int, str]:
    """The run's processes by pid, guard included."""
    names = {each.pid: each.name[:_NAME_LENGTH] for sample in known.samples[-200:] for each in sample.processes}
    if known.run.record.guard_pid is not None:
        names[known.run.record.guard_pid] = "guard"
    return names


def _counted(oom_kills: int) -> str:
    return f"its cgroup counted {oom_kills} OOM kill{'s' if oom_kills != 1 else ''} during the run"


def _logged(kill: OomKill) -> str:
    size = f" with {human_bytes(kill.rss_bytes)} resident" if kill.rss_bytes else ""
    return f"the kernel's log: OOM kill of process {kill.pid} ({kill.name}){size}"


def _group(known: Known, kill: OomKill | None) -> str | None:
    """The cgroup whose limit was reached, `machine` for the whole machine's memory, None when nobody tells."""
    if kill is not None and (kill.machine or kill.group):
        return "machine" if kill.machine else kill.group
    source = known.run.record.limit_source or ""
    return source.partition(" ")[2].partition(" ")[2] or (source or None)


def _whose(kill: OomKill | None, known: Known) -> str:
    group = _group(known, kill)
    if group == "machine":
        return "the machine's memory was used up"
    limit = known.last.limit_bytes if known.last is not None else known.run.record.limit_bytes
    size = f" of {human_bytes(limit)}" if limit else ""
    return f"the limit{size} of cgroup {group} was reached" if group else f"a limit{size} was reached"
