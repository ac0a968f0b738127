"""A comparison as one HTML page that needs nothing but itself: the report's tables and differential flame graphs."""

from __future__ import annotations

from supervisor.analysis import differential
from supervisor.analysis.comparison import MARKS, change, line, paragraphs, place, relative, value
from supervisor.analysis.flamegraph import escape
from supervisor.analysis.outcome import GONE, IMPROVEMENT, NEW, REGRESSION, UNCHANGED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervisor.analysis.folded import Counts
    from supervisor.analysis.outcome import Comparison, Row
    from supervisor.analysis.reading import Reading

_MOST_ROWS = 200
_FINE = 1_000_000  # the whole of a graph in whole numbers
_STYLE = """
:root{color-scheme:light dark;--paper:#fdfdfb;--ink:#222;--soft:#666;--line:#ddd;--bad:#b3261e;--good:#0b5cad}
@media (prefers-color-scheme:dark){:root{--paper:#1b1c1e;--ink:#e6e6e6;--soft:#a9adb3;--line:#3a3c40;--bad:#ff8a80;
--good:#7db8f5}}
body{background:var(--paper);color:var(--ink);font:15px/1.45 system-ui,sans-serif;max-width:1240px;margin:2em auto;
padding:0 1em}
table{border-collapse:collapse;width:100%;margin:.5em 0 1.5em}
th,td{border-bottom:1px solid var(--line);padding:.3em .6em;text-align:left;vertical-align:top}
th{color:var(--soft);font-weight:600}
td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
code{font:13px ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;overflow-wrap:anywhere}
.bad{color:var(--bad)}.good{color:var(--good)}.soft{color:var(--soft)}
.verdict{font-size:1.15em;font-weight:600}
figure{margin:1em 0;overflow-x:auto}
"""


def render(found: Comparison) -> str:
    """The page. The readings must have been read with their stacks for the graphs to be there."""
    parts = [f"<h1>Performance comparison</h1>\n<p class=verdict>{escape(line(found))}</p>", _head(found)]
    for title, verdict, style in (("Regressions", REGRESSION, "bad"), ("Improvements", IMPROVEMENT, "good")):
        rows = [row for row in found.of(verdict) if not row.minor]
        if rows:
            parts.append(f"<h2>{MARKS[verdict]} {title}</h2>\n{_table(found, rows, style)}")
    fresh = [row for row in found.rows if row.verdict in (NEW, GONE) and not row.minor]
    if fresh:
        parts.append(f"<h2>New and gone</h2>\n{_table(found, fresh, '')}")
    moved = [row for row in found.rows if row.was is not None]
    if moved:
        parts.append("<h2>Renamed or moved</h2>\n<ul>" + "".join(map(_moved, moved[:_MOST_ROWS])) + "</ul>")
    parts.append(_graphs(found))
    rest = [row for row in found.of(UNCHANGED) if row.self_time.detectable is not None]
    rest.sort(key=lambda row: -row.self_time.before)
    if rest:
        parts.append(f"<h2>No detectable change</h2>\n{_table(found, rest[:50], 'soft')}")
    notes = "".join(f"<p>{escape(note)}</p>\n" for note in paragraphs(found))
    parts.append(f"<h2>How this was judged</h2>\n{notes}")
    parts.append("<ul>" + "".join(map(_origin, [*found.sides[0], *found.sides[1]])) + "</ul>")
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'\">\n"
        f"<title>Performance comparison</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _head(found: Comparison) -> str:
    total = f"{relative(found.total)} ({value(found, found.total.change, signed=True)})"
    if not found.total_judged:
        total = "not judged"
    elif not found.total.found:
        total += ", within chance"
    samples = [f"{sum(reading.samples for reading in side):,.0f}" for side in found.sides]
    rows = [
        ("Total", value(found, found.total.before), value(found, found.total.after), total),
        ("Profiles", str(len(found.sides[0])), str(len(found.sides[1])), ""),
        ("Samples", samples[0], samples[1], ""),
        ("Score", "", f"{found.score:.0f} of 100", ""),
    ]
    cells = "".join(
        f"<tr><th>{escape(name)}</th><td class=n>{escape(a)}</td><td class=n>{escape(b)}</td>"
        f"<td class=n>{escape(change)}</td></tr>\n"
        for name, a, b, change in rows
    )
    titles = "<th></th><th class=n>Baseline</th><th class=n>Current</th><th class=n>Change</th>"
    return f"<table><tr>{titles}</tr>\n{cells}</table>"


