"""Which hook, signal or message an event of the log asks for: pure.

Reads events as they are logged, so that what a hook is told and what the log says can't differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from supervisor.config import Config
from supervisor.model import STATES

# Events that tell of trouble; `state.changed` only upwards, `run.exited` only when it didn't go well.
_LEFT = "action.finished"  # which may have left a profile
PROFILES = ("cpu-profile", "growth")
_TOLD = ("state.changed", "run.exited", "oom.detected", "previous_run.found", "crash_loop.found", "restart.given_up",
         "trigger.fired")  # fmt: skip
_PREFIX = "GUARD_EVENT_"
_MOST_TEXT = 1000


@dataclass(frozen=True, slots=True)
class Reaction:
    """One thing to do for `state`: `hook` (its command), `signal` (its number), `notify` or `pyroscope` (of `path`)."""

    kind: str
    state: str
    reason: str
    command: tuple[str, ...] = ()
    number: int = 0
    path: str | None = None


def wanted(config: Config) -> bool:
    """Whether any of it is asked for."""
    hooks = (config.on_warning, config.on_critical, config.on_profiling, config.on_exit)
    return any(hooks) or bool(config.signal_at) or config.notify is not None or config.pyroscope is not None


def listens_to(name: str) -> bool:
    """Whether an event of this name can ask for anything."""
    return name in _TOLD or name == _LEFT


def to_event(name: str, fields: Mapping[str, Any], config: Config) -> list[Reaction]:
    """What this event asks for, in order."""
    if name == "run.exited":
        found = [Reaction("hook", "exit", "the target has ended", config.on_exit)] if config.on_exit else []
        told = bool(fields.get("code")) and fields.get("outcome") not in ("stopped", "replaced")
        return found + (_notify(config, "exit", f"the run ended: {fields.get('outcome')}") if told else [])
    if name == "state.changed":
        return _to_state(fields, config)
    if name == _LEFT:
        pushed = config.pyroscope is not None and fields.get("action") in PROFILES and fields.get("path")
        reason = f"{fields['action']} left a profile"
        return [Reaction("pyroscope", str(fields.get("state", "")), reason, path=str(fields["path"]))] if pushed else []
    return _notify(config, name.partition(".")[0], str(fields.get("reason") or name)) if name in _TOLD else []


def _to_state(fields: Mapping[str, Any], config: Config) -> list[Reaction]:
    """Every level that was passed on the way up gets its own, the lowest first."""
    before, now = STATES.index(fields["from"]), STATES.index(fields["to"])
    if now <= before:
        return []
    commands = {"warning": config.on_warning, "critical": config.on_critical, "profiling": config.on_profiling}
    found: list[Reaction] = []
    for state in STATES[before + 1 : now + 1]:
        reason = f"memory reached {state}"
        found += [Reaction("signal", state, reason, number=number) for at, number in config.signal_at if at == state]
        if command := commands[state]:
            found.append(Reaction("hook", state, reason, command))
    return found + _notify(config, fields["to"], f"memory reached {fields['to']}")


def _notify(config: Config, state: str, reason: str) -> list[Reaction]:
    return [Reaction("notify", state, reason)] if config.notify is not None else []


def variables(told: Mapping[str, Any]) -> dict[str, str]:
    """Facts as a hook's environment: `rss_bytes` is GUARD_EVENT_RSS_BYTES. What isn't known has no variable."""
    return {
        _PREFIX + name.upper(): text
        for name, value in told.items()
        if (text := _text(value)) is not None and name.isidentifier()
    }


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, (list, tuple, Mapping)):
        return None
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)[:_MOST_TEXT].replace("\0", "")
