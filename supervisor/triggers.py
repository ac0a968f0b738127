"""Trouble beside memory: processor, answers, descriptors, threads, a standstill, pressure. Pure; a part of `decide`.

Every trigger is a reading against its threshold. It fires on the second reading in a row past it, and clears when
readings were below 90 % of it for 10 s. What could not be read is no reading: it neither fires nor clears.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from supervisor import busy
from supervisor.model import Event, Probe, Process, Sample
from supervisor.quantities import human_duration, human_percent
from supervisor.settings import PRESETS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervisor.config import Config

CALM_SHARE = 0.90
CALM_S = 10.0
SLOWEST_PACE_S, FASTEST_PACE_S = 2.0, 0.2
# p95 of this many answers: one outlier is none of the server's habits. Before there are half as many nothing is judged.
ANSWERS = 20
LEAST_ANSWERS = 10
FAILURES = 2  # in a row, and the probe fails
# Who uses less than this stands still: a timer that ticks is no work.
_IDLE_CORES, _IDLE_TICKS = 0.01, 2
_IDLE_IO_PER_S, _IDLE_IO = 1024, 4096


@dataclass(frozen=True, slots=True)
class Rules:
    """The thresholds that hold; None where a trigger is off.

    `cpu`: share of `cores` over `window_s`. `response_s`: p95 of the answers. `fds`: a count, or (a float) a share of
    the process's own limit. `stall_s`: time without work while the probe fails. `pressure`: per cent by `memory:some`
    and the like.
    """

    cores: float = 1.0
    cpu: float | None = None
    window_s: float = 30.0
    probing: bool = False
    response_s: float | None = None
    fds: int | float | None = None
    threads: int | None = None
    stall_s: float | None = None
    pressure: Mapping[str, float] = field(default_factory=dict)

    @property
    def sampled(self) -> bool:
        """Whether any trigger needs samples at its own pace."""
        needed = (self.cpu, self.fds, self.threads, self.stall_s)
        return bool(self.pressure) or any(threshold is not None for threshold in needed)

    @property
    def pace_s(self) -> float:
        """Longest wait between two samples: a fifteenth of the shortest window, within bounds; inf without need."""
        if not self.sampled:
            return math.inf
        windows = [window for window, on in ((self.window_s, self.cpu), (self.stall_s, self.stall_s)) if window and on]
        return min(max(min(windows, default=30.0) / 15, FASTEST_PACE_S), SLOWEST_PACE_S)


def rules_of(config: Config) -> Rules:
    """The settings' thresholds; `auto` is what the environment's preset says."""
    preset = PRESETS[config.detected.name]
    cpu, response_s = config.cpu_threshold, config.response_time
    return Rules(
        cores=config.facts.cores,
        cpu=preset.auto_cpu if isinstance(cpu, str) else cpu,
        window_s=config.cpu_window,
        probing=config.probe is not None,
        response_s=preset.auto_response_s if isinstance(response_s, str) else response_s,
        fds=config.fd_threshold,
        threads=config.thread_threshold,
        stall_s=config.stall,
        pressure={f"{each.what}:{each.whom}": each.share * 100 for each in config.pressure},
    )


@dataclass(frozen=True, slots=True)
class Record:
    """One trigger's history: readings in a row past its threshold, the last that counted, since when it has fired and
    since when it is calm.
    """

    streak: int = 0
    counted_s: float = -math.inf
    fired_s: float | None = None
    calm_s: float | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """What the probe's last answers were. `times_s`: the last ones' times, oldest first, inf for one that timed out.

    `failures` in a row; `down_s`: since when the probe fails, as was told; `good_s`: since when it answers again.
    """

    times_s: tuple[float, ...] = ()
    outcome: str = ""
    failures: int = 0
    ever: bool = False
    down_s: float | None = None
    good_s: float | None = None

    @property
    def p95_s(self) -> float | None:
        """Of the answers; inf when that one timed out; None when there are too few."""
        count = len(self.times_s)
        if count < LEAST_ANSWERS:
            return None
        return sorted(self.times_s)[min(math.ceil(0.95 * count), count - 1) - 1]


@dataclass(frozen=True, slots=True)
class Idle:
    """Since when the tree does nothing: its use at that time, and what its processes had read and written."""

    since_s: float
    used_s: float
    io_bytes: Mapping[int, int]
    pids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Watched:
    """All that triggers remember."""

    busy: busy.Busy = field(default_factory=busy.Busy)
    answers: Answers = field(default_factory=Answers)
    idle: Idle | None = None
    records: Mapping[str, Record] = field(default_factory=dict)

    @property
    def firing(self) -> tuple[str, ...]:
        """Triggers that have fired and not cleared."""
        return tuple(name for name, record in self.records.items() if record.fired_s is not None)


@dataclass(frozen=True, slots=True)
class Reading:
    """A trigger's value now, inf for an answer that didn't come. `words`: the value and its threshold for people."""

    trigger: str
    value: float
    threshold: float
    unit: str
    words: str
    process: Process | None = None
    whose: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """A trigger that fired (else: cleared) with this reading."""

    fired: bool
    reading: Reading


def follow(watched: Watched, sample: Sample, rules: Rules) -> tuple[Watched, list[Turn], list[Event]]:
    """With one more sample: what triggers remember, which turned, and the events that tell of it."""
    if not rules.sampled and not rules.probing:
        return watched, [], []
    now = busy.follow(watched.busy, sample, rules.window_s, rules.cores)
    watched = replace(watched, busy=now, idle=_idle(watched.idle, now, sample))
    turns: list[Turn] = []
    events: list[Event] = []
    for reading in _readings(watched, sample, rules):
        watched = _judge(watched, reading, sample.at_s, rules.pace_s / 2, turns, events)
    return watched, turns, events


def follow_probe(
    watched: Watched, probe: Probe, sample: Sample | None, rules: Rules, now_s: float
) -> tuple[Watched, list[Turn], list[Event]]:
    """With one more probe. `sample`: the last one, for who is busy."""
    turns: list[Turn] = []
    events: list[Event] = []
    if sample is not None and _stopped(sample):
        return watched, turns, events
    answers = _answers(watched.answers, probe, now_s, events)
    watched = replace(watched, answers=answers)
    p95_s = answers.p95_s
    if rules.response_s is not None and p95_s is not None and probe.outcome in ("answered", "timeout"):
        process = watched.busy.busiest(sample) if sample is not None else None
        value = human_duration(p95_s) if p95_s < math.inf else "timeout"
        words = f"95 % of the last {len(answers.times_s)} probes took {value} or less"
        if p95_s == math.inf:
            words = f"of the last {len(answers.times_s)} probes more than 5 % had no answer in time"
        reading = Reading("latency", p95_s, rules.response_s, "s", words, process)
        watched = _judge(watched, reading, now_s, 0.0, turns, events)
    return watched, turns, events


def _answers(old: Answers, probe: Probe, now_s: float, events: list[Event]) -> Answers:
    """The probe's story goes on. Failing and answering again are told once a turn."""
    times = old.times_s
    if probe.outcome == "answered":
        times = (*times, probe.elapsed_s)[-ANSWERS:]
    elif probe.outcome == "timeout":
        times = (*times, math.inf)[-ANSWERS:]
    new = replace(old, times_s=times, outcome=probe.outcome)
    if probe.outcome == "answered":
        good_s = now_s if old.good_s is None else old.good_s
        new = replace(new, failures=0, ever=True, good_s=good_s)
        if new.down_s is not None and now_s - good_s >= CALM_S:
            fields = {"elapsed_s": round(good_s - new.down_s, 3), "response_s": round(probe.elapsed_s, 6),
                      "reason": f"it answers since {human_duration(CALM_S)}"}  # fmt: skip
            events.append(Event("info", "probe.recovered", fields))
            new = replace(new, down_s=None)
        return new
    new = replace(new, failures=old.failures + 1, good_s=None)
    if new.failures >= FAILURES and new.down_s is None:
        reason = f"{probe.outcome}: {probe.said}" if probe.said else probe.outcome
        fields = {"outcome": probe.outcome, "reason": reason, "in_a_row": new.failures}
        # Before its first answer a server may well be starting.
        events.append(Event("warning" if new.ever else "info", "probe.failed", fields))
        new = replace(new, down_s=now_s)
    return new


