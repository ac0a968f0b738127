"""Stacks weighed by bytes in the forms that growth and heap profiles share."""

from __future__ import annotations

from supervisor.actions.task import Task
from supervisor.analysis import flamegraph, folded, speedscope
from supervisor.quantities import human_bytes


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
