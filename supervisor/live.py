"""`guard top`: a running guard as its files show it. Reads only; the watcher isn't asked anything."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

from supervisor import evidence
from supervisor.analysis.text import shorten, visible
from supervisor.errors import UsageError
from supervisor.evidence import Event, FlightSample, Run
from supervisor.evidence.climb import living
from supervisor.model import MARKS, STATES
from supervisor.quantities import human_bytes, human_duration, human_percent

SCHEMA_VERSION = 1
_TAIL_BYTES = 64 << 10
_MOST_PROCESSES = 10
_MOST_ACTIONS = 6
_MOST_ENDED = 20
_BAR = 30
_TICKS = os.sysconf("SC_CLK_TCK")


class View:
    """One run, looked at again and again."""

    def __init__(self, root: str, wanted: str | None) -> None:
        """Raises UsageError when there is no such run, or none that lives."""
        self._run = evidence.find(root, wanted) if wanted is not None else _newest_alive(root)
        # Once from the whole flight; from then on the tail tells what is new.
        self._peak = max((sample.rss_bytes for sample in evidence.flight(self._run)), default=0)

    @property
    def path(self) -> str:
        """The run's folder."""
        return self._run.path

    def look(self) -> dict[str, Any]:
        """The run now, as a document."""
        run = evidence.read(self._run.path)
        if run.record.raw:  # while it is being replaced there may be nothing to read: then what was known holds
            self._run = run
        samples = living(list(evidence.flight(self._run, tail_bytes=_TAIL_BYTES)))
        events = list(evidence.events(self._run, tail_bytes=_TAIL_BYTES))
        self._peak = max([self._peak, *(sample.rss_bytes for sample in samples)])
        return _document(self._run, samples, events, time.time(), self._peak)


def _newest_alive(root: str) -> Run:
    last = None
    for run in evidence.runs(root):
        if run.lives:
            return run
        last = last or run
    hint = "guard run -- COMMAND in another terminal, or --profiles-dir DIR"
    if last is not None:
        hint = f"guard top {last.id}   (the last one, as it ended), or {hint}"
    raise UsageError(f"no guard runs with evidence in {root}", hint=hint)


def _document(
    run: Run, samples: Sequence[FlightSample], events: Sequence[Event], now_s: float, peak: int
) -> dict[str, Any]:
    record = run.record
    last = samples[-1] if samples else None
    running = run.lives and record.outcome is None
    since_s = None
    if record.started_s is not None and running:
        since_s = max(0.0, now_s - record.started_s)
    elif last is not None:
        since_s = record.elapsed_s or last.elapsed_s
    limit = last.limit_bytes if last is not None and last.limit_bytes else record.limit_bytes
    return {
        "schema_version": SCHEMA_VERSION,
        "run": run.id,
        "path": run.path,
        "command": list(record.command),
        "pid": record.pid,
        "guard_pid": record.guard_pid,
        "running": running,
        "outcome": run.outcome,
        "code": record.code,
        "elapsed_s": None if since_s is None else round(since_s, 3),
        "sample_age_s": None if last is None else round(max(0.0, now_s - last.at_s), 3),
        "state": last.state if last is not None else "ok",
        "rss_bytes": last.rss_bytes if last is not None else None,
        "use_bytes": last.use_bytes if last is not None else None,
        "peak_bytes": max(record.peak_bytes or 0, peak) or None,
        "limit_bytes": limit,
        "limit_source": record.limit_source,
        "headroom_bytes": last.headroom_bytes if last is not None else None,
        "slope_bytes_per_s": last.slope_bytes_per_s if last is not None else None,
        "time_to_limit_s": last.time_to_limit_s if last is not None else None,
        "oom_kills": last.oom_kills if last is not None else None,
        "thresholds": {name: level.size_bytes for name, level in record.thresholds.items()},
        "history": [sample.rss_bytes for sample in samples[-60:]],
        "process_count": last.process_count if last is not None else None,
        "processes": _processes(samples),
        "actions": _actions(events),
    }


def _processes(samples: Sequence[FlightSample]) -> list[dict[str, Any]]:
    """The last sample's processes with their share of a core and their growth since some samples before."""
    if not samples:
        return []
    last = samples[-1]
    # Over some seconds, where the tail reaches that far: two samples of a short wait tell little.
    first = next((sample for sample in reversed(samples) if last.elapsed_s - sample.elapsed_s >= 2.0), samples[0])
    seconds = last.elapsed_s - first.elapsed_s
    before = {each.pid: each for each in first.processes}
    rows = []
    for each in sorted(last.processes, key=lambda each: -(each.rss_bytes or 0)):
        old = before.get(each.pid)
        known = old is not None and seconds > 0 and old.cpu_ticks <= each.cpu_ticks
        rows.append(
            {
                "pid": each.pid,
                "name": each.name,
                "rss_bytes": each.rss_bytes,
                "cpu_share": round((each.cpu_ticks - old.cpu_ticks) / _TICKS / seconds, 4) if old and known else None,
                "slope_bytes_per_s": round(((each.rss_bytes or 0) - (old.rss_bytes or 0)) / seconds)
                if old and known
                else None,
            }
        )
    return rows