def _idle(old: Idle | None, now: busy.Busy, sample: Sample) -> Idle:
    """Since when nothing is done."""
    io = sample.extra.io_bytes
    pids = frozenset(process.pid for process in sample.processes)
    fresh = Idle(sample.at_s, now.used_s, io, pids)
    if old is None or pids - old.pids or _stopped(sample):
        return fresh
    elapsed_s = sample.at_s - old.since_s
    moved = sum(max(0, count - old.io_bytes.get(pid, count)) for pid, count in io.items())
    if now.used_s - old.used_s > _IDLE_CORES * elapsed_s + _IDLE_TICKS / busy.TICKS_PER_S:
        return fresh
    if moved > _IDLE_IO_PER_S * elapsed_s + _IDLE_IO:
        return fresh
    return replace(old, io_bytes={**io, **old.io_bytes})


def _stopped(sample: Sample) -> bool:
    """Whether somebody has stopped the whole tree (job control): it stands still because it was told to."""
    return bool(sample.processes) and all(process.state == "T" for process in sample.processes)


def _readings(watched: Watched, sample: Sample, rules: Rules) -> list[Reading]:
    found: list[Reading] = []
    share = watched.busy.share(rules.window_s, rules.cores)
    if rules.cpu is not None and share is not None:
        window = human_duration(rules.window_s)
        words = f"{human_percent(share)} of {rules.cores:g} cores over {window}"
        found.append(Reading("cpu", share, rules.cpu, "share", words, watched.busy.busiest(sample)))
    if rules.threads is not None and sample.processes:
        most = max(sample.processes, key=lambda process: process.threads)
        found.append(Reading("threads", most.threads, rules.threads, "count", f"{most.threads} threads", most))
    if rules.fds is not None and (reading := _descriptors(sample, rules.fds)) is not None:
        found.append(reading)
    if rules.stall_s is not None and watched.idle is not None:
        failing = watched.answers.failures >= FAILURES
        idle_s = sample.at_s - watched.idle.since_s if failing else 0.0
        words = f"no processor time and no I/O for {human_duration(idle_s)}, and the probe fails"
        worked = max(sample.processes, key=lambda process: process.cpu_ticks, default=None)
        found.append(Reading("stall", idle_s, rules.stall_s, "s", words, worked))
    for name, most_percent in rules.pressure.items():
        value = sample.extra.pressure.get(name)
        if value is not None:
            whose = sample.extra.pressure_of.get(name, "machine")
            words = f"{value:g} % of the last 10 s ({name} of the {whose})"
            process = watched.busy.busiest(sample)
            found.append(Reading(f"pressure:{name}", value, most_percent, "percent", words, process, whose))
    return found


