"""What a run's events and evidence tell, as HTML: each thing at its moment. Pure; every name is escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from supervisor import console, evidence
from supervisor.analysis import flamegraph
from supervisor.analysis.flamegraph import escape
from supervisor.analysis.text import shorten
from supervisor.evidence import Event, FlightSample, Run, grown
from supervisor.evidence.fields import mapping, moment, sequence, text, whole
from supervisor.postmortem import holders
from supervisor.quantities import human_bytes, human_duration, human_percent
from supervisor.report.charts import Mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervisor.report.gather import Piece

READ = (".stacks.json", ".snapshot.json")
_MOST_EVENTS = 400
_MOST_MARKS = 300
_MOST_THREADS = 30
_MOST_FRAMES = 40
_MOST_PROCESSES = 50
_LONGEST = 600
_SILENT = ("action.", "state.changed", "sample.", "config.adjusted", "run.started", "orphan.")
_TITLES = {
    "growth": "Growth: who took the memory",
    "heap-profile": "Heap profile: who allocated",
    "types": "Heap: what the memory is in, and who holds it",
    "cpu-profile": "CPU profile: who was busy, which is not who holds memory",
    "stacks": "Stacks: what ran",
    "snapshot": "Snapshot: processes, cgroup, pressure",
}


class Clock:
    """Wall-clock moments as seconds from the run's start."""

    def __init__(self, run: Run, samples: Sequence[FlightSample]) -> None:
        self.start_s = run.record.started_s
        if self.start_s is None and samples:
            self.start_s = samples[0].at_s - samples[0].elapsed_s

    def after(self, at_s: float | None) -> float | None:
        """Seconds from the start; None where either is not known."""
        return None if at_s is None or self.start_s is None else max(0.0, at_s - self.start_s)


def when(after_s: float | None) -> str:
    """A moment in words that the chart knows as well."""
    return "?" if after_s is None else f"{human_duration(after_s) if after_s else '0 s'}"


# -- events -----------------------------------------------------------------------------------------------------------


def words_of(event: Event) -> str:
    """An event's line, as the log has it for people; by its fields alone where those are not what they should be."""
    try:
        words = console.line({**event.fields, "event": event.name, "level": event.level})
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        words = f"{event.name} {json.dumps(event.fields, default=str)}"
    return shorten(words.removeprefix("guard ").strip(), _LONGEST)


def events_table(events: Sequence[Event], clock: Clock) -> str:
    """The events in their order; of very many the first and the last."""
    if not events:
        return "<p>There are none.</p>"
    half = _MOST_EVENTS // 2
    shown: list[Event | None] = list(events)
    if len(events) > _MOST_EVENTS:
        shown = [*events[:half], None, *events[-half:]]
    rows = []
    for index, event in enumerate(shown):
        if event is None:
            rows.append(f'<tr><td colspan="3">{len(events) - 2 * half:,} more are in events.jsonl</td></tr>')
            continue
        after_s = clock.after(event.at_s)
        level = event.level if event.level in ("warning", "error") else "info"
        to = text(event.fields.get("to")) if event.name == "state.changed" else None
        state = f' class="st-{to}"' if to in ("ok", "warning", "critical", "profiling") else ""
        place = index if index < half or len(events) <= _MOST_EVENTS else len(events) - len(shown) + index
        rows.append(
            f'<tr id="v{place}" class="{level}"><td class=n>{_link(after_s)}</td>'
            f"<td><span{state}>{escape(event.name)}</span></td><td>{escape(words_of(event))}</td></tr>"
        )
    head = "<tr><th scope=col class=n>After</th><th scope=col>Event</th><th scope=col>What</th></tr>"
    return f'<div class=wide tabindex=0 role=region aria-label="Events"><table>{head}\n{"".join(rows)}</table></div>'


def _link(after_s: float | None) -> str:
    """A moment that leads to the chart."""
    if after_s is None:
        return "?"
    return f'<a href="#memory" data-show="{round(after_s * 1000)}">{when(after_s)}</a>'


