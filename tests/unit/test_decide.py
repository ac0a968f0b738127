"""Histories: events in, effects out. No clock, no process."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import decide
from supervisor.decide import Level, Policy, State
from supervisor.model import STATES, ActionEnded, Effect, Event, Process, Sample, Start, Stop

MB = 10**6
GB = 10**9
POLICY = Policy(
    (
        Level("warning", "rss", 100 * MB),
        Level("critical", "rss", 200 * MB),
        Level("profiling", "rss", 400 * MB),
    )
)


def process(pid: int = 10, rss_mb: float = 50, **more: object) -> Process:
    return Process(pid, 1, 100 + pid, more.pop("name", "app"), "S", int(rss_mb * MB), **more)  # type: ignore[arg-type]


def reading(at_s: float, *processes: Process, limit: int = 16 * GB, use: int | None = None, **more: object) -> Sample:
    rss = sum(p.rss_bytes or 0 for p in processes)
    return Sample(at_s, processes, rss, limit, rss if use is None else use, **more)  # type: ignore[arg-type]


def play(
    *events: Sample | ActionEnded | tuple[float, ActionEnded], policy: Policy = POLICY
) -> tuple[State, list[list[Effect]]]:
    """Replay a history; the state at the end and each event's effects."""
    state, now, effects = State(), 0.0, []
    for entry in events:
        event = entry
        if isinstance(event, tuple):
            now, event = event
        elif isinstance(event, Sample):
            now = event.at_s
        decision = decide.decide(state, event, policy, now)
        state = decision.state
        effects.append(list(decision.effects))
    return state, effects


def changes(effects: list[list[Effect]]) -> list[tuple[str, str]]:
    return [
        (str(e.fields["from"]), str(e.fields["to"]))
        for step in effects
        for e in step
        if isinstance(e, Event) and e.name == "state.changed"
    ]


def starts(effects: list[list[Effect]]) -> list[tuple[str, str, int]]:
    return [(e.kind, e.state, e.pid) for step in effects for e in step if isinstance(e, Start)]


def skips(effects: list[list[Effect]]) -> list[tuple[str, str]]:
    return [
        (str(e.fields["action"]), str(e.fields["reason"]))
        for step in effects
        for e in step
        if isinstance(e, Event) and e.name == "action.skipped"
    ]


@pytest.mark.parametrize("pid", [10, 11])
def test_who_can_count_its_objects_does_so_from_the_first_state_on(pid: int) -> None:
    policy = replace(POLICY, counts=lambda asked: asked == 10)
    ended = ActionEnded("heap-profile", pid, "ok")
    _, effects = play(reading(0, process(pid, 110)), reading(1, process(pid, 115)), (2.0, ended), policy=policy)
    counted = [start for start in starts(effects) if start[0] == "heap-profile"]
    assert counted == ([("heap-profile", "warning", 10)] if pid == 10 else [])


def test_one_sample_past_the_threshold_is_not_enough() -> None:
    state, effects = play(
        reading(0, process(rss_mb=50)), reading(5, process(rss_mb=120)), reading(10, process(rss_mb=60))
    )
    assert state.name == "ok"
    assert changes(effects) == []


def test_second_sample_in_a_row_rises_and_says_why() -> None:
    _, effects = play(reading(0, process(rss_mb=50)), reading(5, process(rss_mb=120)), reading(10, process(rss_mb=121)))
    (event,) = [e for e in effects[2] if isinstance(e, Event)]
    assert (event.level, event.name) == ("warning", "state.changed")
    assert event.fields == {
        "from": "ok",
        "to": "warning",
        "rss_bytes": 121 * MB,
        "use_bytes": 121 * MB,
        "threshold_bytes": 100 * MB,
        "metric": "rss",
        "reason": "second sample in a row past the threshold",
        "headroom_bytes": 16 * GB - 121 * MB,
        "limit_bytes": 16 * GB,
        "time_to_limit_s": pytest.approx((16 * GB - 121 * MB) / (0.2 * MB)),
        "guilty_pid": 10,
        "guilty_name": "app",
        "guilty_rss_bytes": 121 * MB,
    }
    assert starts(effects) == [("growth", "warning", 10), ("snapshot", "warning", 10)]