def _table(found: Comparison, rows: list[Row], style: str) -> str:
    titles = "".join(f"<th class=n>{title}</th>" for title in ("Change", "Impact", "Self", "Total"))
    head = f"<tr>{titles}<th>Function</th></tr>"
    lines = []
    for row in rows[:_MOST_ROWS]:
        own, total = row.self_time, row.total_time
        said = change(row)
        if style == "soft":
            said = f"seen from ±{(own.detectable or 0) * 100:.2g} %"
        where = place(row)
        name = f"<code>{escape(row.function)}</code>" + (
            f"<br><code class=soft>{escape(where)}</code>" if where else ""
        )
        lines.append(
            f'<tr><td class="n {style}">{escape(said)}</td>'
            f"<td class=n>{escape(value(found, row.figure.change, signed=True))}</td>"
            f"<td class=n>{escape(value(found, own.before))} → {escape(value(found, own.after))}</td>"
            f"<td class=n>{escape(value(found, total.before))} → {escape(value(found, total.after))}</td>"
            f"<td>{name}</td></tr>"
        )
    more = f"<p class=soft>{len(rows) - _MOST_ROWS:,} more.</p>" if len(rows) > _MOST_ROWS else ""
    return f"<table>{head}\n" + "\n".join(lines) + f"</table>{more}"


def _moved(row: Row) -> str:
    before = row.was or ("", None)
    old, new = (f"{name} ({file})" if file else name for name, file in (before, (row.function, row.file)))
    return f"<li>{escape(row.how)}: <code>{escape(old)}</code> → <code>{escape(new)}</code></li>"


def _origin(reading: Reading) -> str:
    notes = "".join(f"<br>{escape(note)}" for note in reading.notes)
    said = f"<code>{escape(reading.origin)}</code>, {escape(reading.format)}, {reading.samples:,.0f} samples"
    return f"<li>{said}{notes}</li>"


def _graphs(found: Comparison) -> str:
    sides = [_stacks(side, found) for side in found.sides]
    without = [reading.origin for side in found.sides for reading in side if not reading.stacks]
    if not sides[0] or not sides[1]:
        named = ", ".join(f"<code>{escape(origin)}</code>" for origin in without[:5])
        return (
            "<h2>Differential flame graph</h2>\n<p>There is none: no stacks are in "
            f"{named}. A Markdown profile has functions only; compare the .folded beside it.</p>"
        )
    names = {row.was: (row.function, row.file) for row in found.rows if row.was is not None}
    names |= found.same_place
    totals = (found.total.before, found.total.after)
    whole = max(totals)
    unified = [
        differential.unify(
            stacks, names if index == 0 else {}, totals[index] / whole * _FINE / max(1, sum(stacks.values()))
        )
        for index, stacks in enumerate(sides)
    ]

    def written(weight: int) -> str:
        return value(found, weight * whole / _FINE)

    graphs = []
    for current, title in ((True, "Now"), (False, "Before")):
        ours, other = (unified[1], unified[0]) if current else (unified[0], unified[1])
        subtitle = "red: slower, blue: faster, grey: the same; widths are " + ("now's" if current else "the baseline's")
        svg = differential.render(ours, other, current=current, title=title, subtitle=subtitle, written=written)
        graphs.append(f"<figure>{svg}</figure>")
    return "<h2>Differential flame graph</h2>\n" + "\n".join(graphs)


def _stacks(side: list[Reading], found: Comparison) -> Counts:
    """The stacks of a side, each profile weighing as much as in the comparison."""
    if any(not reading.stacks for reading in side):
        return {}
    if len(side) == 1:
        return side[0].stacks or {}
    merged: Counts = {}
    for reading in side:
        for stack, weight in (reading.stacks or {}).items():
            factor = (reading.seconds_per_weight or 1.0) * 1e6 if found.unit == "s" else 1.0
            merged[stack] = merged.get(stack, 0) + round(weight * factor)
    return merged
