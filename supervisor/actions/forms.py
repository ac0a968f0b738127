"""What growth, heap and CPU profiles share: what of them is shown, and in which forms."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from supervisor.actions.task import Task
from supervisor.analysis import flamegraph, folded, markdown, speedscope
from supervisor.quantities import human_bytes

MOST_ROWS = 25
_MOST_TOP = 5


def shown(task: Task, counts: folded.Counts) -> tuple[folded.Counts, int]:
    """What is to be seen by the settings, and the weight that library frames gave to their callers."""
    counts, moved = without_library(task, counts)
    return counts if task.spec.get("source_locations", True) else folded.strip_locations(counts), moved


def without_library(task: Task, counts: folded.Counts) -> tuple[folded.Counts, int]:
    """All frames if the settings say so, else those of no library; the weight that these gave to their callers."""
    return (counts, 0) if task.spec.get("library_frames", True) else folded.fold_library(counts)


def top(counts: folded.Counts) -> list[dict[str, Any]]:
    """The first functions by self weight, with their share of it all."""
    total = sum(counts.values()) or 1
    return [
        {"function": each.function, "file": each.file, "line": each.line, "share": round(each.self_weight / total, 4)}
        for each in folded.by_function(counts)[:_MOST_TOP]
        if each.self_weight
    ]


def table(title: str, figures: Sequence[str], names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A section of Markdown: columns of `figures`, then of `names`, which come from the target and are shown as code.

    A row has a text for each column. The first 25 are shown.
    """
    heads, marks = [*figures, *names], ["---:"] * len(figures) + ["---"] * len(names)
    lines = [f"## {title}", "", f"| {' | '.join(heads)} |", f"|{'|'.join(marks)}|"]
    for row in itertools.islice(rows, MOST_ROWS):
        cells = [
            *row[: len(figures)],
            *(markdown.code(name, cell=True) if name else "" for name in row[len(figures) :]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write_by_bytes(task: Task, counts: folded.Counts, title: str, basis: str, samples: int) -> None:
    """Put `.folded`, `.svg` and `.speedscope.json` in place. `basis` says what the bytes rest on.

    `samples` is how many samples stand behind them. Raises OSError.
    """
    task.write(".folded", folded.render(counts))
    task.write(
        ".svg",
        flamegraph.render(counts, title=title, unit="bytes", subtitle=basis, format_weight=human_bytes, growth=True),
    )
    document = speedscope.render(counts, name=title, unit="bytes", exporter="guard", taken=samples)
    task.write(".speedscope.json", document)