def test_a_jump_past_all_thresholds_passes_every_state() -> None:
    state, effects = play(
        reading(0, process(rss_mb=50)), reading(5, process(rss_mb=500)), reading(10, process(rss_mb=510))
    )
    assert changes(effects) == [("ok", "warning"), ("warning", "critical"), ("critical", "profiling")]
    assert starts(effects) == [("growth", "profiling", 10), ("stacks", "profiling", 10)]
    assert [start.kind for start in state.queue] == ["cpu-profile", "snapshot", "heap-profile"]


def test_at_once_when_the_limit_is_near_in_time() -> None:
    policy = replace(POLICY, interval_s=5.0)
    # 100 MB/s towards a limit 180 MB away: 1.8 s, less than two waits
    _, effects = play(
        reading(0, process(rss_mb=20), limit=300 * MB),
        reading(1, process(rss_mb=120), limit=300 * MB),
        policy=policy,
    )
    assert changes(effects) == []  # waits are short already, so the limit is more than two of them away
    state = State(last=reading(0, process(rss_mb=20), limit=300 * MB), wait_s=5.0)
    decision = decide.decide(state, reading(1, process(rss_mb=120), limit=300 * MB), policy, 1.0)
    (event,) = [e for e in decision.effects if isinstance(e, Event)]
    assert event.fields["reason"] == "the limit is 1.8 s away at 100 MB/s"


def test_at_once_when_headroom_is_under_a_tenth() -> None:
    _, effects = play(reading(0, process(rss_mb=460), limit=500 * MB))
    assert changes(effects) == [("ok", "warning"), ("warning", "critical"), ("critical", "profiling")]
    assert "headroom 40 MB is under 10 % of the limit" in str(effects[0][0])


def test_down_only_below_90_percent_for_10_seconds() -> None:
    up = [reading(t, process(rss_mb=120)) for t in (0, 5)]
    state, effects = play(*up, *[reading(t, process(rss_mb=95)) for t in (10, 20, 30, 40)])
    assert state.name == "warning"
    state, effects = play(*up, *[reading(t, process(rss_mb=80)) for t in (10, 15, 19.9)])
    assert state.name == "warning"
    state, effects = play(*up, *[reading(t, process(rss_mb=80)) for t in (10, 15, 20)])
    assert state.name == "ok"
    assert changes(effects)[-1] == ("warning", "ok")
    # A moment above 90 % starts the ten seconds anew.
    state, _ = play(*up, *[reading(t, process(rss_mb=m)) for t, m in ((10, 80), (15, 91), (20, 80), (29, 80))])
    assert state.name == "warning"


def test_back_to_ok_stops_growth_once() -> None:
    history = [reading(t, process(rss_mb=120)) for t in (0, 5)] + [
        reading(t, process(rss_mb=50)) for t in range(10, 30, 5)
    ]
    _, effects = play(*history)
    assert [e for step in effects for e in step if isinstance(e, Stop)] == [Stop("growth", "memory is back to ok")]


def test_from_profiling_it_falls_to_the_state_that_still_holds() -> None:
    up = [reading(t, process(rss_mb=500)) for t in (0, 5)]
    state, effects = play(*up, *[reading(t, process(rss_mb=190)) for t in (10, 20)])
    assert state.name == "critical"  # 190 is still 90 % of 200 and more
    state, effects = play(*up, *[reading(t, process(rss_mb=150)) for t in (10, 20)])
    assert state.name == "warning"
    assert changes(effects)[-1] == ("profiling", "warning")