def marks(events: Sequence[Event], pieces: Sequence[Piece], clock: Clock, end_s: float) -> list[Mark]:
    """What lies below the chart: pieces of evidence from their begin to their end, failures, other events."""
    found: list[Mark] = []
    places = {piece.item.name: number for number, piece in enumerate(pieces)}
    spans: dict[str, tuple[float, float]] = {}
    half = _MOST_EVENTS // 2

    def leads_to(number: int) -> str:
        return "#events" if half <= number < len(events) - half else f"#v{number}"

    for number, event in enumerate(events):
        after_s = clock.after(event.at_s)
        if after_s is None:
            continue
        if not event.name.startswith(_SILENT):
            kind = "oom" if event.name == "oom.detected" else "event"
            words = f"{when(after_s)}: {shorten(words_of(event), 200)}"
            found.append(Mark(after_s, after_s, kind, words, leads_to(number)))
    for action in evidence.actions(events):
        start_s, ended_s = clock.after(action.began_s), clock.after(action.ended_s)
        if start_s is None:
            continue
        name = (action.path or "").rpartition("/")[2].partition(".")[0]
        if action.how == "failed" and ended_s is not None:
            words = shorten(words_of(events[action.place]), 200)
            found.append(Mark(start_s, ended_s, "failed", words, leads_to(action.place)))
        elif action.how in ("running", "finished"):
            spans[name] = start_s, end_s if ended_s is None else ended_s
    for name, place in places.items():
        item = pieces[place].item
        start_s = clock.after(item.at_s)
        span = spans.get(name)
        if span is None and start_s is not None:
            span = start_s, max(start_s, clock.after(moment(item.meta.get("ended"))) or start_s)
        if span is not None:
            kind = item.kind if item.kind in _TITLES else "event"
            words = (
                f"{item.kind} of {item.pid if item.pid is not None else '?'} from {when(span[0])} to {when(span[1])}"
            )
            found.append(Mark(span[0], span[1], kind, words, f"#e{place}"))
    found.sort(key=lambda mark: (mark.kind == "event", mark.start_s))
    return found[:_MOST_MARKS]


# -- evidence ---------------------------------------------------------------------------------------------------------


def piece_card(number: int, piece: Piece, clock: Clock, samples: Sequence[FlightSample]) -> str:
    """A piece of evidence with its moment, what it says and its flame graph."""
    item = piece.item
    after_s = clock.after(item.at_s)
    facts = [f"after {_link(after_s)}" if after_s is not None else "at an unknown moment"]
    held = _held(samples, after_s)
    if held is not None:
        facts.append(f"the tree had {human_bytes(held)}")
    if item.state:
        facts.append(f'in state <span class="st-{escape(item.state)}">{escape(item.state)}</span>')
    if item.pid is not None:
        facts.append(f"process {item.pid}")
    if reason := text(item.meta.get("reason")):
        facts.append(escape(shorten(reason, 200)))
    counts = whole(item.meta.get("samples"))
    if counts is not None and item.kind in ("growth", "cpu-profile", "heap-profile"):
        facts.append(f"{counts:,} samples" + ("" if item.meta.get("enough") is not False else ", which is little"))
    parts = [_grew(piece), _functions(piece), _stacks(piece.found), _snapshot(piece.found), _graph(piece)]
    files = ", ".join(f"<code>{escape(shorten(item.name + suffix, 200))}</code>" for suffix in sorted(item.files)[:20])
    title = _TITLES.get("types" if _of_types(piece) else item.kind, item.kind or "Evidence")
    return (
        f'<article id="e{number}" tabindex="-1"><h3>{escape(title)}</h3><p>{", ".join(facts)}.</p>\n'
        f"{''.join(parts)}<p class=soft>In {escape(item.category)}: {files}</p></article>"
    )


def _of_types(piece: Piece) -> bool:
    """Whether its stacks are of types of objects and who holds them."""
    return piece.item.kind == "heap-profile" and piece.item.meta.get("frames") == "types"


def _held(samples: Sequence[FlightSample], after_s: float | None) -> int | None:
    if after_s is None or not samples:
        return None
    return min(samples, key=lambda sample: abs(sample.elapsed_s - after_s)).rss_bytes


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int], label: str) -> str:
    """A table that scrolls by itself when it is wider than the page. Cells are text; `numbers`: columns of figures."""
    head = "".join(
        f"<th scope=col{' class=n' if at in numbers else ''}>{escape(t)}</th>" for at, t in enumerate(titles)
    )
    lines = [
        "".join(f"<td{' class=n' if at in numbers else ''}>{escape(cell)}</td>" for at, cell in enumerate(row))
        for row in rows
    ]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return (
        f'<div class=wide tabindex=0 role=region aria-label="{escape(label)}">'
        f"<table><tr>{head}</tr>\n{body}</table></div>\n"
    )


def _grew(piece: Piece) -> str:
    found = grown(piece.item.meta.get("grew")) if piece.item.kind == "heap-profile" else None
    if found is None:
        return ""
    held = f", held by <code>{escape(shorten(found.holder, 200))}</code>" if found.holder else ""
    type_ = escape(shorten(found.type, 200))
    return f"<p><code>{type_}</code> grew most: {human_bytes(found.size_bytes)}{held}.</p>\n"


