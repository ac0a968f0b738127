"""What to do, as a pure function: (state, event, policy, now) to (new state, effects).

It reads no clock and touches no process. Histories of events in and effects out are its tests. Every verdict carries
its reason, in words that end up in the log; not acting is an effect with a reason, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from supervisor import asked, plan, triggers
from supervisor.model import STATES, ActionEnded, Asked, Effect, Event, Probe, Process, Sample
from supervisor.policy import (
    MIB,
    SHORTEST_WAIT_S,
    STEP_BYTES,
    Baseline,
    Decision,
    Level,
    Policy,
    State,
    guilty,
)
from supervisor.quantities import human_bytes, human_duration

# A burst has no slope yet: Python can take memory at 800 MiB/s. The assumed rate is earlyoom's idea.
FLOOR_BYTES_PER_S = 200 * MIB
# The fastest that one core touches new memory here: it bounds the processor time that may pass unseen.
BURST_BYTES_PER_S = 1600 * MIB
SHORTEST_CPU_WAIT_S = 0.02
HEADROOM_ALARM = 0.10
CALM_SHARE = 0.90
CALM_S = 10.0
# A process's growth counts from a baseline that follows its RSS with this time constant; of one that stopped, faster.
BASELINE_S = 60.0
QUIET_BASELINE_S = 5.0
SLOPE_S = 0.5
# Gains below this in one wait say nothing of a burst.
_BURST_BYTES = 8 * MIB
# After a first sample past a threshold the second one comes this much sooner.
CONFIRM_SHARE = 0.1


def decide(state: State, event: Sample | ActionEnded | Probe | Asked, policy: Policy, now_s: float) -> Decision:
    """One step."""
    if isinstance(event, Sample):
        return _sampled(state, event, policy, now_s)
    if isinstance(event, Probe):
        return _probed(state, event, policy, now_s)
    if isinstance(event, Asked):
        return asked.decide(state, event, policy, now_s)
    return plan.after(state, event, policy, now_s)


def next_wait(headroom_bytes: float, slope: float, interval_s: float) -> float:
    """Seconds until the next sample: half the time to the limit at the slope or the assumed rate, within bounds."""
    wait = headroom_bytes / (2 * max(slope, FLOOR_BYTES_PER_S))
    return min(max(wait, min(SHORTEST_WAIT_S, interval_s)), interval_s)


def cpu_wait(headroom_bytes: float, wait_s: float) -> float | None:
    """Processor time in which one process could take half the headroom; None when the wait is shorter anyway."""
    seconds = max(SHORTEST_CPU_WAIT_S, headroom_bytes / (2 * BURST_BYTES_PER_S))
    return seconds if seconds < wait_s else None


def _follow(sample: Sample, old: Mapping[tuple[int, int], Baseline]) -> dict[tuple[int, int], Baseline]:
    new: dict[tuple[int, int], Baseline] = {}
    sizes = {process.pid: process.rss_bytes for process in sample.processes}
    for process in sample.processes:
        if process.rss_bytes is None:
            continue
        before = old.get(process.identity)
        if before is None:
            # Who came since the last sample has grown by all that its parent doesn't hold: fork(2) shares the rest.
            parent = sizes.get(process.ppid)
            level = float(process.rss_bytes if not old or parent is None else min(process.rss_bytes, parent))
            new[process.identity] = Baseline(level, sample.at_s, process.rss_bytes, process.rss_bytes, sample.at_s)
            continue
        new[process.identity] = _moved(before, process.rss_bytes, sample.at_s)
    return new


def _moved(before: Baseline, rss_bytes: int, at_s: float) -> Baseline:
    """One sample on. The mark goes down with the RSS at once, so that what grows again after it gave back grows."""
    grew = rss_bytes >= before.mark_bytes + STEP_BYTES
    mark = rss_bytes if grew else min(before.mark_bytes, rss_bytes)
    seen = replace(before, seen_s=at_s, last_bytes=rss_bytes, mark_bytes=mark)
    if grew:
        rhythm_s = at_s - before.grew_s if before.steps else 0.0
        seen = replace(seen, grew_s=at_s, steps=before.steps + 1, rhythm_s=rhythm_s)
    constant_s = QUIET_BASELINE_S if seen.quiet else BASELINE_S
    share = 1 - math.exp(-max(0.0, at_s - before.seen_s) / constant_s)
    return replace(seen, rss_bytes=before.rss_bytes + (rss_bytes - before.rss_bytes) * share)


def _slope(state: State, sample: Sample) -> float:
    if state.last is None or sample.at_s <= state.last.at_s:
        return state.slope
    elapsed = sample.at_s - state.last.at_s
    current = (sample.use_bytes - state.last.use_bytes) / elapsed
    share = min(1.0, elapsed / SLOPE_S)
    return state.slope + (current - state.slope) * share


def _burst(state: State, sample: Sample, slope: float) -> float:
    """The rate that counts for what comes next: the smoothed one lags behind a burst."""
    if state.last is None or sample.at_s <= state.last.at_s:
        return slope
    gained = sample.use_bytes - state.last.use_bytes
    return max(slope, gained / (sample.at_s - state.last.at_s)) if gained >= _BURST_BYTES else slope


def _sampled(state: State, sample: Sample, policy: Policy, now_s: float) -> Decision:
    effects: list[Effect] = []
    slope = _slope(state, sample)
    baselines = _follow(sample, state.baselines)
    culprit = guilty(sample, baselines)
    past = [sample.value(level.metric) >= level.threshold(sample.limit_bytes) for level in policy.levels]
    streaks = tuple((streak + 1) if over else 0 for streak, over in zip(state.streaks, past, strict=True))
    rate = _burst(state, sample, slope)
    urgency = _urgency(sample, rate, state.wait_s)
    wait_s = next_wait(sample.headroom_bytes, rate, policy.interval_s)
    wait_s = min(wait_s, policy.rules.pace_s)
    if any(streaks[index] == 1 for index in range(state.level, len(policy.levels))):
        wait_s = max(min(SHORTEST_WAIT_S, policy.interval_s), min(wait_s, policy.interval_s * CONFIRM_SHARE))
    new = replace(
        state, streaks=streaks, last=sample, slope=slope, wait_s=wait_s, baselines=baselines, below_since_s=None,
        cpu_wait_s=cpu_wait(sample.headroom_bytes, wait_s),
    )  # fmt: skip
    rising = state.level
    while rising < len(policy.levels) and past[rising] and (streaks[rising] >= 2 or urgency):
        rising += 1
    if rising > state.level:
        new = _rise(new, sample, policy, rising, urgency, culprit, now_s, effects)
    else:
        new = _calm(new, state.below_since_s, sample, policy, now_s, effects)
        if new.outside and new.level and not _outside(sample, policy.levels[new.level - 1]):
            new = replace(new, outside=False)
            new = plan.begin(new, sample, policy, culprit, now_s, effects, "the tree holds it now")
    new = plan.follow_growth(new, sample, policy, now_s, effects)
    new = plan.before_the_end(new, sample, rate, policy, culprit, now_s, effects)
    new = plan.restart_in_time(new, sample, policy, culprit, urgency, now_s, effects)
    watched, turns, told = triggers.follow(new.watched, sample, policy.rules)
    return _turned(replace(new, watched=watched), turns, told, policy, now_s, effects)


def _probed(state: State, probe: Probe, policy: Policy, now_s: float) -> Decision:
    watched, turns, told = triggers.follow_probe(state.watched, probe, state.last, policy.rules, now_s)
    return _turned(replace(state, watched=watched), turns, told, policy, now_s, [])


def _turned(
    state: State, turns: list[triggers.Turn], told: list[Event], policy: Policy, now_s: float, effects: list[Effect]
) -> Decision:
    """What triggers beside memory tell and ask for."""
    effects += told
    if turns:
        culprit = guilty(state.last, state.baselines) if state.last is not None else None
        for turn in turns:
            state = plan.answer(state, turn, policy, culprit, now_s, effects)
    return plan.advance(state, state.last, policy, now_s, effects)


def _urgency(sample: Sample, slope: float, wait_s: float) -> str:
    headroom = sample.headroom_bytes
    if headroom < HEADROOM_ALARM * sample.limit_bytes:
        return f"headroom {human_bytes(headroom)} is under 10 % of the limit"
    if slope > 0 and headroom / slope < 2 * wait_s:
        return f"the limit is {human_duration(headroom / slope)} away at {human_bytes(slope)}/s"
    return ""


def _outside(sample: Sample, level: Level) -> bool:
    """Whether more of what the threshold is held against lies outside the tree than in it."""
    return level.metric == "cgroup" and sample.in_cgroup and sample.use_bytes - sample.rss_bytes > sample.rss_bytes


def _rise(
    state: State,
    sample: Sample,
    policy: Policy,
    to: int,
    urgency: str,
    culprit: Process | None,
    now_s: float,
    effects: list[Effect],
) -> State:
    outside = _outside(sample, policy.levels[to - 1])
    for index in range(state.level, to):
        if outside:
            reason = "outside-tree"
        else:
            reason = "second sample in a row past the threshold" if state.streaks[index] >= 2 else urgency
        effects.append(_changed(STATES[index], STATES[index + 1], policy.levels[index], sample, state, reason, culprit))
    state = replace(state, level=to, outside=outside)
    return plan.begin(state, sample, policy, culprit, now_s, effects, f"entered {STATES[to]}")


def _changed(
    before: str, after: str, level: Level, sample: Sample, state: State, reason: str, culprit: Process | None
) -> Event:
    fields: dict[str, object] = {
        "from": before,
        "to": after,
        "rss_bytes": sample.rss_bytes,
        "use_bytes": sample.use_bytes,
        "threshold_bytes": level.threshold(sample.limit_bytes),
        "metric": level.metric,
        "reason": reason,
        "headroom_bytes": sample.headroom_bytes,
        "limit_bytes": sample.limit_bytes,
        "time_to_limit_s": round(sample.headroom_bytes / state.slope, 3) if state.slope > 0 else None,
    }
    if culprit is not None and reason != "outside-tree" and STATES.index(after) > STATES.index(before):
        fields["guilty_pid"] = culprit.pid
        fields["guilty_name"] = culprit.name
        fields["guilty_rss_bytes"] = culprit.rss_bytes
    return Event("warning" if STATES.index(after) > STATES.index(before) else "info", "state.changed", fields)


def _calm(
    state: State, since_s: float | None, sample: Sample, policy: Policy, now_s: float, effects: list[Effect]
) -> State:
    """Down when below 90 % of the state's threshold for 10 s."""
    if state.level == 0:
        return state

    def calm(level: Level) -> bool:
        return sample.value(level.metric) < CALM_SHARE * level.threshold(sample.limit_bytes)

    current = policy.levels[state.level - 1]
    if not calm(current):
        return state
    since_s = sample.at_s if since_s is None else since_s
    if sample.at_s - since_s < CALM_S:
        return replace(state, below_since_s=since_s)
    to = state.level
    while to and calm(policy.levels[to - 1]):
        to -= 1
    reason = f"below 90 % of the threshold for {human_duration(CALM_S)}"
    effects.append(_changed(state.name, STATES[to], current, sample, state, reason, None))
    queue = state.queue if to else tuple(start for start in state.queue if start.trigger or start.asked)
    state = replace(state, level=to, outside=state.outside and to > 0, queue=queue)
    return plan.stop_growth(state, "memory is back to ok", effects) if to == 0 else state