def test_a_neighbour_in_the_cgroup_profiles_nobody() -> None:
    policy = Policy(
        (
            Level("warning", "cgroup", share=0.6),
            Level("critical", "cgroup", share=0.75),
            Level("profiling", "cgroup", share=0.875),
        )
    )
    history = [reading(t, process(rss_mb=50), limit=1000 * MB, use=700 * MB, in_cgroup=True) for t in (0, 5)]
    _, effects = play(*history, policy=policy)
    assert changes(effects) == [("ok", "warning")]
    (event,) = [e for e in effects[1] if isinstance(e, Event)]
    assert event.fields["reason"] == "outside-tree"
    assert "guilty_pid" not in event.fields
    assert starts(effects) == [("snapshot", "warning", 10)]
    # Then the tree itself takes over: now somebody is guilty.
    later = reading(20, process(rss_mb=600), limit=1000 * MB, use=700 * MB, in_cgroup=True)
    ended = (15.0, ActionEnded("snapshot", 10, "ok"))
    _, effects = play(*history, ended, later, policy=policy)
    assert ("growth", "warning", 10) in starts(effects)


def test_the_growing_process_is_guilty_not_the_largest() -> None:
    model, worker = process(11, 300, name="model"), process(12, 20, name="worker")
    history = [reading(t, model, process(12, 20 + 4 * t, name="worker")) for t in range(0, 100, 5)]
    _, effects = play(*history)
    assert starts(effects)[0] == ("growth", "profiling", 12) or starts(effects)[0][2] in (11, 12)
    last = history[-1]
    state, _ = play(*history)
    culprit = decide.guilty(last, state.baselines)
    assert culprit is not None and culprit.pid == worker.pid
    still = reading(200, model, process(12, 20, name="worker"))
    culprit = decide.guilty(still, {})
    assert culprit is not None and culprit.pid == model.pid  # nobody grows: the largest


def test_growth_follows_to_the_process_that_grows_more() -> None:
    a, b = 10, 11
    history: list[Sample | ActionEnded | tuple[float, ActionEnded]] = [
        reading(0, process(a, 120), process(b, 10)),
        reading(5, process(a, 125), process(b, 10)),
        reading(10, process(a, 126), process(b, 60)),
    ]
    state, effects = play(*history)
    assert Stop("growth", f"process {b} grows more") in effects[2]
    assert state.growing == a
    state, effects = play(*history, (11.0, ActionEnded("growth", a, "ok")))
    assert starts(effects[3:]) == [("growth", "warning", b)]
    assert state.growing == b


def test_growth_leaves_a_process_that_has_stopped_for_one_that_grows() -> None:
    """A filler takes 120 MB at once and sleeps; then one leaks, and when that is gone another."""
    filler, first, second = 10, 11, 12

    def at(t: float) -> Sample:
        others = [process(second, 10 + 5 * max(0, t - 20))]
        if t <= 20:
            others.append(process(first, 10 + 5 * t))
        return reading(t, process(filler, 10 if t == 0 else 130), *others)

    history: list[Sample | ActionEnded | tuple[float, ActionEnded]] = [at(t) for t in range(21)]
    state, effects = play(*history)
    assert starts(effects)[0] == ("growth", "warning", filler)
    (stop,) = (effect for step in effects for effect in step if isinstance(effect, Stop))
    assert stop == Stop("growth", f"process {first} grows, not this one")
    history.append((20.0, ActionEnded("growth", filler, "ok")))
    history += [at(21), (21.5, ActionEnded("growth", first, "failed")), *(at(t) for t in range(22, 40))]
    state, effects = play(*history)
    assert [start[2] for start in starts(effects) if start[0] == "growth"] == [filler, first, second]
    assert state.growing == second


def test_growth_stays_with_one_that_has_stopped_when_the_budget_is_spent() -> None:
    a, b = 10, 11
    history = [reading(t, process(a, 110 if t == 0 else 130), process(b, 10 + 10 * t)) for t in range(10)]
    state, effects = play(*history, policy=replace(POLICY, max_actions=1))
    assert not [effect for step in effects for effect in step if isinstance(effect, Stop)]
    assert state.growing == a


