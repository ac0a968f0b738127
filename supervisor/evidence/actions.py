"""What a run's events say of its actions: which there were, and what came of each. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from supervisor.evidence.fields import number, text, whole
from supervisor.evidence.model import Action, Event

_STARTED = "action.started"
_ENDS = {"action.finished": "finished", "action.failed": "failed", "action.skipped": "skipped"}


def actions(events: Iterable[Event]) -> list[Action]:
    """Those that ended, in the order of their ends, then those without an end, in the order of their starts.

    One of a kind at a time is taken of a process, and that is what an end is told apart by. A start whose end was
    never told, since the log was full, goes with the next start of the same. Events may be those of a file's tail: an
    end without its start says itself how long it took. What was skipped had begun only if it says how long it took;
    else it ends nothing, also where the same is running.
    """
    ended: list[Action] = []
    running: dict[tuple[str, int | None], Action] = {}
    for place, event in enumerate(events):
        how = _ENDS.get(event.name)
        if how is None and event.name != _STARTED:
            continue
        fields = event.fields
        kind, pid = text(fields.get("action")) or "?", whole(fields.get("pid"))
        state, reason, path = (text(fields.get(name)) for name in ("state", "reason", "path"))
        if how is None:
            running.pop((kind, pid), None)
            running[kind, pid] = Action(kind, pid, state, event.at_s, None, "running", reason, path, place)
            continue
        took_s = number(fields.get("elapsed_s"))
        begun = running.pop((kind, pid), None) if how != "skipped" or took_s is not None else None
        alone_s = None if event.at_s is None else event.at_s - (took_s or 0.0)
        began_s = alone_s if begun is None else begun.began_s
        ended.append(Action(kind, pid, state, began_s, event.at_s, how, reason, path, place))
    return [*ended, *running.values()]
