"""What is asked for by `guard ctl`, decided: pure, a part of `decide`.

Somebody who asks has a reason of their own: no cooldown and no budget holds an action back. What there is no room for
is refused all the same, and so is what this run can't do, with what to type for one that can.
"""

from __future__ import annotations

from dataclasses import replace

from supervisor import plan
from supervisor.model import VERBS, Asked, Declined, Effect, EndLife, Start
from supervisor.policy import Decision, Policy, State, guilty

# More than that in a row is no question any more.
MOST_QUEUED = 8


def decide(state: State, asked: Asked, policy: Policy, now_s: float) -> Decision:
    """One request."""
    if VERBS[asked.verb]:
        return _action(state, asked, policy, now_s)
    refused = _no_end(asked, policy)
    if refused is not None:
        return Decision(state, (refused,))
    return Decision(state, (EndLife(_reason(asked), asked.verb),))


def _reason(asked: Asked) -> str:
    return f"asked by guard ctl (uid {asked.uid})"


def _no_end(asked: Asked, policy: Policy) -> Declined | None:
    """Why this run can't be stopped or restarted by guard."""
    if not policy.own:
        return Declined(asked.number, "guard only watches these processes, it didn't start them", "kill PID")
    if asked.verb == "restart" and not policy.lives:
        hint = "guard run --restart on-failure -- COMMAND   (or --reload)"
        return Declined(asked.number, "this run was started for one life", hint)
    return None


def _action(state: State, asked: Asked, policy: Policy, now_s: float) -> Decision:
    kind, sample = VERBS[asked.verb], state.last
    if kind not in plan.COST_BYTES:
        return _decline(state, asked, f"{asked.verb} is not available in this guard", "guard doctor")
    if kind != "snapshot" and not policy.profile:
        return _decline(state, asked, "profiling is off (--no-profiling)", "guard run without --no-profiling")
    if sum(1 for start in state.queue if start.asked) >= MOST_QUEUED:
        return _decline(state, asked, f"{MOST_QUEUED} actions wait for their turn already", "guard ctl state")
    if sample is None or not sample.processes:
        return _decline(state, asked, "there is no process to look at", "guard ctl state")
    if asked.pid is None:
        process = guilty(sample, state.baselines) or sample.processes[0]
    else:
        found = next((process for process in sample.processes if process.pid == asked.pid), None)
        if found is None:
            return _decline(state, asked, f"process {asked.pid} is none of the tree", "guard ctl state")
        process = found
    start = Start(
        kind, state.name, process.pid, _reason(asked), start_ticks=process.start_ticks, asked=asked.number,
        duration_s=asked.duration_s if kind in ("cpu-profile", "heap-profile") else None,
    )  # fmt: skip
    effects: list[Effect] = []
    return plan.advance(replace(state, queue=(*state.queue, start)), sample, policy, now_s, effects)


def _decline(state: State, asked: Asked, reason: str, hint: str) -> Decision:
    return Decision(state, (Declined(asked.number, reason, hint),))