def _descriptors(sample: Sample, threshold: int | float) -> Reading | None:
    """The process with the most descriptors, or the largest share of its limit."""
    best: Reading | None = None
    for process in sample.processes:
        count, limit = sample.extra.fds.get(process.pid, (None, None))
        if count is None or (isinstance(threshold, float) and not limit):
            continue
        value, unit, words = float(count), "count", f"{count} descriptors"
        if isinstance(threshold, float):
            value, unit, words = count / (limit or 1), "share", f"{count} of {limit} descriptors"
        if best is None or value > best.value:
            best = Reading("fds", value, threshold, unit, words, process)
    return best


def _judge(
    watched: Watched, reading: Reading, at_s: float, apart_s: float, turns: list[Turn], events: list[Event]
) -> Watched:
    """Hysteresis. Readings closer together than `apart_s` are one and the same."""
    old = watched.records.get(reading.trigger, Record())
    over = reading.value >= reading.threshold
    new = old
    if not over:
        new = replace(old, streak=0)
    elif at_s - old.counted_s >= apart_s:
        new = replace(old, streak=old.streak + 1, counted_s=at_s)
    calm = reading.value < CALM_SHARE * reading.threshold
    new = replace(new, calm_s=(at_s if old.calm_s is None else old.calm_s) if calm else None)
    if new.fired_s is None and over and new.streak >= 2:
        new = replace(new, fired_s=at_s)
        turns.append(Turn(True, reading))
        who = reading.process
        more = {"pid": who.pid, "name": who.name} if who is not None else {}
        reason = f"{reading.words}; the threshold is {_shown(reading)}"
        events.append(Event("warning", "trigger.fired", {**_fields(reading), "reason": reason, **more}))
    elif new.fired_s is not None and new.calm_s is not None and at_s - new.calm_s >= CALM_S:
        elapsed_s = round(at_s - new.fired_s, 3)
        new = replace(new, fired_s=None)
        turns.append(Turn(False, reading))
        reason = f"below 90 % of the threshold for {human_duration(CALM_S)}"
        events.append(Event("info", "trigger.cleared", {**_fields(reading), "reason": reason, "elapsed_s": elapsed_s}))
    return replace(watched, records={**watched.records, reading.trigger: new})


def _fields(reading: Reading) -> dict[str, object]:
    """A time that nobody knows is no number."""
    value: object = "timeout" if reading.value == math.inf else round(reading.value, 6)
    fields = {"trigger": reading.trigger, "value": value, "threshold": reading.threshold, "unit": reading.unit}
    return fields | ({"whose": reading.whose} if reading.whose else {})


def _shown(reading: Reading) -> str:
    if reading.unit == "share":
        return human_percent(reading.threshold)
    if reading.unit == "s":
        return human_duration(reading.threshold)
    return f"{reading.threshold:g}{' %' if reading.unit == 'percent' else ''}"
