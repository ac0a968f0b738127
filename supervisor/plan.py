"""Which actions start, on whom and when: budgets, cooldowns, room. Pure; a part of `decide`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from supervisor.model import STATES, ActionEnded, Declined, Effect, EndLife, Event, Hurry, Process, Sample, Start, Stop
from supervisor.policy import (
    MIB,
    QUIET_S,
    SHORTEST_WAIT_S,
    Decision,
    Policy,
    State,
    growing_most,
    growth_bytes,
)
from supervisor.quantities import human_bytes, human_duration
from supervisor.triggers import Turn

_SWITCH_BYTES = 16 * MIB
_MOST_PASSED_OVER = 8
_ANEW = "another process"  # the cooldown of growth that is attributed anew
# A process that is stopped to be read has grown by this much at least: it is the burst, not its neighbour.
_FREEZE_GROWTH_BYTES = 8 * MIB
# The rest waits that long for the reading of a stopped process; it takes a fraction of it.
_FROZEN_S = 1.0
_WORKING_CORES = 0.5
_HURRY_EVERY_S = 1.0
# A restart waits that long for evidence.
_EVIDENCE_S = 5.0

# What entering a state starts, most telling first. `growth` runs beside the others, which run one at a time.
ACTIONS: Mapping[str, tuple[str, ...]] = {
    "warning": ("growth", "snapshot"),
    "critical": ("growth", "stacks", "snapshot"),
    "profiling": ("growth", "stacks", "cpu-profile", "snapshot", "heap-profile"),
}
# What a trigger starts. What a state of memory asks for goes first, and ends what runs for a trigger.
TRIGGERED: Mapping[str, tuple[str, ...]] = {
    "cpu": ("cpu-profile",),
    "latency": ("stacks", "cpu-profile"),
    "fds": ("stacks", "snapshot"),
    "threads": ("stacks", "snapshot"),
    "stall": ("stacks",),
    "pressure:memory": ("snapshot", "growth"),
    "pressure": ("snapshot",),
}
# What an action takes of the limit while it runs: a worker of guard's and a profiler (measured, rounded up).
COST_BYTES: Mapping[str, int] = {
    "snapshot": 16 * MIB,
    "stacks": 20 * MIB,
    "growth": 20 * MIB,
    "cpu-profile": 32 * MIB,
    "heap-profile": 32 * MIB,
}


def stop_growth(state: State, reason: str, effects: list[Effect]) -> State:
    if state.growing is None or state.growth_stopping:
        return state
    effects.append(Stop("growth", reason))
    return replace(state, growth_stopping=True)


def begin(
    state: State,
    sample: Sample,
    policy: Policy,
    culprit: Process | None,
    now_s: float,
    effects: list[Effect],
    reason: str,
) -> State:
    """Queue what the state asks for, within budget and cooldown."""
    wanted = _wanted(state.name, policy, culprit)
    if state.outside:
        wanted = tuple(kind for kind in wanted if kind == "snapshot")
    elif culprit is None:
        return state
    pid, ticks = culprit.identity if culprit is not None else (0, 0)
    fresh: list[Start] = []
    for kind in wanted:
        if kind == "growth" and (state.growing is not None or any(start.kind == "growth" for start in state.queue)):
            continue
        refusal = _refusal(state, kind, "", policy, now_s)
        if refusal and kind == "growth" and policy.profile and state.followed not in (None, (pid, ticks)):
            continue  # `follow_growth` has the word on another process
        if refusal:
            fields = {"action": kind, "state": state.name, "pid": pid, "reason": refusal}
            effects.append(Event("info", "action.skipped", fields))
        else:
            fresh.append(Start(kind, state.name, pid, reason, start_ticks=ticks))
            state = _spend(state, kind, now_s)
    if fresh and state.busy in ("cpu-profile", "heap-profile") and state.busy_for:  # the others take moments
        effects.append(Stop(state.busy, f"memory comes before {state.busy_for}"))
    # What the higher state asks for goes first; what it repeats replaces the lower state's.
    kinds = {start.kind for start in fresh}
    kept = (start for start in state.queue if start.trigger or start.asked or start.kind not in kinds)
    return replace(state, queue=(*fresh, *kept))


def answer(
    state: State, turn: Turn, policy: Policy, culprit: Process | None, now_s: float, effects: list[Effect]
) -> State:
    """A trigger turned: queue what it asks for, within budget and cooldown; growth ends with what asked for it."""
    trigger = turn.reading.trigger
    if not turn.fired:
        if state.growing_for == trigger and state.level == 0:
            state = stop_growth(state, f"the {trigger} trigger has cleared", effects)
        return state
    names = (trigger, trigger.rpartition(":")[0], trigger.partition(":")[0])
    wanted = next(TRIGGERED[name] for name in names if name in TRIGGERED)
    fresh: list[Start] = []
    for kind in wanted:
        process = culprit if kind == "growth" else turn.reading.process
        if process is None or (kind == "growth" and state.growing is not None):
            continue
        refusal = _refusal(state, kind, trigger, policy, now_s)
        if refusal:
            fields = {"action": kind, "state": state.name, "trigger": trigger, "pid": process.pid, "reason": refusal}
            effects.append(Event("info", "action.skipped", fields))
        else:
            # Answers come late from one that waits, too, and a profile of busy code would show nothing of it.
            waits = trigger == "latency" and state.watched.busy.rates.get(process.identity, 0.0) < _WORKING_CORES
            start = Start(
                kind, state.name, process.pid, turn.reading.words, start_ticks=process.start_ticks, trigger=trigger,
                idle=waits and kind == "cpu-profile",
            )  # fmt: skip
            fresh.append(start)
            state = _spend(state, kind, now_s, trigger)
    return replace(state, queue=(*state.queue, *fresh))


def account(kind: str, trigger: str = "") -> str:
    """What an action is counted under. Triggers have a budget of their own: what they take, memory doesn't lack."""
    return f"{kind} by triggers" if trigger else kind


