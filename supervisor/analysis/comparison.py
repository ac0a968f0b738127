"""A comparison in words: Markdown, one line, JSON. The HTML page is `comparison_page`."""

from __future__ import annotations

from supervisor.analysis.markdown import code, plain
from supervisor.analysis.outcome import GONE, IMPROVEMENT, MIXED, NEW, REGRESSION, UNCHANGED
from supervisor.analysis.text import binary_bytes, counted, shorten, visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervisor.analysis.outcome import Comparison, Figure, Row
    from supervisor.analysis.reading import Reading

SCHEMA_VERSION = 1
_MOST_ROWS = 50
_MOST_UNCHANGED = 10
_MOST_FUNCTIONS = 2000
_SENSELESS = 5.0  # a smallest change of more than this is none worth a figure
SCORE_FORMULA = "100 × T / (T + R): T the baseline's total, R what regressions added to it"
MARKS = {REGRESSION: "❌", IMPROVEMENT: "✅", MIXED: "❌", UNCHANGED: "⚪"}


def value(found: Comparison, amount: float, *, signed: bool = False) -> str:
    """A time, a share or a count for people: `1.23 s`, `+12.3 ms/s`, `4.5 %`, `1,200`."""
    sign = ("+" if amount >= 0 else "−") if signed else "" if amount >= 0 else "−"
    size = abs(amount)
    if found.per == "share":
        return f"{sign}{size * 100:.2f} %"
    per = "/s" if found.per == "second" else ""
    if found.unit == "bytes":
        return f"{sign}{binary_bytes(round(size))}{per}"
    if found.unit == "samples":
        return f"{sign}{size:,.0f}{per}" if size >= 10 or size == int(size) else f"{sign}{size:.1f}{per}"
    if size >= 9.9995:
        return f"{sign}{size:,.1f} s{per}"
    if size >= 0.99995:
        return f"{sign}{size:.2f} s{per}"
    return f"{sign}{size * 1e3:.3g} ms{per}" if size * 1e3 < 99.95 else f"{sign}{size * 1e3:.0f} ms{per}"


def relative(figure: Figure) -> str:
    """The change in per cent of what was before: `+20.3 %`, `from 0`."""
    return "from 0" if figure.relative is None else _signed(figure.relative)


def change(row: Row) -> str:
    """A function's change: `+20.3 % self`, `new`."""
    return row.verdict if row.verdict in (NEW, GONE) else f"{relative(row.figure)} {kind(row)}"


def _signed(part: float) -> str:
    return f"{part:+.1%}".replace("%", " %").replace("-", "−")


def percent(part: float | None) -> str:
    """A part as a per cent with two digits: `6.2 %`, `14 %`."""
    if part is None:
        return "?"
    return f"{part * 100:.2g} %" if part < 1 else f"{part * 100:,.0f} %"


def line(found: Comparison) -> str:
    """All that matters on one line, without its end."""
    words = [f"{MARKS[found.verdict]} {found.verdict}"]
    names = ("larger", "smaller") if found.unit == "bytes" else ("slower", "faster")
    for verdict, name in zip((REGRESSION, IMPROVEMENT), names, strict=True):
        rows = [row for row in found.of(verdict) if not row.minor]
        if rows:
            first = rows[0]
            more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
            by = relative(first.figure) if first.figure.before > 0 else change(first)
            said = f"{by} ({value(found, first.figure.change, signed=True)})"
            words.append(f"{name}: {shorten(visible(first.function), 80)} {said}{more}")
    if found.verdict == UNCHANGED:
        words.append(_smallest(found))
    words.append(f"total {_total_change(found)}")
    words.append(f"score {found.score:.0f}/100")
    return "; ".join(word for word in words if word)


def _smallest(found: Comparison) -> str:
    """What would have been seen."""
    if found.tenth is None or found.tenth > _SENSELESS:
        return "there are too few samples to see any"
    noun = "bytes" if found.unit == "bytes" else "time"
    words = f"a function with a tenth of the {noun} would have had to change by {percent(found.tenth)}"
    if found.total.detectable is not None and found.total_judged:
        words += f", the whole by {percent(found.total.detectable)}"
    return words


def _total_change(found: Comparison) -> str:
    if found.per == "share":
        return "not judged (shares)"
    said = f"{relative(found.total)} ({value(found, found.total.change, signed=True)})"
    if not found.total_judged:
        return "not judged (no profile says its rate)"
    return said if found.total.found else f"{said}, within chance"


