"""`guard ctl`: its words as a request, an answer as text. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from supervisor.analysis.text import visible
from supervisor.ctl.server import MOST_DURATION_S
from supervisor.errors import UsageError
from supervisor.model import MARKS, VERBS
from supervisor.quantities import BadValue, human_bytes, human_duration, parse_duration

_PROFILES = ("profile", "heap")
_WAITING = "⏸"


def verb_and_run(words: Sequence[str]) -> tuple[str, str | None]:
    """`[RUN] VERB` as verb and run. Raises UsageError."""
    *run, verb = words
    if verb not in VERBS and len(words) == 2 and words[0] in VERBS:
        run, verb = [verb], words[0]
    if verb not in VERBS or len(run) > 1:
        why = f"it takes a run, if more than one lives, and one of {', '.join(VERBS)}"
        raise UsageError(f"guard ctl {' '.join(words)[:100]}: not understood", why=why, hint="guard ctl state")
    return verb, run[0] if run else None


def request(verb: str, pid: int | None, duration: str | None, wait: bool) -> dict[str, Any]:
    """As `server.parse` takes it. Raises UsageError."""
    found: dict[str, Any] = {"verb": verb, "wait": wait}
    if pid is not None:
        if not VERBS[verb]:
            raise UsageError(f"--pid says nothing to {verb}", why="it is about the whole run", hint=f"guard ctl {verb}")
        found["pid"] = pid
    if duration is not None:
        if verb not in _PROFILES:
            raise UsageError(f"--duration says nothing to {verb}", hint="guard ctl profile --duration 5s")
        try:
            found["duration_s"] = parse_duration(duration, 1.0)
        except BadValue as error:
            raise UsageError(f"--duration {duration[:80]!r}: not accepted", why=f"it takes {error}") from None
        if found["duration_s"] > MOST_DURATION_S:
            most = human_duration(MOST_DURATION_S)
            raise UsageError(f"--duration {duration[:80]}: not accepted", why=f"it takes {most} at most")
    return found


def text(verb: str, answer: Mapping[str, Any]) -> str:
    """An answer for people; of an action the paths alone, one a line, the one to read first in front."""
    if answer.get("waited") is False:
        return f"{verb}: under way"
    if verb == "state":
        return "\n".join(visible(line) for line in _state(answer))
    if verb == "stop":
        return visible(f"{answer.get('outcome')}, code {answer.get('code')}")
    if verb == "restart":
        return visible(f"restarted: life {answer.get('life')}, pid {answer.get('pid')}, run {answer.get('run')}")
    return "\n".join(visible(str(path)) for path in answer.get("paths", []))


def _state(answer: Mapping[str, Any]) -> list[str]:
    state = answer["state"]
    if state == "waiting":
        wait_s = answer.get("wait_s")
        when = f"in {human_duration(wait_s)}" if wait_s is not None else "when files change"
        return [f"{_WAITING} between two lives: the next one begins {when} ({answer.get('reason')})"]
    lines = [f"{answer['run']}  {' '.join(answer['command'])}"]
    lasted = human_duration(answer["elapsed_s"])
    lines.append(f"{MARKS.get(state, '')} {state}, life {answer['life']}, pid {answer['pid']}, running for {lasted}")
    if answer["limit_bytes"] is not None:
        left_s = answer["time_to_limit_s"]
        slope = answer["slope_bytes_per_s"]
        rate = f"{'+' if slope > 0 else '-'}{human_bytes(abs(slope))}/s" if abs(slope) >= 1000 else "±0"
        reach = f", limit in {human_duration(left_s)}" if left_s is not None and left_s < 7 * 86400 else ""
        lines.append(
            f"rss {human_bytes(answer['rss_bytes'])}, in use {human_bytes(answer['use_bytes'])} of "
            f"{human_bytes(answer['limit_bytes'])}, headroom {human_bytes(answer['headroom_bytes'])}, {rate}{reach}"
        )
    for each in answer["processes"]:
        size = human_bytes(each["rss_bytes"]) if each["rss_bytes"] is not None else "?"
        lines.append(f"{each['pid']:>8}  {size:>9}  {each['name']}")
    more = answer["process_count"] - len(answer["processes"])
    lines += [f"{'':>8}  and {more} more"] if more > 0 else []
    for each in answer["actions"]:
        elapsed = human_duration(each["elapsed_s"])
        lines.append(f"▶ {each['action']} of {each['pid']} for {elapsed}: {each['reason']}")
    lines += [f"… {each['action']} of {each['pid']} waits for its turn: {each['reason']}" for each in answer["queued"]]
    return lines
