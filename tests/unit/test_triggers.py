"""Triggers beside memory, as histories: samples and probes in, events and actions out. No clock, no process."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import busy, decide, plan, triggers
from supervisor.model import ActionEnded, Effect, Event, Extra, Probe, Process, Sample, Start, Stop
from supervisor.policy import Level, Policy, State
from supervisor.triggers import Rules

MB = 10**6
LEVELS = tuple(
    Level(name, "rss", size * MB) for name, size in (("warning", 100), ("critical", 200), ("profiling", 400))
)
Entry = Sample | tuple[float, Probe | ActionEnded]


def process(pid: int = 10, *, cpu_s: float = 0.0, threads: int = 1, rss_mb: float = 20, name: str = "app") -> Process:
    return Process(pid, 1, 100 + pid, name, "S", int(rss_mb * MB), threads, round(cpu_s * busy.TICKS_PER_S))


def reading(at_s: float, *processes: Process, **extra: Any) -> Sample:
    rss = sum(each.rss_bytes or 0 for each in processes)
    return Sample(at_s, processes, rss, 16_000 * MB, rss, extra=Extra(**extra))


def play(rules: Rules, *entries: Entry, state: State | None = None, **more: Any) -> tuple[State, list[Effect]]:
    """Replay a history; the state at the end and all effects in order."""
    state, policy, effects = state or State(), Policy(LEVELS, rules=rules, **more), []
    for entry in entries:
        now_s, event = (entry.at_s, entry) if isinstance(entry, Sample) else entry
        decision = decide.decide(state, event, policy, now_s)
        state = decision.state
        effects += decision.effects
    return state, effects


def told(effects: Iterable[Effect], *names: str) -> list[dict[str, Any]]:
    return [{"event": e.name, **e.fields} for e in effects if isinstance(e, Event) and (not names or e.name in names)]


def starts(effects: Iterable[Effect]) -> list[tuple[str, str, int]]:
    return [(e.kind, e.trigger, e.pid) for e in effects if isinstance(e, Start)]


def answered(*times_s: float, every_s: float = 1.0, since_s: float = 0.0) -> list[Entry]:
    return [
        (since_s + index * every_s, Probe("timeout", 5.0) if time == math.inf else Probe("answered", time))
        for index, time in enumerate(times_s)
    ]


# -- hysteresis -------------------------------------------------------------------------------------------------------


def test_one_reading_past_the_threshold_is_not_enough() -> None:
    counts = (4, 12, 4, 12, 4)
    _, effects = play(Rules(threads=10), *(reading(2 * at, process(threads=n)) for at, n in enumerate(counts)))
    assert effects == []


def test_the_second_in_a_row_fires_and_says_why() -> None:
    samples = [reading(2 * at, process(threads=n), process(11, threads=2)) for at, n in enumerate((4, 12, 13, 14))]
    state, effects = play(Rules(threads=10), *samples)
    assert told(effects) == [{
        "event": "trigger.fired", "trigger": "threads", "value": 13, "threshold": 10, "unit": "count",
        "reason": "13 threads; the threshold is 10", "pid": 10, "name": "app",
    }]  # fmt: skip
    assert starts(effects) == [("stacks", "threads", 10)]
    assert [(start.kind, start.trigger, start.state) for start in state.queue] == [("snapshot", "threads", "ok")]
    assert state.watched.firing == ("threads",)


def test_readings_too_close_together_are_one() -> None:
    """A loop that hurries for memory's sake must not make two readings of one."""
    _, effects = play(Rules(threads=10), *(reading(at / 10, process(threads=20)) for at in range(9)))
    assert effects == []


def test_it_clears_after_ten_calm_seconds_and_not_before() -> None:
    counts = [20, 20, 20, 8, 8, 8, 9, 8, 8, 8, 8, 8, 8, 8]  # 9 is not below 90 % of 10: the ten seconds begin anew
    samples = [reading(2 * at, process(threads=n)) for at, n in enumerate(counts)]
    state, effects = play(Rules(threads=10), *samples[:12])
    assert told(effects, "trigger.cleared") == []
    state, effects = play(Rules(threads=10), *samples[12:], state=state)
    assert told(effects) == [{
        "event": "trigger.cleared", "trigger": "threads", "value": 8, "threshold": 10, "unit": "count",
        "reason": "below 90 % of the threshold for 10 s", "elapsed_s": 22.0,
    }]  # fmt: skip
    assert state.watched.firing == ()


