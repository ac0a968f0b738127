"""The run drawn over time: memory by process, processor, pressure, states and actions as SVG. Pure.

Shapes have the units of their figures (milliseconds, kilobytes, thousandths of a core or of a per cent, downwards
negative); their view box says which part is seen. What stands over them (lines, words, marks) is placed in per cent
and carries its figures in `data-` attributes. So the script zooms by setting view boxes and per cents.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from supervisor.analysis.flamegraph import escape
from supervisor.analysis.text import shorten, visible
from supervisor.evidence import Record
from supervisor.model import STATES
from supervisor.quantities import human_bytes, human_duration
from supervisor.report.series import Series

AIR = 1.08  # above the highest point
_LOW_AIR = 1.3  # the same in the low panes, where a line of text stands over it
_FAR = 2.5  # a limit this many times above the peak is told, not drawn
_MOST_STATES = 600
_LANE_ROW = 16
_MOST_ROWS = 6
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that went on for a while or happened at once: `kind` names its colour, `href` its place in the page."""

    start_s: float
    end_s: float
    kind: str
    words: str
    href: str


def time_ticks(start_s: float, end_s: float, most: int = 6) -> list[float]:
    """Round moments between two, at most `most` of them and about as many as fit."""
    span = max(end_s - start_s, 0.001)
    step = next((step for step in _STEPS_S if span / step <= most), None)
    if step is None:
        step = 86400 * -(-span // (86400 * most))
    return [number * step for number in range(int(-(-start_s // step)), int(end_s // step) + 1)]


def value_ticks(top: float, most: int = 5) -> list[float]:
    """Round values from above 0 to `top`."""
    power: float = 10.0 ** math.floor(math.log10(top / most))
    step = next(power * factor for factor in (1, 2, 5, 10) if top / (power * factor) <= most)
    return [number * step for number in range(1, int(top / step) + 1)]


def top_bytes(found: Series, record: Record) -> int:
    """How much memory the drawing shows at first: the peak, and what is near above it of thresholds and limit."""
    peak = max(*found.rss, *found.use, record.peak_bytes or 0, 1_000_000)
    near = [size for size in _levels(found, record) if peak < size <= _FAR * peak]
    return round(max([peak, *near[:1], *(size for size in _limits(found) if size <= _FAR * peak)]) * AIR)


def _levels(found: Series, record: Record) -> list[int]:
    return sorted(level.size_bytes for level in record.thresholds.values())


def _limits(found: Series) -> list[int]:
    return [limit for limit in found.limits if limit is not None]


def figure(found: Series, record: Record, marks: Sequence[Mark], end_s: float) -> str:
    """The charts, one above the other over the same time, with their legend."""
    start_s = found.times_s[0]
    start_s = 0.0 if start_s < 0.1 * end_s else start_s
    end_s = max(end_s, found.times_s[-1], start_s + 0.001)
    span = _Span(start_s, end_s)
    top = top_bytes(found, record)
    rows = _rows(marks, span)
    panes = [_memory(found, record, span, top)]
    if any(cores is not None for cores in found.cores):
        panes.append(_line_pane(found, span, "cpu"))
    if any(share is not None for share in found.pressure):
        panes.append(_line_pane(found, span, "pressure"))
    return "\n".join(
        [
            _legend(found, record, top),
            f'<div id="chart" data-start="{_ms(start_s)}" data-end="{_ms(end_s)}">',
            _states(found, span),
            '<div id="panes">',
            *panes,
            "</div>",
            _lane(rows, span),
            _axis(span),
            "</div>",
            _kinds(marks),
            f'<script type="application/json" id="samples">{_data(found)}</script>',
        ]
    )


class _Span:
    """The time drawn, and where a moment lies in it."""

    def __init__(self, start_s: float, end_s: float) -> None:
        self.start_s = start_s
        self.end_s = end_s

    def at(self, moment_s: float) -> str:
        share = (moment_s - self.start_s) / (self.end_s - self.start_s)
        return f"{100 * min(max(share, -1.0), 2.0):.3f}%"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _area(found: Series, sizes: Sequence[int], name: str, title: str) -> str:
    """An area from the ground up to a line. Areas are drawn from the highest down, each over the one behind it."""
    points = " ".join(f"{_ms(at)} {-size}" for at, size in zip(found.times_s, sizes, strict=True))
    first, last = _ms(found.times_s[0]), _ms(found.times_s[-1])
    words = f"<title>{escape(title)}</title>" if title else ""
    return f'<path class="{name}" d="M{first} 0L{points} {last} 0z">{words}</path>'


def _lines(found: Series, values: Iterable[float | None], name: str, *, stepped: bool = False) -> str:
    """A line through the values that are known."""
    parts: list[str] = []
    before: float | None = None
    for at, value in zip(found.times_s, values, strict=True):
        if value is not None:
            if before is None:
                parts.append(f"M{_ms(at)} {-value:.0f}")
            else:
                parts.append(f"H{_ms(at)}V{-value:.0f}" if stepped else f"L{_ms(at)} {-value:.0f}")
        before = value
    return f'<path class="{name}" d="{"".join(parts)}"/>' if parts else ""


def _memory(found: Series, record: Record, span: _Span, top: int) -> str:
    columns = [band.sizes for band in found.bands] + [found.others]
    heights = [0] * len(found)
    areas = []
    for place, column in enumerate(columns):
        heights = [below + size // 1000 for below, size in zip(heights, column, strict=True)]
        if place < len(found.bands):
            band = found.bands[place]
            areas.append(_area(found, heights, f"p{place}", f"{band.pid} {shorten(band.name, 80)}"))
        elif any(column):
            areas.append(_area(found, heights, "others", "all other processes"))
    shapes = [*reversed(areas), _lines(found, [size // 1000 for size in found.rss], "total")]
    if any(use != rss for use, rss in zip(found.use, found.rss, strict=True)):
        shapes.append(_lines(found, [size // 1000 for size in found.use], "use"))
    shapes.append(
        _lines(found, [None if size is None else size // 1000 for size in found.limits], "limit", stepped=True)
    )
    over = []
    for state, level in record.thresholds.items():
        y = _height(level.size_bytes, top)
        words = f"{state} {human_bytes(level.size_bytes)}"
        at = f'data-y="{level.size_bytes // 1000}"'
        over.append(f'<line class="level st-{state}" x2="100%" {at} y1="{y}" y2="{y}"/>')
        over.append(f'<text class="level st-{state}" x="100%" dx="-4" dy="-3" {at} y="{y}">{escape(words)}</text>')
    summary = f"Memory over {human_duration(span.end_s - span.start_s)}: at most {human_bytes(max(found.rss))}"
    ticks = [(value, human_bytes(value * 1000)) for value in value_ticks(top / 1000)]
    return _pane("memory", summary, span, top // 1000, shapes, ticks, over)


def _line_pane(found: Series, span: _Span, name: str) -> str:
    values = found.cores if name == "cpu" else found.pressure
    scaled = [None if value is None else value * 1000 for value in values]
    highest = max(value for value in scaled if value is not None)
    top = math.ceil(max(highest, 1000) * _LOW_AIR)
    if name == "cpu":
        title, unit = "processor", "cores"
        words = f"Processor: at most {highest / 1000:.3g} cores"
    else:
        title, unit = "memory pressure", "%"
        words = f"Memory pressure: tasks waited at most {highest / 1000:.3g} % of the time"
    below = [0 if value is None else round(value) for value in scaled]
    shapes = [_area(found, below, name, ""), _lines(found, scaled, f"{name} line")]
    ticks = [(value, f"{value / 1000:g} {unit}") for value in value_ticks(top / _LOW_AIR, 2)]
    return _pane(name, words, span, top, shapes, ticks, [f'<text class="name" x="100%" dx="-4" y="14">{title}</text>'])


def _height(value: float, top: float) -> str:
    return f"{100 * (1 - value / top):.3f}%"


def _pane(
    name: str,
    words: str,
    span: _Span,
    top: int,
    shapes: Sequence[str],
    ticks: Sequence[tuple[float, str]],
    over: Sequence[str],
) -> str:
    start, end = _ms(span.start_s), _ms(span.end_s)
    grid = []
    for value, text in ticks:
        y = _height(value, top)
        grid.append(f'<line class="grid" x2="100%" y1="{y}" y2="{y}"/>')
        grid.append(f'<text class="grid" x="4" dy="-3" y="{y}">{text}</text>')
    return (
        f'<div class="pane {name}" data-top="{top}">\n'
        f'<svg class="area" viewBox="{start} {-top} {end - start} {top}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(words)}">{"".join(shapes)}</svg>\n'
        f'<svg class="over" aria-hidden="true"><g class="ticks">{"".join(grid)}</g>{"".join(over)}</svg>\n</div>'
    )


def _states(found: Series, span: _Span) -> str:
    """A strip of the states over time."""
    bands: list[tuple[float, float, int]] = []
    starts = [
        (at, state) for state, group in groupby(range(len(found)), found.states.__getitem__) for at in (next(group),)
    ]
    ends = [*(found.times_s[at] for at, _ in starts[1:]), span.end_s]
    bands = [(found.times_s[at], end, state) for (at, state), end in zip(starts, ends, strict=True)]
    if len(bands) > _MOST_STATES:
        size = -(-len(bands) // _MOST_STATES)
        groups = [bands[at : at + size] for at in range(0, len(bands), size)]
        bands = [(group[0][0], group[-1][1], max(state for _, _, state in group)) for group in groups]
    shapes = []
    for start, end, state in bands:
        words = f"{STATES[state]} from {human_duration(start)} to {human_duration(end)}"
        width = f"{100 * max(0.0, end - start) / (span.end_s - span.start_s):.3f}%"
        shapes.append(
            f'<rect class="st-{STATES[state]}" x="{span.at(start)}" width="{width}" height="100%" '
            f'data-from="{_ms(start)}" data-to="{_ms(end)}"><title>{words}</title></rect>'
        )
    reached = ", ".join(dict.fromkeys(STATES[state] for _, _, state in bands))
    return f'<svg class="states" role="img" aria-label="States in their order: {reached}">{"".join(shapes)}</svg>'


def _rows(marks: Sequence[Mark], span: _Span) -> list[list[Mark]]:
    """Marks in as few rows as they fit in beside each other; in the last one they may lie on each other."""
    rows: list[list[Mark]] = []
    room = (span.end_s - span.start_s) * 0.02
    for mark in sorted(marks, key=lambda mark: (mark.start_s, -mark.end_s)):
        for row in rows:
            if row[-1].end_s + room < mark.start_s:
                row.append(mark)
                break
        else:
            if len(rows) < _MOST_ROWS:
                rows.append([mark])
            else:
                rows[-1].append(mark)
    return rows


def _lane(rows: Sequence[Sequence[Mark]], span: _Span) -> str:
    if not rows:
        return ""
    shapes = []
    for number, row in enumerate(rows):
        y = number * _LANE_ROW + _LANE_ROW // 2
        for mark in row:
            words = escape(mark.words)
            shapes.append(
                f'<a href="{escape(mark.href)}" aria-label="{words}"><title>{words}</title>'
                f'<line class="mark k-{mark.kind}" x1="{span.at(mark.start_s)}" x2="{span.at(mark.end_s)}" '
                f'y1="{y}" y2="{y}" data-from="{_ms(mark.start_s)}" data-to="{_ms(mark.end_s)}"/></a>'
            )
    height = len(rows) * _LANE_ROW + 4
    return f'<svg class="lane" height="{height}" role="group" aria-label="Actions and events">{"".join(shapes)}</svg>'


def _axis(span: _Span) -> str:
    words = "".join(
        f'<text y="14" x="{span.at(tick)}">{human_duration(tick) if tick else "0"}</text>'
        for tick in time_ticks(span.start_s, span.end_s)
    )
    return f'<svg class="axis" height="20" aria-hidden="true">{words}</svg>'


def _legend(found: Series, record: Record, top: int) -> str:
    entries = [
        (f"p{place}", f"{shorten(band.name, 40)} ({band.pid}), at most {human_bytes(band.peak_bytes)}")
        for place, band in enumerate(found.bands)
    ]
    if any(found.others):
        entries.append(("others", "all other processes"))
    if any(use != rss for use, rss in zip(found.use, found.rss, strict=True)):
        entries.append(("use", "use of the cgroup (working set)"))
    limits = sorted(set(_limits(found)))
    if limits:
        size = human_bytes(limits[-1]) if len(limits) == 1 else f"{human_bytes(limits[0])} to {human_bytes(limits[-1])}"
        entries.append(("limit", f"limit {size}" + (", above what is drawn" if limits[0] > top else "")))
    items = "".join(
        f'<li><svg class="key {name}" width="14" height="14" aria-hidden="true">'
        f'<path class="{name}" d="M0 2h14v10H0z"/></svg> {escape(words)}</li>'
        for name, words in entries
    )
    return f'<ul class="legend">{items}</ul>'


def _kinds(marks: Sequence[Mark]) -> str:
    """What the colours of the marks mean."""
    found = dict.fromkeys(mark.kind for mark in marks)
    words = {"failed": "a failed action", "oom": "an OOM kill", "event": "another event"}
    items = "".join(
        f'<li><svg class="key" width="18" height="14" aria-hidden="true">'
        f'<line class="mark k-{kind}" x1="5" x2="13" y1="7" y2="7"/></svg> {words.get(kind, kind)}</li>'
        for kind in found
    )
    return f'<ul class="legend">{items}</ul>' if items else ""


def _data(found: Series) -> str:
    """The samples for the script: what it reads out, and finds the highest in view by."""
    document = {
        "t": [_ms(at) for at in found.times_s],
        "rss": [size // 1000 for size in found.rss],
        "use": [size // 1000 for size in found.use],
        "limit": [None if size is None else size // 1000 for size in found.limits],
        "state": found.states,
        "states": STATES,
        "cpu": [None if cores is None else round(cores * 1000) for cores in found.cores],
        "pressure": [None if share is None else round(share * 1000) for share in found.pressure],
        "bands": [
            {"name": shorten(visible(band.name), 80), "pid": band.pid, "sizes": [size // 1000 for size in band.sizes]}
            for band in found.bands
        ],
    }
    # The end of a script element can't be in it, whatever a process calls itself.
    return json.dumps(document, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e")
