"""The page: its parts in their order, under its policy. Pure."""

from __future__ import annotations

import base64
import hashlib
import time

from supervisor import postmortem
from supervisor.analysis import flamescript
from supervisor.analysis.flamegraph import escape
from supervisor.analysis.text import counted, shorten
from supervisor.model import STATES
from supervisor.quantities import human_bytes, human_duration, human_percent
from supervisor.report import charts, told
from supervisor.report.gather import Material
from supervisor.report.script import SCRIPT
from supervisor.report.series import Series, ordered, series
from supervisor.report.style import STYLE
from supervisor.version import VERSION

_MOST_ROWS = 60
_MOST_COMMAND = 20_000
_SHORT_COMMAND = 160


def render(material: Material) -> str:
    """The whole page, the same for the same material."""
    run, document = material.run, material.document
    samples = ordered(material.samples)
    clock = told.Clock(run, samples)
    found = series(samples) if samples else None
    end_s = document["record"]["elapsed_s"] or document["record"]["last_seen_s"] or 0.0
    name = shorten(" ".join(run.record.command) or run.id, 60)
    parts = [_head(material), _verdict(material), "<main>"]
    parts.append('<section id="memory" aria-labelledby="memory-title"><h2 id="memory-title">Memory over time</h2>')
    if found is None:
        parts.append("<p>There are no samples: the run was too short, or its flight.jsonl is gone.</p>")
    else:
        marks = told.marks(material.events, material.pieces, clock, end_s)
        parts.append(charts.figure(found, run.record, marks, end_s))
        parts.append(_table(found))
    parts.append("</section>")
    parts.append(_evidence(material, clock))
    parts.append(
        '<section id="events" aria-labelledby="events-title"><h2 id="events-title">Events</h2>'
        f"{told.events_table(material.events, clock)}</section>"
    )
    parts.append(f"</main>\n{_foot(material)}")
    return _page(name, "\n".join(parts))


def _page(title: str, body: str) -> str:
    # Only these may take effect: whatever else found its way into the page would be dead text.
    scripts = " ".join(_hash(script) for script in (SCRIPT, flamescript.SCRIPT))
    styles = " ".join(_hash(style) for style in (STYLE, flamescript.STYLE))
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<meta name="color-scheme" content="light dark">\n'
        f"<title>guard: {escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n"
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _head(material: Material) -> str:
    record, head, memory = material.run.record, material.document["record"], material.document["memory"]
    command = " ".join(record.command) or "(command unknown)"
    full = ""
    if len(command) > _SHORT_COMMAND:
        full = (
            f"<details><summary>The whole command ({len(command):,} characters)</summary>"
            f"<code>{escape(shorten(command, _MOST_COMMAND))}</code></details>"
        )
    started = "?" if record.started_s is None else time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(record.started_s))
    limit, peak = memory["limit_bytes"], memory["peak_bytes"]
    use = memory["peak_use_bytes"]
    tiles = [
        ("Outcome", _outcome(material)),
        ("Highest state", f'<span class="st-{memory["highest_state"]}">{memory["highest_state"]}</span>'),
        ("Peak", "?" if peak is None else human_bytes(peak)),
        (
            "Limit",
            "?"
            if limit is None
            else human_bytes(limit) + (f", {human_percent((use or 0) / limit)} in use at most" if limit else ""),
        ),
        ("Last heard of after", "?" if head["last_seen_s"] is None else human_duration(head["last_seen_s"]))
        if head["elapsed_s"] is None
        else ("Lasted", human_duration(head["elapsed_s"])),
        ("Started", started),
    ]
    cells = "".join(f"<div><dt>{name}</dt><dd>{words}</dd></div>" for name, words in tiles)
    return (
        f"<header><p class=soft>guard report</p>"
        f"<h1><code>{escape(shorten(command, _SHORT_COMMAND))}</code></h1>{full}\n"
        f'<nav aria-label="Parts of this page"><a href="#memory">Memory</a> <a href="#evidence">Evidence</a> '
        f'<a href="#events">Events</a></nav>\n<dl class=tiles>{cells}</dl></header>'
    )