def _verdict(found: Comparison) -> str:
    words = {
        REGRESSION: "It is slower.",
        IMPROVEMENT: "It is faster.",
        MIXED: "Some of it is slower, some faster.",
        UNCHANGED: f"No detectable change: {_smallest(found)}.",
    }
    if found.unit == "bytes":
        words |= {REGRESSION: "It takes more.", IMPROVEMENT: "It takes less.", MIXED: "Some takes more, some less."}
    return words[found.verdict]


def markdown(found: Comparison) -> str:
    """The report, ending with a newline."""
    noun = "bytes" if found.unit == "bytes" else "time"
    parts = ["# Performance comparison", f"**{MARKS[found.verdict]} {_verdict(found)}**"]
    parts.append(
        "\n".join(
            [
                "| | Baseline | Current | Change |",
                "|---|---:|---:|---:|",
                f"| 📈 Total {noun} | {value(found, found.total.before)} | {value(found, found.total.after)} | "
                f"{plain(_total_change(found))} |",
                f"| Profiles | {len(found.sides[0])} | {len(found.sides[1])} | |",
                f"| Samples | {_samples(found.sides[0])} | {_samples(found.sides[1])} | |",
                f"| 📊 Performance score | | **{found.score:.0f}** of 100 | |",
            ]
        )
    )
    sections = [
        ("## ❌ Regressions", [row for row in found.of(REGRESSION) if not row.minor]),
        ("## ✅ Improvements", [row for row in found.of(IMPROVEMENT) if not row.minor]),
        ("## Below half a per cent of the whole", [row for row in found.rows if row.minor and _changed(row)]),
    ]
    for title, rows in sections:
        if rows:
            parts += [title, _table(found, rows)]
    fresh = [row for row in found.rows if row.verdict in (NEW, GONE) and not row.minor]
    if fresh:
        parts += ["## New and gone", _fresh(found, fresh)]
    moved = [row for row in found.rows if row.was is not None]
    if moved:
        parts += ["## Renamed or moved", _moved(moved)]
    unchanged = sorted(found.of(UNCHANGED), key=lambda row: -row.self_time.before)[:_MOST_UNCHANGED]
    unchanged = [row for row in unchanged if row.self_time.detectable is not None]
    if unchanged:
        parts += ["## No detectable change", _unchanged(found, unchanged)]
    parts += ["## How this was judged", *[plain(note, spans=True) for note in paragraphs(found)]]
    parts.append(_origins(found))
    return "\n\n".join(parts) + "\n"


def _changed(row: Row) -> bool:
    return row.verdict in (REGRESSION, IMPROVEMENT)


def _samples(side: list[Reading]) -> str:
    return f"{sum(reading.samples for reading in side):,.0f}"


def place(row: Row) -> str:
    """Where a function is: `app.py:12`, empty where that isn't known."""
    if row.file is None:
        return ""
    return row.file if row.line is None else f"{row.file}:{row.line}"


def kind(row: Row) -> str:
    """Which time changed."""
    return "self" if row.figure is row.self_time else "total"


def _table(found: Comparison, rows: list[Row]) -> str:
    head = ["| Change | Impact | Of the whole | Self before → after | Total before → after | Function | Location |"]
    head.append("|---:|---:|---:|---:|---:|---|---|")
    for row in rows[:_MOST_ROWS]:
        own, total = row.self_time, row.total_time
        where = place(row)
        head.append(
            f"| {change(row)} | {value(found, row.figure.change, signed=True)} "
            f"| {_of_whole(found, row.figure)} "
            f"| {value(found, own.before)} → {value(found, own.after)} "
            f"| {value(found, total.before)} → {value(found, total.after)} "
            f"| {code(row.function, cell=True)} | {code(where, cell=True) if where else ''} |"
        )
    return "\n".join(head) + _more(len(rows) - _MOST_ROWS)


def _of_whole(found: Comparison, figure: Figure) -> str:
    whole = found.total.before
    return _signed(figure.change / whole) if whole else ""


def _more(number: int) -> str:
    return f"\n\n{counted(number, 'function', 'functions')} more." if number > 0 else ""


def _fresh(found: Comparison, rows: list[Row]) -> str:
    head = ["| | Total before → after | Function | Location |", "|---|---:|---|---|"]
    for row in rows[:_MOST_ROWS]:
        where = place(row)
        head.append(
            f"| {row.verdict} | {value(found, row.total_time.before)} → {value(found, row.total_time.after)} "
            f"| {code(row.function, cell=True)} | {code(where, cell=True) if where else ''} |"
        )
    return "\n".join(head) + _more(len(rows) - _MOST_ROWS)