@given(st.lists(st.integers(0, 20), min_size=1, max_size=60))
def test_fired_and_cleared_take_turns_and_are_earned(counts: list[int]) -> None:
    state, turns = State(), []
    for at, count in enumerate(counts):
        state, effects = play(Rules(threads=10), reading(2.0 * at, process(threads=count)), state=state)
        for event in told(effects, "trigger.fired", "trigger.cleared"):
            turns.append(event["event"])
            last = counts[max(0, at - (1 if event["event"] == "trigger.fired" else 5)) : at + 1]
            assert all(n >= 10 for n in last) if event["event"] == "trigger.fired" else all(n < 9 for n in last)
    assert turns == (["trigger.fired", "trigger.cleared"] * len(turns))[: len(turns)]


def test_off_unless_given() -> None:
    wild = reading(0, process(threads=9999, cpu_s=0), fds={10: (9999, 10)}, pressure={"memory:some": 99.0})
    samples = [Sample(at, wild.processes, wild.rss_bytes, wild.limit_bytes, 0, extra=wild.extra) for at in range(40)]
    state, effects = play(Rules(), *samples)
    assert effects == [] and state.watched == triggers.Watched()


# -- what is read -----------------------------------------------------------------------------------------------------


def test_processor_time_of_the_cores_over_the_window() -> None:
    samples = [reading(2 * at, process(cpu_s=0.1 * at), process(11, cpu_s=3.8 * at)) for at in range(20)]
    state, effects = play(Rules(cores=2, cpu=0.9, window_s=30), *samples[:16])
    assert effects == []  # the window is full with the 16th: the first reading
    _, effects = play(Rules(cores=2, cpu=0.9, window_s=30), *samples[16:], state=state)
    (fired,) = told(effects)
    assert (fired["trigger"], fired["pid"], fired["unit"]) == ("cpu", 11, "share")
    assert fired["value"] == pytest.approx(0.975)
    assert fired["reason"] == "97.5 % of 2 cores over 30 s; the threshold is 90 %"
    assert starts(effects) == [("cpu-profile", "cpu", 11)]


def test_descriptors_as_a_count_are_of_the_process_with_most() -> None:
    fds = {10: (70, None), 11: (90, None)}
    _, effects = play(Rules(fds=80), *(reading(2 * at, process(), process(11), fds=fds) for at in range(2)))
    (fired,) = told(effects)
    assert (fired["pid"], fired["value"], fired["reason"]) == (11, 90, "90 descriptors; the threshold is 80")


def test_descriptors_as_a_share_are_of_the_process_nearest_its_own_limit() -> None:
    fds = {10: (90, 100), 11: (500, 1000), 12: (5000, None)}
    samples = [reading(2 * at, process(), process(11), process(12), fds=fds) for at in range(2)]
    _, effects = play(Rules(fds=0.8), *samples)
    (fired,) = told(effects)
    assert (fired["pid"], fired["value"], fired["reason"]) == (10, 0.9, "90 of 100 descriptors; the threshold is 80 %")


def test_what_cannot_be_read_neither_fires_nor_clears() -> None:
    over, unread = {"fds": {10: (90, None)}}, {}
    samples = [reading(2 * at, process(), **(over if at < 2 else unread)) for at in range(30)]
    state, effects = play(Rules(fds=80), *samples)
    assert [event["event"] for event in told(effects)] == ["trigger.fired"]
    assert state.watched.firing == ("fds",)


def test_pressure_says_whose_it_is_and_growth_ends_with_it() -> None:
    rules = Rules(pressure={"memory:some": 10.0, "io:full": 50.0})

    def at(at_s: float, percent: float) -> Sample:
        return reading(at_s, process(), pressure={"memory:some": percent}, pressure_of={"memory:some": "cgroup"})

    state, effects = play(rules, at(0, 12), at(2, 12))
    (fired,) = told(effects)
    assert (fired["trigger"], fired["whose"], fired["unit"]) == ("pressure:memory:some", "cgroup", "percent")
    assert fired["reason"] == "12 % of the last 10 s (memory:some of the cgroup); the threshold is 10 %"
    assert starts(effects) == [("snapshot", "pressure:memory:some", 10), ("growth", "pressure:memory:some", 10)]
    _, effects = play(rules, *(at(4 + 2 * step, 1) for step in range(7)), state=state)
    assert [effect for effect in effects if isinstance(effect, Stop)] == [
        Stop("growth", "the pressure:memory:some trigger has cleared")
    ]


