"""The heap that a program writes itself when it ends (Node, Bun), taken in as guard's own: see `own_profile`."""

from __future__ import annotations

import json
from typing import Any

from supervisor.actions import forms, heap_report
from supervisor.actions.own_profile import Written, await_end, keep, nothing, written
from supervisor.actions.task import Task
from supervisor.analysis import bunheap, folded, heapprofile
from supervisor.analysis.reading import FormatError
from supervisor.profilers import runner
from supervisor.quantities import human_bytes


def take(task: Task) -> dict[str, Any]:
    """Wait for the end, and take in the largest heap: V8's samples of Node, types of Bun. Raises Failure, OSError."""
    runner.hold()
    peak = await_end(task)
    own = task.spec["own"]
    best: tuple[Written, _Heap] | None = None
    files = [each for each in written(own["directory"], "Heap") if each.suffix in (".heapprofile", ".md")]
    for each in files:
        try:
            with open(each.path, encoding="utf-8", errors="replace") as file:
                found = _node_heap(json.load(file)) if each.suffix == ".heapprofile" else _bun_heap(file.read())
        except (FormatError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if best is None or found.size_bytes > best[1].size_bytes:
            best = each, found
    if best is None:
        raise nothing(task)
    main, found = best
    others = len(files) - 1
    size = human_bytes(found.size_bytes)
    peak = peak if main.pid == task.pid else 0  # another of its processes: of that nothing is known
    beside = f"; its process held up to {human_bytes(peak)} in all (RSS)" if peak else ""
    notes = [f"What it held at its end: {size}{beside}. {found.meaning}"]
    if others:
        notes.append(f"{others} more threads and processes wrote profiles of their own, which are beside this one.")
    facts = {"engine": own["engine"], "samples": found.samples, "errors": 0, "bytes": found.size_bytes, "whole": True,
             "others": others, "rss_peak_bytes": peak or None}  # fmt: skip
    top = heap_report.publish(
        task,
        main.pid,
        found.counts,
        title=f"Heap of process {main.pid}",
        basis=f"{size} held at the end",
        head=[("Held", size), *([("Most in memory (RSS)", human_bytes(peak))] if peak else [])],
        notes=notes,
        sections=found.sections,
        facts=facts,
    )
    keep(task, own["directory"], "Heap", main)
    return {"engine": own["engine"], "samples": found.samples, "bytes": found.size_bytes, "top": top}


class _Heap:
    __slots__ = ("counts", "meaning", "samples", "sections", "size_bytes")

    def __init__(self, counts: folded.Counts, samples: int, meaning: str, sections: tuple[str, ...] = ()) -> None:
        self.counts = counts
        self.samples = samples
        self.meaning = meaning
        self.sections = sections
        self.size_bytes = sum(counts.values())


def _node_heap(document: dict[str, Any]) -> _Heap:
    found = heapprofile.parse(document)
    meaning = "V8 charges what an inlined function allocates to its caller."
    return _Heap(found.counts, len(found.samples), meaning)


def _bun_heap(text: str) -> _Heap:
    total, types = bunheap.rows(text)
    cells = (
        (f"{row.count:,}", human_bytes(row.self_bytes), human_bytes(row.retained_bytes), row.name) for row in types
    )
    section = forms.table("Types", ("Objects", "Bytes", "Retained"), ("Type",), cells)
    meaning = (
        "Bun tells types and no code, and counts an array without its elements: what is in memory can be many times as "
        "much. Its own Markdown, beside this, has each object and who retains it."
    )
    return _Heap(bunheap.counts(total, types), sum(row.count for row in types), meaning, (section,))