def _wanted(state: str, policy: Policy, culprit: Process | None) -> tuple[str, ...]:
    """Where objects can be counted heap evidence is cheap: from the first state on, to see what grew by the next."""
    wanted = ACTIONS[state]
    if not policy.heap_agent and not (culprit is not None and policy.counts(culprit.pid)):
        return wanted
    first = 2 if "stacks" in wanted else 1
    rest = (kind for kind in wanted[first:] if kind != "heap-profile")
    return (*wanted[:first], "heap-profile", *rest)


def _refusal(state: State, kind: str, trigger: str, policy: Policy, now_s: float, *, since: str = "") -> str:
    if kind != "snapshot" and not policy.profile:
        return "profiling is off (--no-profiling)"
    if state.spent.get(account(kind, trigger), 0) >= policy.max_actions:
        return f"the budget of {policy.max_actions} a run is spent (--max-actions)"
    last_s = state.started_s.get((kind, since or trigger or state.name))
    if last_s is not None and now_s - last_s < policy.cooldown_s:
        left = human_duration(policy.cooldown_s - (now_s - last_s))
        return f"{left} of the cooldown are left (--cooldown)"
    return ""


def _spend(state: State, kind: str, now_s: float, trigger: str = "") -> State:
    name = account(kind, trigger)
    return replace(
        state,
        spent={**state.spent, name: state.spent.get(name, 0) + 1},
        started_s={**state.started_s, (kind, trigger or state.name): now_s},
    )


def follow_growth(state: State, sample: Sample, policy: Policy, now_s: float, effects: list[Effect]) -> State:
    """Growth attribution follows who grows: on to another when that one clearly grows more, or the first has stopped.

    When the process that it followed has ended, it begins anew for the next one that clearly grows.
    """
    grower = growing_most(sample, state.baselines)
    if state.level == 0 or state.outside or grower is None or not policy.profile:
        return state
    if state.growing is None:
        return _begin_anew(state, policy, grower, now_s, effects)
    if state.growth_stopping or state.growing == grower.pid:
        return state
    current = next((process for process in sample.processes if process.pid == state.growing), None)
    held = growth_bytes(current, state.baselines) if current is not None else 0.0
    stopped = current is not None and _has_stopped(current, state)
    if growth_bytes(grower, state.baselines) <= (0.0 if stopped else 2 * max(held, 0.0)) + _SWITCH_BYTES:
        return state
    refused = state.spent.get("growth", 0) >= policy.max_actions
    if refused and stopped:  # better than to follow nobody: it may grow again
        return state
    if stopped:
        ended, reason = f"process {grower.pid} grows, not this one", "it grows, the process before it has stopped"
    else:
        ended, reason = f"process {grower.pid} grows more", "it grows more than the process before it"
    state = stop_growth(state, ended, effects)
    if not refused and not any(queued.kind == "growth" for queued in state.queue):
        start = Start("growth", state.name, grower.pid, reason, start_ticks=grower.start_ticks)
        state = replace(_spend(state, "growth", now_s), queue=(start, *state.queue))
    return state