def _actions(events: Sequence[Event]) -> list[dict[str, Any]]:
    """The last actions, newest last; one that was started and hasn't ended is `running`."""
    found = evidence.actions(events)
    ended = [each for each in found if each.how != "running"]
    return [
        {
            "action": each.kind,
            "pid": each.pid,
            "started_s": each.began_s,
            "state": each.state,
            "how": each.how,
            "reason": each.reason,
            "path": each.path,
        }
        for each in [*ended[-_MOST_ENDED:], *found[len(ended) :]]
    ]


# -- for people -------------------------------------------------------------------------------------------------------


def text(document: Mapping[str, Any], width: int = 100, height: int = 40) -> str:
    """The view as lines of at most `width`, at most `height` of them."""
    lines = [*_head(document, width), ""]
    processes = document["processes"]
    actions = document["actions"][-_MOST_ACTIONS:]
    room = max(1, min(_MOST_PROCESSES, height - len(lines) - len(actions) - 4))
    lines.append(f"{'PID':>8}  {'RSS':>9}  {'GROWTH':>12}  {'CPU':>6}  NAME")
    for each in processes[:room]:
        size = human_bytes(each["rss_bytes"]) if each["rss_bytes"] is not None else "?"
        growth = _rate(each["slope_bytes_per_s"])
        cpu = human_percent(each["cpu_share"]) if each["cpu_share"] is not None else ""
        lines.append(f"{each['pid']:>8}  {size:>9}  {growth:>12}  {cpu:>6}  {visible(each['name'])}")
    more = (document["process_count"] or 0) - min(room, len(processes))
    if more > 0:
        lines.append(f"{'':>8}  and {more} more")
    if actions:
        lines.append("")
        for each in actions:
            why = f": {each['reason']}" if each["how"] in ("failed", "skipped") and each["reason"] else ""
            mark = {"running": "▶", "finished": "✓"}.get(each["how"], "✗")
            lines.append(visible(f"{mark} {each['action']} of {each['pid']} {each['how']}{why}"))
    return "\n".join(shorten(line, width) for line in lines[:height])


def _head(document: Mapping[str, Any], width: int) -> list[str]:
    mark = MARKS[document["state"]]
    lasted = human_duration(document["elapsed_s"]) if document["elapsed_s"] is not None else "?"
    if document["running"]:
        how = f"{mark} {document['state']}, running for {lasted}"
        age = document["sample_age_s"]
        how += f", last sample {human_duration(age)} ago" if age is not None else ", no sample yet"
    else:
        code = f" {document['code']}" if document["code"] is not None else ""
        how = f"ended: {document['outcome']}{code} after {lasted}; guard postmortem {document['run']}"
    lines = [
        f"{visible(document['run'])}  {visible(' '.join(document['command']))}",
        visible(how),
    ]
    use, limit = document["use_bytes"], document["limit_bytes"]
    if use is not None and limit:
        share = min(1.0, max(0.0, use / limit))
        full = round(share * _BAR)
        headroom = human_bytes(document["headroom_bytes"] or 0)
        left_s = document["time_to_limit_s"]
        reach = f", limit in {human_duration(left_s)}" if left_s is not None and left_s < 7 * 86400 else ""
        lines.append(
            f"[{'█' * full}{'·' * (_BAR - full)}] {human_bytes(use)} of {human_bytes(limit)} "
            f"({human_percent(share)}), headroom {headroom}{reach}"
        )
    if document["rss_bytes"] is not None:
        peak = human_bytes(document["peak_bytes"] or 0)
        rate = _rate(document["slope_bytes_per_s"])
        levels = ", ".join(
            f"{name} {human_bytes(document['thresholds'][name])}" for name in STATES if name in document["thresholds"]
        )
        lines.append(f"tree {human_bytes(document['rss_bytes'])} ({rate or '±0'}), peak {peak}; {levels}")
        lines.append(_spark(document["history"]))
    if document["oom_kills"]:
        lines.append(f"OOM kills counted by the cgroup: {document['oom_kills']}")
    return lines


def _rate(slope: float | None) -> str:
    if slope is None or abs(slope) < 1000:
        return ""
    return f"{'+' if slope > 0 else ''}{human_bytes(slope)}/s"


def _spark(history: Sequence[int]) -> str:
    """The last samples' sizes as bars."""
    low, high = min(history, default=0), max(history, default=0)
    if high <= low:
        return "▁" * len(history)
    return "".join("▁▂▃▄▅▆▇█"[int((size - low) / (high - low) * 7)] for size in history)


def follow(view: View, interval_s: float) -> None:
    """Draw the view in place until the run ends or Ctrl-C; the terminal is left as it was, the last view below it."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False)
    document = view.look()

    def drawn() -> Text:
        return Text(text(document, console.width, console.height), no_wrap=True, overflow="crop")

    def ended(number: int, frame: object) -> None:
        raise SystemExit(128 + number)  # through the `with`, which gives the terminal back

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ended)
    try:
        with Live(drawn(), console=console, screen=True, auto_refresh=False) as screen:
            while document["running"]:
                time.sleep(interval_s)
                document = view.look()
                screen.update(drawn(), refresh=True)
    except KeyboardInterrupt:
        pass
    console.print(drawn())
