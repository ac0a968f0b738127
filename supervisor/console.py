"""Log events as one short line each, for a person at a terminal. Pure."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from supervisor.analysis.text import visible
from supervisor.model import MARKS
from supervisor.quantities import human_bytes, human_duration, human_percent

Event = Mapping[str, Any]


def line(event: Event) -> str:
    """The event's line, without its end."""
    words = _WORDS.get(str(event["event"]), _plain)(event)
    level = event["level"]
    return f"guard {level}: {words}" if level == "error" else f"guard {words}"


def _plain(event: Event) -> str:
    """An event without words of its own: its name and what it carries."""
    fields = []
    for key, value in event.items():
        if key in ("timestamp", "level", "event") or value in (None, ""):
            continue
        if key.endswith("_bytes") and isinstance(value, int | float):
            fields.append(f"{key[:-6]} {human_bytes(value)}")
        elif key.endswith("_s") and isinstance(value, int | float) and value >= 0:
            fields.append(f"{key[:-2]} {human_duration(value)}")
        else:
            fields.append(f"{key}={visible(str(value))}")
    return f"{event['event']} {' · '.join(fields)}".rstrip()


def _started(event: Event) -> str:
    levels = event["thresholds"].values()
    sizes = " / ".join(human_bytes(level["bytes"]) for level in levels)
    pids = [event["pid"]] if event.get("pid") else event.get("pids", ())
    who = f"{'process' if len(pids) == 1 else 'processes'} {', '.join(map(str, pids))}"
    return (
        f"▶ watches {who}: {sizes} of a limit of {human_bytes(event['limit_bytes'])} "
        f"({event['environment']}); evidence in {visible(str(event['evidence'] or 'the log only'))}"
    )


def _state(event: Event) -> str:
    value = event["use_bytes"] if event["metric"] == "cgroup" else event["rss_bytes"]
    words = (
        f"{MARKS[event['to']]} {event['from']} → {event['to']}: {human_bytes(value)}, "
        f"threshold {human_bytes(event['threshold_bytes'])} of {event['metric']}; {event['reason']}"
    )
    if event.get("guilty_pid"):
        words += f"; {event['guilty_pid']} ({visible(str(event['guilty_name']))}) grows"
    return words


def _doing(event: Event) -> str:
    """An action and what it is done to: a process, a command's program, the host that is told."""
    if event.get("pid"):
        return f"{event['action']} of {event['pid']}"
    if event.get("program"):
        return f"{event['action']} {visible(os.path.basename(str(event['program'])))}"
    if event.get("url"):
        return f"{event['action']} to {visible(str(event['url']).partition('://')[2].partition('/')[0])}"
    return str(event["action"])


def _action(event: Event) -> str:
    return f"  {_doing(event)}: {visible(str(event['reason']))}"


def beside_mapping(suspect: Mapping[str, Any]) -> str:
    """What else is known of a suspect by mapping: the type of its objects, and what was sampled to hold it."""
    words = f", objects of {visible(str(suspect['type']))}" if suspect.get("type") else ""
    return words + (f", held by {visible(str(suspect['held_by']))}" if suspect.get("held_by") else "")


def _finished(event: Event) -> str:
    words = f"  {_doing(event)}: done in {human_duration(event['elapsed_s'])}"
    suspect = event.get("suspect")
    if suspect and event.get("enough"):
        share = human_percent(suspect["share"])
        if suspect.get("function"):
            words += f", {visible(str(suspect['function']))} takes {share} of the growth"
        else:
            of = "what it holds" if suspect.get("share_of") == "held" else "the growth"
            words += f", {share} of {of} in {visible(str(suspect['mapping']))}{beside_mapping(suspect)}"
    if grew := event.get("grew"):
        held = f", held by {visible(str(grew['holder']))}" if grew.get("holder") else ""
        words += f", {visible(str(grew['type']))} grew by {human_bytes(grew['bytes'])}{held}"
    return f"{words} → {visible(os.path.basename(str(event['path'])))}" if event.get("path") else words


def _failed(event: Event) -> str:
    hint = f"; try: {visible(str(event['hint']))}" if event.get("hint") else ""
    said = f" ({visible(str(event['said']))})" if event.get("said") else ""
    return f"  {_doing(event)}: failed, {visible(str(event['reason']))}{said}{hint}"


def _skipped(event: Event) -> str:
    return f"  {_doing(event)}: skipped, {visible(str(event['reason']))}"


def _fired(event: Event) -> str:
    who = f"; process {event['pid']} ({visible(str(event['name']))})" if event.get("pid") else ""
    return f"{MARKS['warning']} {event['trigger']}: {visible(str(event['reason']))}{who}"


def _cleared(event: Event) -> str:
    return f"{MARKS['ok']} {event['trigger']}: {event['reason']}, after {human_duration(event['elapsed_s'])}"


def _probe_failed(event: Event) -> str:
    return f"{MARKS['warning']} the probe fails: {visible(str(event['reason']))}"


def _probe_recovered(event: Event) -> str:
    return f"{MARKS['ok']} the probe is answered again, after {human_duration(event['elapsed_s'])}"


def _exited(event: Event) -> str:
    by = f" by {event['signal']}" if event.get("signal") else ""
    peak = human_bytes(event["peak_bytes"]) if event["peak_bytes"] else "not seen"
    return f"■ {event['outcome']}{by}, code {event['code']}, after {human_duration(event['elapsed_s'])}; peak {peak}"


def _forwarded(event: Event) -> str:
    times = f" {event['count']} times" if event["count"] > 1 else ""
    sent = "" if event["sent"] == event["signal"] else f" as {event['sent']}"
    return f"  {event['signal']} forwarded{sent} to the {event['to']}{times}"


def _kept(event: Event) -> str:
    ends = "; watching ends" if event["signal"] in ("SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP") else ""
    return f"  {event['signal']} came to guard{ends}; nothing was sent to what it watches"


def _adjusted(event: Event) -> str:
    return f"  {event['setting']} {event['from']} → {event['to']}: {visible(str(event['reason']))}"


_WORDS: dict[str, Callable[[Event], str]] = {
    "run.started": _started,
    "run.exited": _exited,
    "state.changed": _state,
    "action.started": _action,
    "action.finished": _finished,
    "action.failed": _failed,
    "action.skipped": _skipped,
    "trigger.fired": _fired,
    "trigger.cleared": _cleared,
    "probe.failed": _probe_failed,
    "probe.recovered": _probe_recovered,
    "signal.forwarded": _forwarded,
    "signal.kept": _kept,
    "config.adjusted": _adjusted,
}