def _has_stopped(process: Process, state: State) -> bool:
    """Whether it takes nothing any more; for longer, the more was spent, as processes may grow in turns."""
    baseline = state.baselines.get(process.identity)
    patience_s = QUIET_S * 2 ** max(0, state.spent.get("growth", 0) - 1)
    return baseline is None or (baseline.quiet and baseline.quiet_s >= patience_s)


def _begin_anew(
    state: State,
    policy: Policy,
    culprit: Process,
    now_s: float,
    effects: list[Effect],
) -> State:
    if state.followed in (None, culprit.identity) or any(queued.kind == "growth" for queued in state.queue):
        return state
    if growth_bytes(culprit, state.baselines) < _SWITCH_BYTES:
        return state
    refusal = _refusal(state, "growth", "", policy, now_s, since=_ANEW)
    if refusal:  # told once of a process, and of so many
        if culprit.identity in state.passed_over or len(state.passed_over) >= _MOST_PASSED_OVER:
            return state
        fields = {"action": "growth", "state": state.name, "pid": culprit.pid, "reason": refusal}
        effects.append(Event("info", "action.skipped", fields))
        return replace(state, passed_over=state.passed_over | {culprit.identity})
    reason = "it grows, and the process before it is followed no more"
    start = Start("growth", state.name, culprit.pid, reason, start_ticks=culprit.start_ticks)
    state = _spend(state, "growth", now_s)
    return replace(state, started_s={**state.started_s, ("growth", _ANEW): now_s}, queue=(start, *state.queue))


def before_the_end(
    state: State,
    sample: Sample,
    rate: float,
    policy: Policy,
    culprit: Process | None,
    now_s: float,
    effects: list[Effect],
) -> State:
    """Less than two waits are left before there is no room for evidence: stop the guilty process to read it.

    A stopped process can't allocate. Where its growth is attributed already, that makes haste instead.
    """
    if rate <= 0 or culprit is None or not policy.profile or state.outside:
        return state
    if growth_bytes(culprit, state.baselines) < _FREEZE_GROWTH_BYTES:
        return state
    left_s = max(0, sample.headroom_bytes - COST_BYTES["growth"]) / rate
    begun_s = max((at for (kind, _), at in state.started_s.items() if kind == "growth"), default=now_s)
    ready = state.growing == culprit.pid and now_s - begun_s >= 2 * policy.ready_s
    if left_s >= (2 * SHORTEST_WAIT_S if ready else policy.ready_s):
        return state
    reason = f"the limit is {human_duration(sample.headroom_bytes / rate)} away at {human_bytes(rate)}/s"
    freeze = culprit.state not in ("T", "t")  # who stopped it may continue it
    if state.growing is not None:
        if state.growing == culprit.pid and now_s - (state.hurried_s or float("-inf")) >= _HURRY_EVERY_S:
            effects.append(Hurry("growth", culprit.pid, reason, freeze=freeze))
            state = replace(state, hurried_s=now_s, frozen_s=now_s)
        return state
    queue = tuple(start for start in state.queue if start.kind != "growth")
    if len(queue) == len(state.queue):  # no cooldown holds back the last chance, but the budget does
        if state.spent.get("growth", 0) >= policy.max_actions:
            return state
        state = _spend(state, "growth", now_s)
    start = Start(
        "growth", STATES[max(1, state.level)], culprit.pid, reason, freeze=freeze, start_ticks=culprit.start_ticks
    )
    return replace(state, queue=(start, *queue), hurried_s=now_s, frozen_s=now_s)


