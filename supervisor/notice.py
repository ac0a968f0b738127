"""What the kernel did to the tree between two samples: OOM kills, a limit that changed, a group held up. Pure.

`follow(known, sample)` returns what is known from now on and the events that tell of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from supervisor.model import Event, Process, Sample

# A killed process is there for a while, until it has given its memory back: so long its name is waited for, and so
# long before the target's own end a kill may be the target's, whoever else is gone.
VICTIM_PATIENCE_S = 3.0
TEARDOWN_S = 1.0
_HELD_UP_SHARE = 0.97
_FREE_SHARE = 0.90


@dataclass(frozen=True, slots=True)
class Known:
    """What the last sample showed. `owed`: OOM kills since `owed_since_s` whose victim is still to be named, of the
    processes in `before`. `settled` kills were told of, those at the times in `recent` only just.
    """

    limit_bytes: int | None = None
    high_bytes: int | None = None
    high_events: int | None = None
    held_up: bool = False
    oom_kills: int | None = None
    last: Sample | None = None
    owed: int = 0
    owed_since_s: float = 0.0
    before: Mapping[tuple[int, int], Process] = field(default_factory=dict)
    settled: int = 0
    recent: tuple[float, ...] = ()

    def others(self, now_s: float) -> int:
        """How many OOM kills were certainly of somebody else than a target that ends now."""
        return self.settled + sum(at_s < now_s - TEARDOWN_S for at_s in self.recent)


def follow(known: Known, sample: Sample) -> tuple[Known, list[Event]]:
    """One step."""
    events: list[Event] = []
    known = _kills(known, sample, events)
    known = _held_up(known, sample, events)
    high_bytes = sample.high.high_bytes if sample.high is not None else None
    return replace(known, limit_bytes=sample.limit_bytes, high_bytes=high_bytes, last=sample), events


def _kills(known: Known, sample: Sample, events: list[Event]) -> Known:
    count, last = known.oom_kills, known.last
    settled = known.others(sample.at_s)
    known = replace(known, settled=settled, recent=known.recent[settled - known.settled :])
    if sample.oom_kills is None:
        return known
    new = max(0, sample.oom_kills - count) if count is not None else 0
    known = replace(known, oom_kills=sample.oom_kills)
    if new:
        before = {process.identity: process for process in last.processes} if last is not None else {}
        since_s = known.owed_since_s if known.owed else sample.at_s
        known = replace(known, owed=known.owed + new, owed_since_s=since_s, before={**before, **known.before})
    if not known.owed:
        return known
    living = {process.identity for process in sample.processes if process.state not in ("Z", "X")}
    gone = sorted(
        (process for identity, process in known.before.items() if identity not in living),
        key=lambda process: -(process.rss_bytes or 0),
    )
    fields = {"oom_kills": sample.oom_kills, "limit_bytes": sample.limit_bytes}
    before = dict(known.before)
    for victim in gone[: known.owed]:
        del before[victim.identity]
        facts: dict[str, object] = {"pid": victim.pid, "name": victim.name, "rss_bytes": victim.rss_bytes}
        if last is not None:
            facts["sample_age_s"] = round(sample.at_s - last.at_s, 3)
        events.append(Event("error", "oom.detected", fields | facts))
    owed = known.owed - len(gone[: known.owed])
    recent = (*known.recent, *[sample.at_s] * (known.owed - owed))
    if owed and sample.at_s - known.owed_since_s >= VICTIM_PATIENCE_S:
        reason = "no process of the tree is missing: the victim was outside it, or came and went between two samples"
        events.append(Event("error", "oom.detected", {**fields, "reason": reason}))
        recent, owed = (*recent, *[sample.at_s] * owed), 0
    return replace(known, owed=owed, before=before if owed else {}, recent=recent)


def _held_up(known: Known, sample: Sample, events: list[Event]) -> Known:
    """Said once, until use falls. The count alone says little: it grows for file pages that are dropped, too."""
    high = sample.high
    if high is None:
        return replace(known, held_up=False, high_events=None)
    use = high.use_bytes or 0
    more = high.events is not None and known.high_events is not None and high.events > known.high_events
    held_up = known.held_up and use >= _FREE_SHARE * high.high_bytes
    if more and not held_up and use >= _HELD_UP_SHARE * high.high_bytes:
        held_up = True
        fields = {
            "high_bytes": high.high_bytes,
            "use_bytes": use,
            "events": high.events,
            "directory": high.directory,
            "reason": "the kernel holds up whoever takes memory in this group beyond its memory.high",
            "hint": f"cat {high.directory}/memory.pressure; raise memory.high, or find who holds the memory",
        }
        events.append(Event("warning", "memory.throttled", fields))
    return replace(known, held_up=held_up, high_events=high.events)