def test_what_grows_again_after_it_gave_back_is_growing() -> None:
    sizes = [100, 120, 140, 30, 31, 32, 33, 34, 35, 36, 37]
    state, _ = play(*[reading(t, process(10, size)) for t, size in enumerate(sizes)])
    (baseline,) = state.baselines.values()
    assert not baseline.quiet
    state, _ = play(*[reading(t, process(10, size)) for t, size in enumerate([*sizes, 37, 37, 37, 37, 37])])
    (baseline,) = state.baselines.values()
    assert baseline.quiet


@pytest.mark.parametrize(
    ("step_mb", "every_s", "interval_s"), [(0.2, 5, 5), (2, 20, 5), (5, 30, 5), (10, 60, 5), (0.3, 8, 1)]
)
def test_a_slow_leak_is_guilty_beside_a_large_process_that_is_still(
    step_mb: float, every_s: int, interval_s: int
) -> None:
    """Its steps may be further apart than the samples."""
    large, leak = process(11, 1000, name="large"), 12
    at = range(0, 900, interval_s)
    history = [reading(t, large, process(leak, 300 + step_mb * (t // every_s))) for t in at]
    state, named = State(), []
    for sample in history:
        state = decide.decide(state, sample, POLICY, sample.at_s).state
        culprit = decide.guilty(sample, state.baselines)
        named.append(culprit is not None and culprit.pid == leak)
    settled = named[len(named) // 2 :]
    assert sum(settled) > 0.9 * len(settled)


def test_growth_does_not_spend_its_budget_on_processes_that_grow_in_turns() -> None:
    workers = [20, 21, 22, 23]

    def at(t: int) -> Sample:
        return reading(t, *[process(pid, 60 + 24 * ((t + 24 - 8 * place) // 32)) for place, pid in enumerate(workers)])

    state, spent = State(), []
    for t in range(120):
        decision = decide.decide(state, at(t), POLICY, float(t))
        state = decision.state
        for effect in decision.effects:
            if isinstance(effect, Stop):
                state = decide.decide(state, ActionEnded("growth", state.growing or 0, "ok"), POLICY, float(t)).state
        spent.append(state.spent.get("growth", 0))
    assert spent[60] < POLICY.max_actions


def test_one_action_at_a_time_beside_growth() -> None:
    up = [reading(t, process(rss_mb=500)) for t in (0, 5)]
    _, effects = play(*up, (6.0, ActionEnded("stacks", 10, "ok")), (9.0, ActionEnded("cpu-profile", 10, "ok")))
    assert starts(effects) == [
        ("growth", "profiling", 10),
        ("stacks", "profiling", 10),
        ("cpu-profile", "profiling", 10),
        ("snapshot", "profiling", 10),
    ]


def test_cooldown_and_budget_are_said_not_silent() -> None:
    def cycle(t: float) -> list[Sample | ActionEnded | tuple[float, ActionEnded]]:
        up = [reading(t, process(rss_mb=120)), reading(t + 5, process(rss_mb=120))]
        ended = [(t + 6, ActionEnded("snapshot", 10, "ok"))]
        down = [reading(t + 10 + d, process(rss_mb=20)) for d in (0, 5, 10)]
        return [*up, *ended, *down, (t + 21, ActionEnded("growth", 10, "ok"))]

    _, effects = play(*cycle(0), *cycle(30))
    assert skips(effects) == [
        ("growth", "4 min 30 s of the cooldown are left (--cooldown)"),
        ("snapshot", "4 min 30 s of the cooldown are left (--cooldown)"),
    ]
    _, effects = play(*cycle(0), *cycle(400), policy=replace(POLICY, max_actions=1))
    assert skips(effects) == [
        ("growth", "the budget of 1 a run is spent (--max-actions)"),
        ("snapshot", "the budget of 1 a run is spent (--max-actions)"),
    ]


def test_without_profiling_only_snapshots_and_a_reason() -> None:
    _, effects = play(*[reading(t, process(rss_mb=500)) for t in (0, 5)], policy=replace(POLICY, profile=False))
    assert starts(effects) == [("snapshot", "profiling", 10)]
    assert set(skips(effects)) == {
        (kind, "profiling is off (--no-profiling)") for kind in ("growth", "stacks", "cpu-profile", "heap-profile")
    }


def test_no_room_for_an_action_skips_it_and_takes_the_cheaper_one() -> None:
    policy = Policy(
        (Level("warning", "rss", 10 * MB), Level("critical", "rss", 20 * MB), Level("profiling", "rss", 30 * MB))
    )
    _, effects = play(
        reading(0, process(rss_mb=82), limit=100 * MB), reading(1, process(rss_mb=82), limit=100 * MB), policy=policy
    )
    assert starts(effects) == [("snapshot", "profiling", 10)]
    assert {action for action, _ in skips(effects)} == {"growth", "stacks", "cpu-profile"}


def test_a_process_that_is_gone_is_not_profiled() -> None:
    history = [reading(t, process(rss_mb=500)) for t in (0, 5)]
    _, effects = play(*history, reading(6, process(11, 450)), (7.0, ActionEnded("stacks", 10, "failed")))
    assert ("cpu-profile", "the process is gone") in skips(effects)


@pytest.mark.parametrize(
    ("headroom", "slope", "interval", "wait"),
    [
        (16 * GB, 0, 5, 5),
        (1000 * decide.MIB, 0, 5, 2.5),
        (1000 * decide.MIB, 1000 * decide.MIB, 5, 0.5),
        (10 * decide.MIB, 0, 5, 0.1),
        (0, 0, 5, 0.1),
        (16 * GB, -1e9, 5, 5),
        (16 * GB, 0, 0.05, 0.05),
    ],
)
def test_wait_follows_headroom(headroom: int, slope: float, interval: float, wait: float) -> None:
    assert decide.next_wait(headroom, slope, interval) == pytest.approx(wait)


megabytes = st.integers(0, 600)


@given(st.lists(st.tuples(st.floats(0.01, 30), st.lists(megabytes, max_size=4)), max_size=40))
def test_any_history_keeps_the_promises(history: list[tuple[float, list[int]]]) -> None:
    state, now = State(), 0.0
    for gap, sizes in history:
        now += gap
        sample = reading(now, *[process(10 + i, mb) for i, mb in enumerate(sizes)], limit=700 * MB)
        before = state
        decision = decide.decide(state, sample, POLICY, now)
        state = decision.state
        moved = changes([list(decision.effects)])
        for low, high in moved:
            rising = STATES.index(high) - STATES.index(low)
            assert rising == 1 or rising < 0
        assert (
            abs(state.level - before.level) >= len([m for m in moved if m[0] != m[1]]) > 0
            or state.level == before.level
        )
        assert min(0.1, POLICY.interval_s) <= state.wait_s <= POLICY.interval_s
        assert len({start.kind for start in state.queue}) == len(state.queue)
        for effect in decision.effects:
            if isinstance(effect, Start):
                assert effect.pid in {p.pid for p in sample.processes} or effect.kind == "snapshot"
        if decision.state.busy and before.busy is None:
            state = decide.decide(state, ActionEnded(decision.state.busy, 10, "ok"), POLICY, now).state
    assert all(count <= POLICY.max_actions for count in state.spent.values())


def test_the_second_sample_comes_soon_after_the_first() -> None:
    state, _ = play(reading(0, process(rss_mb=50)), reading(5, process(rss_mb=120)))
    assert state.wait_s == pytest.approx(0.5)
    state, _ = play(reading(0, process(rss_mb=50)), reading(5, process(rss_mb=120)), reading(5.5, process(rss_mb=120)))
    assert (state.name, state.wait_s) == ("warning", 5.0)


def test_a_process_that_came_between_two_samples_has_grown_by_what_its_parent_does_not_hold() -> None:
    shell = process(10, 5)
    forked = Process(11, 10, 111, "app", "S", 5 * MB)
    large = Process(12, 10, 112, "app", "S", 300 * MB)
    grown = process(10, 12)
    _, effects = play(reading(0, shell), reading(1, grown, forked, large), reading(2, grown, forked, large))
    started = [effect for step in effects for effect in step if isinstance(effect, Start)]
    assert {start.pid for start in started} == {12}