def restart_in_time(
    state: State,
    sample: Sample,
    policy: Policy,
    culprit: Process | None,
    urgency: str,
    now_s: float,
    effects: list[Effect],
) -> State:
    """Past --restart-at: evidence, if there is none yet, then the target's end, for another life of it."""
    level = policy.restart_at
    if level is None or state.ended:
        return state
    over = sample.value(level.metric) >= level.threshold(sample.limit_bytes)
    state = replace(state, over_restart=state.over_restart + 1 if over else 0)
    if state.ending_s is None:
        if not over or (state.over_restart < 2 and not urgency):
            return state
        state = replace(state, ending_s=now_s)
        missing = [kind for kind in ("stacks", "snapshot") if not state.spent.get(kind)]
        if culprit is not None and policy.profile:
            for kind in missing:
                start = Start(kind, state.name, culprit.pid, "before the restart", start_ticks=culprit.start_ticks)
                state = replace(_spend(state, kind, now_s), queue=(*state.queue, start))
    return state


def end_for_restart(state: State, sample: Sample | None, policy: Policy, now_s: float, effects: list[Effect]) -> State:
    """Once the evidence is there, or was waited for long enough."""
    level = policy.restart_at
    if level is None or sample is None or state.ending_s is None or state.ended:
        return state
    if (state.queue or state.busy is not None) and now_s - state.ending_s < _EVIDENCE_S:
        return state
    use = human_bytes(sample.value(level.metric))
    reason = f"{use} are past --restart-at, {human_bytes(level.threshold(sample.limit_bytes))}"
    effects.append(EndLife(reason))
    return replace(state, ended=True)


def after(state: State, ended: ActionEnded, policy: Policy, now_s: float) -> Decision:
    if ended.kind == "growth":
        state = replace(state, growing=None, growing_for="", growth_stopping=False, frozen_s=None)
    elif state.busy == ended.kind:
        state = replace(state, busy=None, busy_for="")
    effects: list[Effect] = []
    return advance(state, state.last, policy, now_s, effects)


def _skipped(level: str, start: Start, reason: str, hint: str) -> list[Effect]:
    """Told in the log, and to whoever asked for it."""
    fields: dict[str, object] = {"action": start.kind, "state": start.state, "pid": start.pid, "reason": reason}
    fields |= {"trigger": start.trigger} if start.trigger else {}
    told: list[Effect] = [Event(level, "action.skipped", fields)]
    return [*told, Declined(start.asked, reason, hint)] if start.asked else told


def advance(state: State, sample: Sample | None, policy: Policy, now_s: float, effects: list[Effect]) -> Decision:
    """Start what is queued and may start now; what there is no room for is skipped, and cheaper things stay."""
    living = {process.identity for process in sample.processes} if sample else set()
    rest: list[Start] = []
    frozen = state.frozen_s is not None and now_s - state.frozen_s < _FROZEN_S
    for start in state.queue:
        blocked = state.growing is not None if start.kind == "growth" else state.busy is not None or frozen
        if blocked:
            rest.append(start)
            continue
        if start.kind == "growth":
            state = replace(state, followed=(start.pid, start.start_ticks))
        room = sample.headroom_bytes if sample else 0
        if not living or (start.kind != "snapshot" and (start.pid, start.start_ticks) not in living):
            effects += _skipped("info", start, "the process is gone", "guard ctl state")
        elif room < COST_BYTES[start.kind] and not start.freeze:
            reason = f"headroom of {human_bytes(room)} is less than it takes ({human_bytes(COST_BYTES[start.kind])})"
            effects += _skipped("warning", start, reason, "guard ctl snapshot, which takes least")
        else:
            effects.append(start)
            if start.kind == "growth":
                state = replace(state, growing=start.pid, growing_for=start.trigger, passed_over=frozenset())
            else:
                asks = "what guard ctl asked for" if start.asked else start.trigger and f"the {start.trigger} trigger"
                state = replace(state, busy=start.kind, busy_for=asks)
    state = end_for_restart(replace(state, queue=tuple(rest)), sample, policy, now_s, effects)
    return Decision(state, tuple(effects))