# -- probes -----------------------------------------------------------------------------------------------------------

SLOW = Rules(probing=True, response_s=0.2)


def test_slow_answers_fire_when_more_than_one_in_twenty_is_slow() -> None:
    """One outlier is none of the server's habits; the second slow one and the next answer are."""
    first = reading(0, process())
    _, effects = play(SLOW, first, *answered(*[0.01] * 10, 3.0, *[0.01] * 15))
    assert effects == []
    _, effects = play(SLOW, first, *answered(*[0.01] * 20, 0.3, 0.3, 0.3))
    (fired,) = told(effects)
    assert (fired["trigger"], fired["value"], fired["threshold"], fired["unit"]) == ("latency", 0.3, 0.2, "s")
    assert fired["reason"] == "95 % of the last 20 probes took 300 ms or less; the threshold is 200 ms"
    assert starts(effects) == [("stacks", "latency", 10)]


def test_too_few_answers_are_no_reading() -> None:
    _, effects = play(SLOW, reading(0, process()), *answered(*[9.0] * triggers.LEAST_ANSWERS))
    assert told(effects) == []  # the tenth is the first reading
    _, effects = play(SLOW, reading(0, process()), *answered(*[9.0] * (triggers.LEAST_ANSWERS + 1)))
    assert [event["event"] for event in told(effects)] == ["trigger.fired"]


def test_an_answer_that_did_not_come_is_no_number() -> None:
    _, effects = play(SLOW, reading(0, process()), *answered(*[0.01] * 12, math.inf, math.inf, math.inf))
    (fired,) = told(effects, "trigger.fired")
    assert fired["value"] == "timeout"
    assert fired["reason"].startswith("of the last 15 probes more than 5 % had no answer in time")


def test_a_refusal_is_no_time_and_told_once_a_turn() -> None:
    refused: list[Entry] = [(20.0 + at, Probe("refused", 0.001, "Connection refused")) for at in range(30)]
    state, effects = play(SLOW, reading(0, process()), *answered(*[0.01] * 20), *refused)
    assert told(effects) == [
        {"event": "probe.failed", "outcome": "refused", "reason": "refused: Connection refused", "in_a_row": 2}
    ]
    assert next(e for e in effects if isinstance(e, Event)).level == "warning"
    assert len(state.watched.answers.times_s) == 20
    # One answer is no recovery, and one more failure no news.
    _, effects = play(SLOW, (50.0, Probe("answered", 0.01)), (51.0, Probe("failed", 0.01)), state=state)
    assert effects == []
    state, effects = play(SLOW, *answered(*[0.01] * 12, since_s=60.0), state=state)
    assert told(effects) == [{
        "event": "probe.recovered", "elapsed_s": 39.0, "response_s": 0.01, "reason": "it answers since 10 s",
    }]  # fmt: skip


def test_before_its_first_answer_a_server_may_be_starting() -> None:
    _, effects = play(Rules(probing=True), *((float(at), Probe("refused", 0.0)) for at in range(5)))
    (event,) = (effect for effect in effects if isinstance(effect, Event))
    assert (event.level, event.name) == ("info", "probe.failed")


@given(st.lists(st.sampled_from(("answered", "timeout", "refused", "failed")), max_size=80))
def test_failing_and_answering_take_turns(outcomes: list[str]) -> None:
    probes: list[Entry] = [(float(at), Probe(outcome, 0.01)) for at, outcome in enumerate(outcomes)]
    state, effects = play(Rules(probing=True), *probes)
    names = [event["event"] for event in told(effects)]
    assert names == (["probe.failed", "probe.recovered"] * len(names))[: len(names)]
    assert (state.watched.answers.down_s is not None) == (len(names) % 2 == 1)


@given(st.lists(st.one_of(st.floats(0, 10), st.just(math.inf)), min_size=10, max_size=60))
def test_the_p95_lies_where_it_should(times_s: list[float]) -> None:
    answers = triggers.Watched().answers
    for at, time_s in enumerate(times_s):
        probe = Probe("timeout", 5.0) if time_s == math.inf else Probe("answered", time_s)
        answers = triggers._answers(answers, probe, float(at), [])
    last = sorted(times_s[-triggers.ANSWERS :])
    assert answers.p95_s in last
    assert sum(time_s > (answers.p95_s or 0.0) for time_s in last) <= max(1, 0.05 * len(last))
    assert answers.p95_s != last[-1] or last[-1] == last[-2]  # never the one outlier


