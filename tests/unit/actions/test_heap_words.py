"""What a heap profile says first: the type that grew, or why none is named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from supervisor.actions.heap_census import Census, Heap
from supervisor.actions.task import Task

MIB = 1 << 20


def counted(*sizes: int) -> dict[str, Any]:
    types = [
        {"type": f"app.Type{number}", "count": size, "bytes": size * MIB, "spread": 0.0, "in": []}
        for number, size in enumerate(sizes)
    ]
    return {"objects": sum(sizes), "looked_at": sum(sizes), "types": types}


@pytest.mark.parametrize(
    ("first", "last", "rss", "doubt", "words"),
    [
        ((10,), (40,), (60, 90), None, "`app.Type0` grew most: 31.5 MB in 30 more objects."),
        ((10,), (11,), (60, 90), "unseen", "Python's objects explain 1.05 MB of the 31.5 MB"),
        ((10,), (200,), (300, 330), "coarse", "No type is named, as the counts don't fit the process: objects of 10.5"),
        ((1, 1, 1, 1), (9, 8, 8, 8), (60, 90), "spread", "`app.Type0` has most, 8.39 MB"),
    ],
)
def test_a_type_is_named_or_it_is_said_why_not(
    first: tuple[int, ...], last: tuple[int, ...], rss: tuple[int, int], doubt: str | None, words: str, tmp_path: Path
) -> None:
    task = Task({"action": "heap-profile", "state": "critical", "pid": os.getpid(), "directory": str(tmp_path),
                 "name": "001-critical-heap-profile", "run": "r"})  # fmt: skip
    heap = Heap(task, os.getpid(), {})
    heap.first = Census(counted(*first), 100.0, rss[0] * MIB, 0)
    heap.last = Census(counted(*last), 103.0, (rss[1] - 1) * MIB, MIB)  # what is swapped out counts as held
    result = heap.finish("asked for")
    assert (result["grew"] is None) == (doubt is not None)
    text = (tmp_path / "001-critical-heap-profile.md").read_text()
    assert words in text.partition("Counts and bytes are estimates")[0]
    meta = (tmp_path / "001-critical-heap-profile.meta.json").read_text()
    assert f'"doubt": {"null" if doubt is None else chr(34) + doubt + chr(34)}' in meta