def _outcome(material: Material) -> str:
    ended = material.document["ended"]
    how = escape(str(ended["outcome"]))
    if ended["signal"]:
        return f"{how} by {escape(str(ended['signal']))}"
    return f"{how} with code {ended['code']}" if ended["code"] is not None else how


def _verdict(material: Material) -> str:
    """The post-mortem's words."""
    rows = "".join(
        f"<dt>{label}</dt><dd>{escape_lines(lines)}</dd>"
        for label, lines in postmortem.sections(material.document)
        if lines
    )
    following = material.document["next"]
    rows += f"<dt>next</dt><dd><code>{escape(following['type'])}</code>\n{escape(following['why'])}</dd>"
    return f'<section aria-label="Post-mortem"><h2>What happened</h2><dl class=words>{rows}</dl></section>'


def escape_lines(lines: list[str]) -> str:
    """Lines for an element that keeps line ends."""
    return "\n".join(escape(line) for line in lines)


def _table(found: Series) -> str:
    """Samples as a table: of very many evenly spread ones, each highest of its stretch."""
    stretches = min(_MOST_ROWS, len(found))
    kept = sorted(
        {
            max(
                range(number * len(found) // stretches, (number + 1) * len(found) // stretches),
                key=found.rss.__getitem__,
            )
            for number in range(stretches)
        }
    )
    rows = []
    for at in kept:
        limit, cores = found.limits[at], found.cores[at]
        largest = max(found.bands, key=lambda band: band.sizes[at], default=None)
        rows.append(
            (
                human_duration(found.times_s[at]),
                STATES[found.states[at]],
                human_bytes(found.rss[at]),
                human_bytes(found.use[at]),
                "?" if limit is None else human_bytes(limit),
                "" if cores is None else f"{cores:.2f}",
                ""
                if largest is None
                else f"{human_bytes(largest.sizes[at])}: {shorten(largest.name, 60)} ({largest.pid})",
            )
        )
    peak = found.peak
    about = (
        f"{counted(found.taken, 'sample', 'samples')}, {len(found):,} of them drawn, the highest "
        f"({human_bytes(found.rss[peak])} after {human_duration(found.times_s[peak])}) among them."
    )
    titles = ("After", "State", "Memory (RSS)", "In use", "Limit", "Cores", "Largest process")
    return (
        f"<p class=soft>{about}</p><details><summary>As a table</summary>"
        f"{told.table(titles, rows, (0, 2, 3, 4, 5), 'Samples')}</details>"
    )


def _evidence(material: Material, clock: told.Clock) -> str:
    cards = [told.piece_card(number, piece, clock, material.samples) for number, piece in enumerate(material.pieces)]
    # Growth and heap name who holds memory; they come first, as in the post-mortem.
    order = {"growth": 0, "heap-profile": 1}
    first = sorted(range(len(cards)), key=lambda at: order.get(material.pieces[at].item.kind, 2))
    body = "\n".join(cards[at] for at in first) or "<p>No action left any.</p>"
    more = f"<p>{material.left_out:,} more pieces lie beside them.</p>" if material.left_out else ""
    return (
        '<section id="evidence" aria-labelledby="evidence-title"><h2 id="evidence-title">Evidence</h2>\n'
        f"{body}{more}</section>"
    )


def _foot(material: Material) -> str:
    record = material.run.record
    facts = [
        f"run {material.run.id}",
        f"on {record.host}" if record.host else "",
        f"environment {record.environment}" if record.environment else "",
        f"watched by guard {record.version}" if record.version else "",
        f"written by guard {VERSION}",
    ]
    return f"<footer>{escape(', '.join(shorten(fact, 200) for fact in facts if fact))}</footer>"