def _functions(piece: Piece) -> str:
    if not piece.functions:
        return ""
    in_bytes = piece.item.kind != "cpu-profile"
    rows = []
    for each in piece.functions:
        place = f"{each['file']}:{each['line']}" if each["file"] and each["line"] else each["file"] or ""
        own = human_bytes(each["self"]) if in_bytes else f"{each['self']:,}"
        rows.append((human_percent(each["share"]), own, shorten(each["function"], 200), shorten(place, 300)))
    name = piece.item.name
    if _of_types(piece):
        return table(("Share", "Bytes", "Type"), [row[:3] for row in rows], (0, 1), f"Types of {name}")
    titles = ("Share", "Self" if in_bytes else "Samples", "Function", "Place")
    return table(titles, rows, (0, 1), f"Functions of {name}")


def _graph(piece: Piece) -> str:
    if not piece.stacks:
        return ""
    item = piece.item
    in_bytes = item.kind in ("growth", "heap-profile")
    words = {"growth": "Growth", "heap-profile": "Allocations", "cpu-profile": "CPU"}.get(item.kind, item.kind)
    if _of_types(piece):
        words = "Objects"
    svg = flamegraph.render(
        dict(piece.stacks),
        title=f"{words} of process {item.pid if item.pid is not None else '?'}",
        unit="bytes" if in_bytes else "samples",
        subtitle=item.name,
        growth=in_bytes,
    )
    label = escape(f"Flame graph of {item.name}")
    return f'<figure class=flame tabindex=0 role=region aria-label="{label}">{svg}</figure>\n'


def _stacks(found: Mapping[str, Any]) -> str:
    threads = holders.threads_of(found)
    if not threads:
        return ""
    parts = []
    for index, thread in enumerate(threads[:_MOST_THREADS]):
        frames = []
        for each in sequence(thread.get("frames"))[:_MOST_FRAMES]:
            frame = holders.frame(mapping(each))
            file, line = frame["file"] or "", frame["line"]
            place = f"{file}:{line}" if file and line else file
            frames.append(
                f"<li><code>{escape(shorten(frame['function'], 200))}</code> "
                f"<span class=soft>{escape(shorten(place, 200))}</span></li>"
            )
        name = text(thread.get("thread_name")) or f"thread {whole(thread.get('os_thread_id')) or '?'}"
        doing = (
            ", held the GIL" if thread.get("owns_gil") is True else ", at work" if thread.get("active") is True else ""
        )
        parts.append(
            f"<details{' open' if index == 0 else ''}><summary>{escape(shorten(name, 100))}{doing}</summary>"
            f"<ol>{''.join(frames)}</ol></details>"
        )
    if len(threads) > _MOST_THREADS:
        parts.append(f"<p>{len(threads) - _MOST_THREADS:,} more threads.</p>")
    return "".join(parts)


def _snapshot(found: Mapping[str, Any]) -> str:
    processes = [mapping(each) for each in sequence(found.get("processes"))]
    if not processes:
        return ""
    rows = []
    processes.sort(key=lambda each: -(whole(each.get("rss_bytes")) or 0))
    for each in processes[:_MOST_PROCESSES]:
        sizes = [whole(each.get(f"{name}_bytes")) for name in ("rss", "pss", "uss", "swap")]
        command = " ".join(word for part in sequence(each.get("command")) if (word := text(part)) is not None)
        rows.append(
            (
                str(whole(each.get("pid")) or "?"),
                *("?" if size is None else human_bytes(size) for size in sizes),
                *("?" if (count := whole(each.get(name))) is None else f"{count:,}" for name in ("threads", "fds")),
                shorten(command or text(each.get("name")) or "?", 300),
            )
        )
    parts = [table(("Pid", "RSS", "PSS", "USS", "Swap", "Threads", "Fds", "Command"), rows, range(7), "Processes")]
    words = []
    cgroup, pressure = mapping(found.get("cgroup")), mapping(found.get("pressure"))
    if (use := whole(cgroup.get("use_bytes"))) is not None:
        limit = whole(cgroup.get("limit_bytes"))
        of = f" of {human_bytes(limit)}" if limit is not None else ", which limits nothing"
        words.append(f"The cgroup had {human_bytes(use)} in use{of}.")
    outside = whole(mapping(found.get("reconciled")).get("outside_tree_bytes"))
    if outside is not None:
        words.append(f"{human_bytes(outside)} of it was outside the tree.")
    lines = [line for each in sequence(pressure.get("memory")) if (line := text(each)) is not None]
    if lines:
        words.append(f"Memory pressure of the {text(pressure.get('of')) or '?'}: {'; '.join(lines[:2])}")
    return parts[0] + (f"<p>{escape(' '.join(words))}</p>" if words else "")