def test_who_waits_is_profiled_with_its_waiting_and_who_works_without() -> None:
    for cores, idle in ((0.0, True), (0.9, False)):
        samples = [reading(2 * at, process(cpu_s=2 * at * cores)) for at in range(10)]
        state, effects = play(SLOW, *samples, *answered(*[0.5] * 12, since_s=20))
        assert [start.idle for start in effects if isinstance(start, Start)] == [False]  # stacks
        assert [(start.kind, start.idle) for start in state.queue] == [("cpu-profile", idle)]


# -- a standstill -----------------------------------------------------------------------------------------------------

STALL = Rules(probing=True, stall_s=30.0)


def still(since_s: float, until_s: float, probe: str, *, cpu: float = 0.0, io: float = 0.0) -> list[Entry]:
    entries: list[Entry] = []
    at_s = since_s
    while at_s <= until_s:
        io_bytes = {10: round(io * at_s), 11: 0}
        entries.append(reading(at_s, process(cpu_s=50 + cpu * at_s), process(11, cpu_s=1), io_bytes=io_bytes))
        entries.append((at_s + 0.5, Probe(probe, 0.01)))
        at_s += 2
    return entries


def test_no_work_while_the_probe_fails_is_a_standstill() -> None:
    _, effects = play(STALL, *still(0, 30, "timeout"))
    assert told(effects, "trigger.fired") == []
    _, effects = play(STALL, *still(0, 34, "timeout"))
    (fired,) = told(effects, "trigger.fired")
    assert (fired["trigger"], fired["pid"], fired["value"], fired["unit"]) == ("stall", 10, 32.0, "s")
    assert starts(effects) == [("stacks", "stall", 10)]


@pytest.mark.parametrize(
    ("probe", "cpu", "io"), [("answered", 0.0, 0.0), ("timeout", 0.05, 0.0), ("refused", 0.0, 50_000.0)]
)
def test_who_answers_or_works_does_not_stand_still(probe: str, cpu: float, io: float) -> None:
    _, effects = play(STALL, *still(0, 90, probe, cpu=cpu, io=io))
    assert told(effects, "trigger.fired") == []


def test_a_timer_that_ticks_is_no_work() -> None:
    _, effects = play(STALL, *still(0, 40, "timeout", cpu=0.002, io=50.0))
    assert [event["trigger"] for event in told(effects, "trigger.fired")] == ["stall"]


def test_a_new_process_is_work() -> None:
    entries = still(0, 20, "timeout")
    newcomer = [reading(at, process(), process(11), process(12)) for at in range(22, 50, 2)]
    _, effects = play(STALL, *entries, *newcomer)
    assert told(effects, "trigger.fired") == []


def test_a_tree_that_was_stopped_stands_still_because_it_was_told_to() -> None:
    """Ctrl-Z: neither a standstill nor a slow server; it begins anew with the continue."""
    entries: list[Entry] = [
        replace(entry, processes=tuple(replace(each, state="T") for each in entry.processes))
        if isinstance(entry, Sample) else entry
        for entry in still(0, 60, "timeout")
    ]  # fmt: skip
    state, effects = play(replace(STALL, response_s=0.1), *entries)
    assert effects == [] and state.watched.answers.times_s == ()
    _, effects = play(STALL, *still(62, 90, "timeout"), state=state)
    assert told(effects, "trigger.fired") == []


def test_it_clears_when_the_probe_answers_again() -> None:
    _, effects = play(STALL, *still(0, 40, "timeout"), *still(42, 60, "answered"))
    assert [event["event"] for event in told(effects, "trigger.fired", "trigger.cleared")] == [
        "trigger.fired", "trigger.cleared",
    ]  # fmt: skip


# -- actions ----------------------------------------------------------------------------------------------------------


def threads(*counts: int, since_s: float = 0.0, rss_mb: float = 20) -> list[Sample]:
    return [reading(since_s + 2 * at, process(threads=n, rss_mb=rss_mb)) for at, n in enumerate(counts)]


def ended(at_s: float, kind: str) -> Entry:
    return at_s, ActionEnded(kind, 10, "ok")


