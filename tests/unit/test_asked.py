"""What guard ctl asks for, decided: histories, as for states."""

from __future__ import annotations

from dataclasses import replace

from supervisor import asked, decide, plan
from supervisor.model import VERBS, ActionEnded, Asked, Declined, Effect, EndLife, Event, Process, Sample, Start, Stop
from supervisor.policy import Level, Policy, State

MB = 10**6
GB = 10**9
POLICY = Policy(tuple(Level(name, "rss", size * MB) for name, size in
                      (("warning", 100), ("critical", 200), ("profiling", 400))), lives=True)  # fmt: skip


def reading(at_s: float, *rss_mb: float, limit: int = 16 * GB) -> Sample:
    """Processes 10, 11, ... of these sizes."""
    processes = tuple(Process(10 + n, 1, 110 + n, "app", "S", int(size * MB)) for n, size in enumerate(rss_mb))
    total = sum(each.rss_bytes or 0 for each in processes)
    return Sample(at_s, processes, total, limit, total)


def play(*events: Sample | ActionEnded | Asked, policy: Policy = POLICY) -> tuple[State, list[Effect]]:
    """The state at the end, and the last event's effects."""
    state, effects, now_s = State(), (), 0.0
    for event in events:
        now_s = event.at_s if isinstance(event, Sample) else now_s
        decision = decide.decide(state, event, policy, now_s)
        state, effects = decision.state, decision.effects
    return state, list(effects)


def declined(*events: Sample | ActionEnded | Asked, policy: Policy = POLICY) -> str:
    _, effects = play(*events, policy=policy)
    (found,) = [effect for effect in effects if isinstance(effect, Declined)]
    assert found.asked == 1 and found.hint
    return found.reason


def test_an_action_starts_on_the_process_that_holds_most() -> None:
    state, effects = play(reading(0, 20, 50), Asked(1, "profile", 1000, duration_s=3.0))
    assert effects == [
        Start("cpu-profile", "ok", 11, "asked by guard ctl (uid 1000)", start_ticks=111, asked=1, duration_s=3.0)
    ]
    assert state.busy == "cpu-profile" and state.spent == {}


def test_or_on_the_one_that_is_named() -> None:
    _, effects = play(reading(0, 20, 50), Asked(1, "stacks", 0, pid=10, duration_s=3.0))
    assert effects == [Start("stacks", "ok", 10, "asked by guard ctl (uid 0)", start_ticks=110, asked=1)]


def test_a_process_elsewhere_is_refused() -> None:
    assert "none of the tree" in declined(reading(0, 20), Asked(1, "stacks", 0, pid=12))


def test_neither_budget_nor_cooldown_hold_it_back_but_room_does() -> None:
    spent = replace(POLICY, max_actions=1)
    done = ActionEnded("stacks", 10, "ok", asked=1)
    _, effects = play(reading(0, 20), Asked(1, "stacks", 0), done, Asked(2, "stacks", 0), policy=spent)
    assert [effect.asked for effect in effects if isinstance(effect, Start)] == [2]
    near = reading(0, 20, limit=30 * MB)
    reason = declined(near, Asked(1, "profile", 0))
    assert reason.startswith("headroom of 10")
    _, effects = play(near, Asked(1, "profile", 0))
    assert [effect.name for effect in effects if isinstance(effect, Event)] == ["action.skipped"]


def test_one_at_a_time_in_turn() -> None:
    state, effects = play(reading(0, 20), Asked(1, "profile", 0), Asked(2, "stacks", 0))
    assert effects == [] and [start.asked for start in state.queue] == [2]
    done = ActionEnded("cpu-profile", 10, "ok", asked=1)
    state, effects = play(reading(0, 20), Asked(1, "profile", 0), Asked(2, "stacks", 0), done)
    assert [effect.asked for effect in effects if isinstance(effect, Start)] == [2] and state.queue == ()


def test_no_queue_without_end() -> None:
    many = [Asked(number, "stacks", 0) for number in range(2, 3 + asked.MOST_QUEUED)]
    state, _ = play(reading(0, 20), Asked(9, "profile", 0), *many)
    assert len(state.queue) == asked.MOST_QUEUED
    assert "wait for their turn" in declined(reading(0, 20), Asked(9, "profile", 0), *many, Asked(1, "stacks", 0))


def test_what_waits_is_told_when_its_process_is_gone() -> None:
    history = (reading(0, 20, 50), Asked(9, "profile", 0), Asked(1, "stacks", 0, pid=10))
    assert "is gone" in declined(*history, replace(reading(1, 20, 50), processes=reading(1, 20, 50).processes[1:]),
                                 ActionEnded("cpu-profile", 11, "ok"))  # fmt: skip


def test_a_state_takes_the_place_of_what_was_asked_for_and_keeps_what_waits() -> None:
    long = (reading(0, 50), Asked(1, "profile", 0), Asked(2, "snapshot", 0))
    state, effects = play(*long, reading(1, 250), reading(2, 250))
    assert Stop("cpu-profile", "memory comes before what guard ctl asked for") in effects
    assert {start.kind for start in state.queue} == {"stacks", "snapshot"}
    assert [start.asked for start in state.queue if start.asked] == [2]


def test_back_to_ok_what_was_asked_for_still_waits() -> None:
    calm = [reading(second, 20) for second in range(3, 20)]
    state, _ = play(reading(0, 50), Asked(1, "profile", 0), Asked(2, "stacks", 0), reading(1, 150), reading(2, 150),
                    *calm)  # fmt: skip
    assert state.level == 0 and [start.asked for start in state.queue] == [2]


def test_restart_and_stop_end_the_life() -> None:
    for verb in ("restart", "stop"):
        _, effects = play(reading(0, 20), Asked(1, verb, 7))
        assert effects == [EndLife("asked by guard ctl (uid 7)", verb)]


def test_what_this_run_cannot_do_is_refused() -> None:
    one_life, watched, off = (
        replace(POLICY, **more) for more in ({"lives": False}, {"own": False}, {"profile": False})
    )
    assert "one life" in declined(Asked(1, "restart", 0), policy=one_life)
    assert isinstance(play(Asked(1, "stop", 0), policy=one_life)[1][0], EndLife)
    assert "only watches" in declined(Asked(1, "stop", 0), policy=watched)
    assert "only watches" in declined(Asked(1, "restart", 0), policy=watched)
    assert "--no-profiling" in declined(reading(0, 20), Asked(1, "profile", 0), policy=off)
    _, effects = play(reading(0, 20), Asked(1, "snapshot", 0), policy=off)
    assert isinstance(effects[0], Start)
    assert "no process" in declined(Asked(1, "stacks", 0))


def test_an_action_that_this_guard_has_not_is_refused(monkeypatch: object) -> None:
    known = dict(plan.COST_BYTES)
    known.pop("heap-profile", None)
    monkeypatch.setattr(plan, "COST_BYTES", known)  # type: ignore[attr-defined]
    assert "not available" in declined(reading(0, 20), Asked(1, "heap", 0))


def test_whatever_a_verb_starts_is_an_action_whose_cost_is_known() -> None:
    assert {kind for kind in VERBS.values() if kind} <= plan.COST_BYTES.keys()
