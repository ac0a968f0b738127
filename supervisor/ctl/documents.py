"""What `guard ctl` is answered: documents of a run, of an action that ended. Sizes in bytes, times in seconds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from supervisor.journal import Journal
from supervisor.model import VERBS, ActionEnded
from supervisor.policy import Policy, State
from supervisor.workers import Worker

ACTIONS = tuple(verb for verb, kind in VERBS.items() if kind)
SCHEMA_VERSION = 1
_MOST_PROCESSES = 20
_MOST_WORDS, _MOST_LETTERS = 30, 100  # twelve bytes a letter at worst: the answer stays under its bound


def of_run(
    state: State, policy: Policy, journal: Journal, workers: Iterable[Worker], pid: int | None, now_s: float
) -> dict[str, Any]:
    """The run as it is; what is only known after a sample is None before the first one. `pid` is the target's."""
    last = state.last
    known = last is not None
    processes = sorted(last.processes, key=lambda each: -(each.rss_bytes or 0)) if last is not None else []
    limit = last.limit_bytes if last is not None else None
    headroom = last.headroom_bytes if last is not None else None
    falling = headroom is not None and state.slope > 0
    return {
        "ok": True,
        "schema_version": SCHEMA_VERSION,
        "run": journal.run,
        "life": journal.life,
        "pid": pid,
        "command": [word[:_MOST_LETTERS] for word in journal.command[:_MOST_WORDS]],
        "evidence": journal.path,
        "state": state.name,
        "elapsed_s": round(now_s - journal.started_s, 3),
        "sample_age_s": round(now_s - last.at_s, 3) if last is not None else None,
        "rss_bytes": last.rss_bytes if last is not None else None,
        "use_bytes": last.use_bytes if last is not None else None,
        "limit_bytes": limit,
        "headroom_bytes": headroom,
        "slope_bytes_per_s": round(state.slope) if known else None,
        "time_to_limit_s": round(headroom / state.slope, 3) if falling and headroom is not None else None,
        "thresholds": {level.name: level.threshold(limit) for level in policy.levels} if limit is not None else {},
        "process_count": len(processes),
        "processes": [
            {"pid": each.pid, "name": each.name, "rss_bytes": each.rss_bytes} for each in processes[:_MOST_PROCESSES]
        ],
        "actions": [
            {
                "action": worker.start.kind,
                "state": worker.start.state,
                "pid": worker.start.pid,
                "reason": worker.start.reason,
                "elapsed_s": round(now_s - worker.started_s, 3),
            }
            for worker in workers
        ],
        "queued": [{"action": start.kind, "pid": start.pid, "reason": start.reason} for start in state.queue],
        "can_restart": policy.lives,
    }


def of_wait(run: str, life: int, reason: str, left_s: float | None) -> dict[str, Any]:
    """Between two lives. `left_s` None: until a file changes."""
    return {
        "ok": True,
        "schema_version": SCHEMA_VERSION,
        "run": run,
        "life": life,
        "state": "waiting",
        "reason": reason,
        "wait_s": round(left_s, 3) if left_s is not None else None,
        "can_restart": True,
    }


def of_action(ended: ActionEnded) -> dict[str, Any]:
    """What came of an action; `paths` are its files, the one to read first in front."""
    common = {"action": ended.kind, "pid": ended.pid, "paths": list(ended.paths)}
    if ended.outcome == "ok":
        return {"ok": True, "schema_version": SCHEMA_VERSION, **common}
    said = ended.said or ended.reason or ended.outcome
    return {"ok": False, "error": f"{ended.kind} {ended.outcome}: {said}", "hint": ended.hint, **common}
