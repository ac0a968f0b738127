"""A post-mortem on one screen, for people. Pure; whatever the target named itself is shown as escapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from supervisor.analysis import folded
from supervisor.analysis.text import shorten, visible
from supervisor.quantities import human_bytes, human_duration, human_percent

_WIDTH = 110
_LABEL = 9
_MOST_FUNCTIONS = 3
_MOST_FAILED = 3
_MOST_FRAMES = 4


def text(document: Mapping[str, Any]) -> str:
    """The screen, about 25 lines, without an end."""
    lines = [*_head(document), ""]
    for label, words in sections(document):
        lines += [f"{label if index == 0 else '':<{_LABEL}}{line}" for index, line in enumerate(words)]
    following = document["next"]
    # Not cut: it is there to be copied.
    lines += ["", f"next: {visible(following['type'])}", f"      {following['why']}"]
    return "\n".join(lines)


def sections(document: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """What the screen tells, as (label, lines), without its head and its end."""
    return [
        ("ended", _ended(document["ended"])),
        ("memory", _memory(document["memory"])),
        ("held by", _holders(document["holders"])),
        ("running", _running(document["running"])),
        ("failed", _failed(document["failed"])),
        ("limit", _limit(document["limit"], document)),
        ("shipped", _shipped(document.get("shipped"))),
        ("unread", [_shown(problem) for problem in document["problems"][:3]]),
    ]


def _shown(text: object, length: int = _WIDTH - _LABEL) -> str:
    return shorten(visible(str(text)), length)


def _size(size_bytes: int | None) -> str:
    return human_bytes(size_bytes) if size_bytes is not None else "?"


def _head(document: Mapping[str, Any]) -> list[str]:
    record = document["record"]
    parts = [
        f"started {record['started'][:19].replace('T', ' ')} UTC" if record["started"] else "",
        _lasted(document),
        f"on {record['host']}" if record["host"] else "",
        record["environment"] or "",
        f"guard {record['version']}" if record["version"] else "",
    ]
    command = " ".join(record["command"]) or "(command unknown)"
    return [
        _shown(document["run"], _WIDTH),
        f"  {_shown(command, _WIDTH - 2)}",
        f"  {_shown(', '.join(part for part in parts if part), _WIDTH - 2)}",
    ]


def _lasted(document: Mapping[str, Any]) -> str:
    """How long it ran. Of a run without an end only when it was last heard of, and how often guard spoke."""
    record = document["record"]
    if record["elapsed_s"] is not None:
        return f"ran {human_duration(record['elapsed_s'])}"
    if record["last_seen_s"] is None:
        return ""
    every = f" (guard looks every {human_duration(record['interval_s'])} at most)" if record["interval_s"] else ""
    return f"last heard of {human_duration(record['last_seen_s'])} later{every}"


def _wrapped(words: str, indent: str = "") -> list[str]:
    """Lines of at most the width, broken at spaces."""
    lines, line = [], ""
    for word in _shown(words, 400).split(" "):
        if line and len(indent + line) + 1 + len(word) > _WIDTH - _LABEL:
            lines.append(indent + line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, indent + line] if line else lines


def _ended(ended: Mapping[str, Any]) -> list[str]:
    why = [line for reason in ended["why"] for line in _wrapped(f"· {reason}")]
    return [*_wrapped(f"{ended['certainty']}: {ended['words']}"), *why[:6]]


def _shipped(shipped: Mapping[str, Any] | None) -> list[str]:
    if shipped is None:
        return []
    how = (
        "all of it"
        if shipped["complete"]
        else f"not all of it, {shipped['files']} files"
        if shipped["files"]
        else "none"
    )
    why = f" ({shipped['failed']})" if shipped["failed"] and not shipped["complete"] else ""
    return [_shown(f"{how}, to {shipped['to']}{why}")]


def _memory(memory: Mapping[str, Any]) -> list[str]:
    lines = []
    growth = memory["growth"]
    if growth:
        shape = "" if growth["shape"] == "steady" else f", {growth['shape']}"
        still = ", and still at the end" if growth["to_the_end"] else ""
        lines.append(
            f"grew {human_bytes(growth['rate_bytes_per_s'])}/s for {human_duration(growth['seconds'])}{shape}{still}: "
            f"{human_bytes(growth['from_bytes'])} → {human_bytes(growth['to_bytes'])}"
        )
    else:
        lines.append("did not grow" if memory["samples"] > 1 else "no samples tell of it")
    limit, peak = memory["limit_bytes"], memory["peak_bytes"]
    if peak is not None:
        of = ""
        if limit:
            share = human_percent((memory["peak_use_bytes"] or peak) / limit)
            of = f"; {share} of the limit of {human_bytes(limit)} ({memory['limit_source'] or '?'}) in use at most"
        lines += _wrapped(f"peak {human_bytes(peak)}{of}")
    times = [f"{name} {human_duration(spent)}" for name, spent in memory["time_in_state_s"].items() if spent > 0]
    if memory["highest_state"] != "ok":
        lines += _wrapped(f"highest state {memory['highest_state']} ({', '.join(times)})")
    for kill in memory["oom_kills"][:2]:
        when = f" after {human_duration(kill['elapsed_s'])}" if kill["elapsed_s"] is not None else ""
        who = f"process {kill['pid']} ({kill['name']})" if kill["pid"] is not None else "an unknown process"
        size = f" with {human_bytes(kill['rss_bytes'])}" if kill["rss_bytes"] is not None else ""
        lines.append(_shown(f"the kernel OOM-killed {who}{size}{when}"))
    return lines


def _place(found: Mapping[str, Any]) -> str:
    if not found.get("file"):
        return ""
    return f" ({found['file']}:{found['line']})" if found.get("line") else f" ({found['file']})"


def _holders(holders: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for process in holders["processes"][:_MOST_FUNCTIONS]:
        share = f", {human_percent(process['share'])} of the growth" if process["share"] else ""
        gained = f": +{human_bytes(process['gained_bytes'])}{share}" if process["gained_bytes"] > 0 else ""
        if gained or not lines:
            lines.append(
                _shown(f"process {process['pid']} ({process['name']}){gained}, held {_size(process['bytes'])}")
            )
    suspect = holders["suspect"]
    lies = suspect["mapping"] if suspect and not suspect["function"] else None
    if suspect and lies:
        lines.append(_mapped(suspect, lies))
    if holders["growth"]:
        word = "growth" if holders["growth"]["enough"] else "growth (little evidence)"
        first = holders["growth"]["functions"][0]["function"]
        if suspect and suspect["function"] and (suspect.get("mapping") or suspect["function"] != first):
            where = f", in {suspect['mapping']}" if suspect.get("mapping") else ""
            share = f" took {human_percent(suspect['share'])}" if suspect["share"] is not None else ""
            lines.append(_shown(f"suspect: {suspect['function']}{_place(suspect)}{share}{where}"))
        shown = folded.frame(lies, None) if lies else None
        others = [each for each in holders["growth"]["functions"] if each["function"] != shown]
        lines += _functions(word, {"functions": others}, suspect)
    elif suspect and suspect["function"]:
        share = f", {human_percent(suspect['share'])} of the growth" if suspect["share"] is not None else ""
        word = "growth" if suspect["enough"] else "growth (little evidence)"
        lines.append(_shown(f"{word}: {suspect['function']}{_place(suspect)}{share}"))
    if suspect and (grew := suspect.get("grew")):
        held = f", held by {grew['holder']}" if grew["holder"] else ""
        lines.append(_shown(f"objects: {grew['type']} grew by {human_bytes(grew['bytes'])}{held}"))
    elif suspect and suspect.get("type"):
        lines.append(_shown(f"objects: of {suspect['type']} there are more and more"))
    if holders["heap"]:
        lines += _functions("heap", holders["heap"], None)
    told = suspect and (_named(suspect) or suspect.get("grew"))
    if not holders["growth"] and not holders["heap"] and not told:
        lines.append("its functions: no growth or heap evidence was taken")
        if holders["busy"]:
            lines += _functions("busy (CPU, which is not who holds memory)", holders["busy"], None)
    return lines


def _mapped(suspect: Mapping[str, Any], mapping: str) -> str:
    """Where its memory lies, and of what that is a share."""
    of = "what it held" if suspect.get("share_of") == "held" else "the growth"
    share = f", {human_percent(suspect['share'])} of {of}" if suspect["share"] is not None else ""
    held = f", held by {suspect['held_by']}" if suspect.get("held_by") else ""
    word = "growth" if suspect["enough"] else "growth (little evidence)"
    size = f" ({human_bytes(suspect['bytes'])})" if suspect["bytes"] is not None else ""
    return _shown(f"{word}: {mapping}{share}{size}{held}")


def _named(suspect: Mapping[str, Any]) -> str | None:
    """The function, else the mapping."""
    return suspect["function"] or suspect.get("mapping")


def _functions(word: str, found: Mapping[str, Any], suspect: Mapping[str, Any] | None) -> list[str]:
    lines = []
    for each in found["functions"][:_MOST_FUNCTIONS]:
        known = suspect if suspect and suspect["function"] == each["function"] and suspect.get("line") else each
        amount = f" {human_bytes(each['self'])}" if not word.startswith("busy") else ""
        lines.append(_shown(f"{word}: {human_percent(each['share'])}{amount} {each['function']}{_place(known)}"))
    return lines


def _running(running: Mapping[str, Any]) -> list[str]:
    processes = running["processes"]
    shown = [f"{each['pid']} ({each['name']}) {_size(each['rss_bytes'])}" for each in processes[:4]]
    more = (running["process_count"] or 0) - len(shown)
    lines = [_shown(", ".join(shown) + (f" and {more} more" if more > 0 else ""))] if shown else []
    stack = running["stack"]
    if stack:
        lines += _doing(stack)
        kinds = [f"{each['kind']} {human_bytes(each['rss_bytes'])}" for each in stack["mappings"][:4]]
        if kinds:
            lines.append(_shown(f"mapped {', '.join(kinds)}"))
    if running["actions"]:
        names = ", ".join(f"{each['action']} of {each['pid']}" for each in running["actions"][:4])
        lines.append(_shown(f"guard was at work on {names}"))
    return lines


def _doing(stack: Mapping[str, Any]) -> list[str]:
    """What the process was doing: its innermost functions, or that none of them is known, and why."""
    waits = stack["waits_in"]
    own = [frame for frame in stack["frames"] if frame["file"] not in ("[kernel]", "[syscall]")]
    if own:
        frames = [f"{frame['function']}{_place(frame)}" for frame in own]
        rest = " < …" if len(frames) > _MOST_FRAMES else ""
        when = "frozen below the limit, it was in" if stack["frozen"] else "in"
        return _wrapped(f"{when} {' < '.join(frames[:_MOST_FRAMES])}{rest}")[:2]
    if stack["ending"]:
        return ["it was ending when its stack was read: the kernel took its memory back"]
    if stack["engine"] == "inspector":
        return [f"no JavaScript ran when it was looked at: it waited in {_shown(waits, 40)}"]
    why = stack["refused"] or "its own functions were not read"
    return _wrapped(f"waiting in the kernel ({_shown(waits, 40)}), of its own functions nothing is known: {why}")[:2]


def _failed(failed: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for trouble in failed[:_MOST_FAILED]:
        times = f" ({trouble['times']} times)" if trouble["times"] > 1 else ""
        said = trouble["said"] if trouble["said"] and trouble["said"] != trouble["reason"] else ""
        word = "skipped" if trouble["event"] == "action.skipped" else "failed"
        lines.append(_shown(f"{trouble['what']} {word}{times}: {trouble['reason']}{f': {said}' if said else ''}"))
        if trouble["hint"]:
            lines.append(_shown(f"  try: {trouble['hint']}"))
    if len(failed) > _MOST_FAILED:
        lines.append(f"and {len(failed) - _MOST_FAILED} more: --json")
    return lines


def _limit(limit: Mapping[str, Any] | None, document: Mapping[str, Any]) -> list[str]:
    if limit is None:
        samples = document["memory"]["samples"]
        few = document["ended"]["outcome"] in ("running", "guard-killed") and samples
        return [f"no advice: {samples} sample{'s' if samples > 1 else ''} of a run without an end"] if few else []
    peak = human_bytes(limit["highest_peak_bytes"])
    lived = "so far it would have lived with" if limit["unfinished"] else "it would have lived with"
    if limit["oom_killed"]:
        lived = "it wanted more than"
    died = [
        f"{human_bytes(each['limit_bytes'])} after {human_duration(each['at_s'])}"
        for each in limit["deaths"]
        if each["at_s"] is not None
    ]
    own = f" ({human_bytes(limit['guard_bytes'])} of it guard's own)" if limit["guard_bytes"] else ""
    lines = _wrapped(f"{lived} {peak}{own}" + (f", and died with {', '.join(died)}" if died else ""))
    if limit["caution"]:
        lines += _wrapped(limit["caution"])
    return [*lines, *limit["resources_yaml"].splitlines()]
