"""What `--notify` sends, pure: JSON for programs, a message for Slack or ntfy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from supervisor.model import MARKS
from supervisor.quantities import human_bytes

_TAGS = {"warning": "yellow_circle", "critical": "orange_circle", "profiling": "red_circle"}
_URGENT = ("profiling", "oom", "crash_loop")


def target(url: str) -> tuple[str, str]:
    """The kind of receiver (`json`, `slack`, `ntfy`) and the URL to post to: by its prefix, else by its host."""
    kind, plus, rest = url.partition("+")
    if plus and kind in ("slack", "ntfy"):
        return kind, rest
    host = url.partition("://")[2].partition("/")[0].rpartition("@")[2].partition(":")[0].lower()
    known = {"hooks.slack.com": "slack", "hooks.slack-gov.com": "slack", "ntfy.sh": "ntfy"}
    return known.get(host, "json"), url


def text(told: Mapping[str, Any]) -> str:
    """A message for people: a line for what happened, one for the figures, one for the suspect, one for the rest."""
    state = str(told.get("state", ""))
    lines = [f"{MARKS.get(state, '⚠️')} {told.get('name', 'a run')} on {told.get('host', '?')}: {told['reason']}"]
    figures = []
    for name, word in (("rss_bytes", "memory"), ("limit_bytes", "limit"), ("peak_bytes", "peak")):
        if isinstance(told.get(name), int):
            figures.append(f"{word} {human_bytes(told[name])}")
    if told.get("signal") or told.get("code"):
        figures.append(f"ended by {told['signal']}" if told.get("signal") else f"exit code {told['code']}")
    if figures:
        lines.append(", ".join(figures))
    suspect = told.get("suspect")
    if isinstance(suspect, Mapping):
        named = suspect.get("function") or suspect.get("type") or suspect.get("mapping")
        where = f" in {named}" if named else ""
        if suspect.get("held_by") and not suspect.get("function"):
            where += f", held by {suspect['held_by']}"
        word = "suspect" if suspect.get("enough", True) else "suspect, on little evidence"
        lines.append(f"{word}: {suspect.get('name') or 'process'} {suspect.get('pid', '')}{where}{_grown(suspect)}")
    elif told.get("guilty_pid"):
        lines.append(f"grows most: {told.get('guilty_name', 'process')} {told['guilty_pid']}")
    lines.append(f"guard postmortem {told['run']}")
    return "\n".join(lines)


def _grown(suspect: Mapping[str, Any]) -> str:
    grew = suspect.get("grew")
    if not isinstance(grew, Mapping):
        return ""
    held = f", held by {grew['holder']}" if grew.get("holder") else ""
    return f"; {grew.get('type')} grew{held}"


def request(kind: str, told: Mapping[str, Any]) -> tuple[bytes, dict[str, str]]:
    """Body and headers of the POST for a receiver of this kind."""
    message = text(told)
    if kind == "slack":
        # Slack reads <, > and & as markup, and nothing else when mrkdwn is off.
        escaped = message.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return json.dumps({"text": escaped, "mrkdwn": False}).encode(), {"Content-Type": "application/json"}
    if kind == "ntfy":
        state = str(told.get("state", ""))
        headers = {
            "Content-Type": "text/plain; charset=utf-8",
            "Title": "guard",
            "Priority": "high" if state in _URGENT else "default",
            "Tags": _TAGS.get(state, "warning"),
        }
        return message.encode(), headers
    return json.dumps({**told, "text": message}, default=str).encode(), {"Content-Type": "application/json"}