def test_budget_and_cooldown_hold_by_kind_and_trigger() -> None:
    rules = Rules(threads=10)
    first = [*threads(20, 20), ended(3, "stacks"), ended(4, "snapshot"), *threads(*[1] * 8, since_s=6)]
    state, effects = play(rules, *first, *threads(20, 20, since_s=24))
    assert starts(effects) == [("stacks", "threads", 10), ("snapshot", "threads", 10)]
    assert [event["reason"] for event in told(effects, "action.skipped")] == [
        "4 min 36 s of the cooldown are left (--cooldown)"
    ] * 2
    again = [*threads(*[1] * 8, since_s=400), *threads(20, 20, since_s=500)]
    _, effects = play(rules, *again, state=state, max_actions=1)
    assert [event["reason"] for event in told(effects, "action.skipped")] == [
        "the budget of 1 a run is spent (--max-actions)"
    ] * 2
    assert all(event["trigger"] == "threads" for event in told(effects, "action.skipped"))


def test_what_triggers_took_memory_does_not_lack() -> None:
    rules = Rules(threads=10)
    state, _ = play(rules, *threads(20, 20), ended(3, "stacks"), ended(4, "snapshot"), max_actions=1)
    _, effects = play(rules, *threads(20, 20, since_s=6, rss_mb=300), state=state, max_actions=1)
    assert ("stacks", "", 10) in starts(effects)
    assert told(effects, "action.skipped") == []


def test_memory_ends_what_runs_for_a_trigger_and_goes_first() -> None:
    rules = Rules(cores=1, cpu=0.5, window_s=10)
    busy_samples = [reading(2 * at, process(cpu_s=2 * at)) for at in range(8)]
    state, effects = play(rules, *busy_samples)
    assert state.busy == "cpu-profile"
    grown = [reading(16 + 2 * at, process(cpu_s=16 + 2 * at, rss_mb=300)) for at in range(2)]
    state, effects = play(rules, *grown, state=state)
    assert Stop("cpu-profile", "memory comes before the cpu trigger") in effects
    assert [start.kind for start in state.queue] == ["stacks", "snapshot"]
    _, effects = play(rules, ended(20, "cpu-profile"), state=state)
    assert starts(effects) == [("stacks", "", 10)]


def test_a_trigger_waits_behind_memory_and_outlives_its_calm() -> None:
    rules = Rules(threads=10)
    state, _ = play(rules, *threads(1, 1, rss_mb=300))  # critical: stacks run
    state, _ = play(rules, *threads(20, 20, since_s=4, rss_mb=300), state=state)
    assert [(start.kind, start.trigger) for start in state.queue][-2:] == [
        ("stacks", "threads"),
        ("snapshot", "threads"),
    ]
    state, _ = play(rules, *threads(*[20] * 8, since_s=8), state=state)
    assert state.name == "ok"
    assert [(start.kind, start.trigger) for start in state.queue] == [("stacks", "threads"), ("snapshot", "threads")]


def test_what_memory_asks_for_does_not_replace_what_a_trigger_asked_for() -> None:
    rules = Rules(threads=10)
    state, _ = play(rules, *threads(1, 1, rss_mb=150))  # warning: a snapshot runs
    state, _ = play(rules, *threads(20, 20, since_s=4, rss_mb=150), state=state)
    state, _ = play(rules, *threads(20, 20, since_s=8, rss_mb=300), state=state)
    assert [(start.kind, start.trigger) for start in state.queue] == [
        ("stacks", ""), ("snapshot", ""), ("stacks", "threads"), ("snapshot", "threads"),
    ]  # fmt: skip


def test_no_profiling_leaves_snapshots() -> None:
    _, effects = play(Rules(threads=10), *threads(20, 20), profile=False)
    assert starts(effects) == [("snapshot", "threads", 10)]


def test_every_trigger_has_its_actions() -> None:
    for trigger in ("cpu", "latency", "fds", "threads", "stall", "pressure:cpu:some", "pressure:memory:full"):
        turn = triggers.Turn(True, triggers.Reading(trigger, 1, 1, "s", "words", process()))
        effects: list[Effect] = []
        state = plan.answer(State(), turn, Policy(LEVELS), process(), 0.0, effects)
        assert state.queue and all(start.kind in plan.COST_BYTES for start in state.queue)


def test_samples_come_at_the_pace_that_triggers_need() -> None:
    assert Rules(probing=True, response_s=1.0).pace_s == math.inf
    assert Rules(cpu=0.9).pace_s == 2.0
    assert Rules(cpu=0.9, window_s=6).pace_s == pytest.approx(0.4)
    assert Rules(stall_s=0.5).pace_s == 0.2
    state, _ = play(Rules(threads=10), reading(0, process()))
    assert state.wait_s == 2.0
    state, _ = play(Rules(), reading(0, process()))
    assert state.wait_s == 5.0