def _moved(rows: list[Row]) -> str:
    lines = []
    for row in rows[:_MOST_ROWS]:
        before = row.was or ("", None)
        old = f"{code(before[0])}" + (f" ({code(before[1])})" if before[1] else "")
        new = f"{code(row.function)}" + (f" ({code(row.file)})" if row.file else "")
        lines.append(f"- {row.how}: {old} → {new}")
    return "\n".join(lines) + _more(len(rows) - _MOST_ROWS)


def _unchanged(found: Comparison, rows: list[Row]) -> str:
    head = ["| Self before → after | Would have been seen | Function | Location |", "|---:|---:|---|---|"]
    for row in rows:
        own, where = row.self_time, place(row)
        head.append(
            f"| {value(found, own.before)} → {value(found, own.after)} | from ±{percent(own.detectable)} "
            f"| {code(row.function, cell=True)} | {code(where, cell=True) if where else ''} |"
        )
    return "\n".join(head)


def _method(found: Comparison) -> str:
    noun = "bytes" if found.unit == "bytes" else "time"
    per = {"run": f"{noun} per run", "second": f"{noun} per second of recording", "share": "share of the whole"}[
        found.per
    ]
    return f"{per}; {found.method or 'nothing had enough samples to be asked'}. Score: {SCORE_FORMULA}."


def paragraphs(found: Comparison) -> list[str]:
    """How it was judged, and what else is to be known, a paragraph each."""
    return [_method(found), *found.notes]


def _origins(found: Comparison) -> str:
    lines = []
    for name, side in zip(("Baseline", "Current"), found.sides, strict=True):
        for reading in side[:20]:
            lines.append(f"- {name}: {code(reading.origin)}, {plain(reading.format)}, {reading.samples:,.0f} samples")
            lines += [f"  - {plain(note, spans=True)}" for note in reading.notes]
        if len(side) > 20:
            lines.append(f"- {name}: {len(side) - 20} more")
    return "\n".join(lines)


def document(found: Comparison) -> dict[str, Any]:
    """The comparison for programs; numbers are in `unit` and, for `per`, a run, a second or the whole."""
    rows = found.rows[:_MOST_FUNCTIONS]
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": found.verdict,
        "score": round(found.score, 2),
        "score_formula": SCORE_FORMULA,
        "unit": "1" if found.per == "share" else found.unit,
        "per": found.per,
        "total": {**_figure(found.total), "judged": found.total_judged},
        "counts": {
            "functions": len(found.rows),
            "tested": found.tested,
            "regressions": sum(not row.minor for row in found.of(REGRESSION)),
            "improvements": sum(not row.minor for row in found.of(IMPROVEMENT)),
            "new": len(found.of(NEW)),
            "gone": len(found.of(GONE)),
            "renamed_or_moved": sum(row.was is not None for row in found.rows),
        },
        "smallest_detectable": {
            "function_with_a_tenth": _rounded(found.tenth),
            "total": _rounded(found.total.detectable),
        },
        "functions": [_row(found, row) for row in rows],
        "functions_left_out": len(found.rows) - len(rows),
        "method": found.method,
        "notes": found.notes,
        "baseline": [_reading(reading) for reading in found.sides[0]],
        "current": [_reading(reading) for reading in found.sides[1]],
    }


def _row(found: Comparison, row: Row) -> dict[str, Any]:
    return {
        "function": row.function,
        "file": row.file,
        "line": row.line,
        "was": None if row.was is None else {"function": row.was[0], "file": row.was[1], "how": row.how},
        "verdict": row.verdict,
        "minor": row.minor,
        "rests_on": kind(row) if row.verdict != UNCHANGED else None,
        "impact": _rounded(row.figure.change),
        "impact_percent": _percent(row.figure.relative),
        "impact_percent_of_total": _percent(row.figure.change / found.total.before if found.total.before else None),
        "self": _figure(row.self_time),
        "total": _figure(row.total_time),
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "before": _rounded(figure.before),
        "after": _rounded(figure.after),
        "change": _rounded(figure.change),
        "change_percent": _percent(figure.relative),
        "chance": _rounded(figure.chance),
        "detected": figure.found,
        "smallest_detectable_percent": _percent(figure.detectable),
    }


def _reading(reading: Reading) -> dict[str, Any]:
    return {
        "path": reading.origin,
        "format": reading.format,
        "kind": reading.kind,
        "samples": round(reading.samples),
        "seconds": _rounded(reading.seconds),
        "seconds_per_sample": _rounded(
            reading.seconds_per_weight and reading.seconds_per_weight * reading.weight_per_sample
        ),
        "variance_inflation": _rounded(reading.inflation),
        "notes": reading.notes,
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.6g}")


def _percent(part: float | None) -> float | None:
    return None if part is None else round(part * 100, 2)
