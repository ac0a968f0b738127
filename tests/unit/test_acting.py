"""Whom a run suspects, as growth attributions come in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from supervisor import record
from supervisor.acting import Acting
from supervisor.model import Start


def after(*results: tuple[str, int, bool], share: float = 1.0, temporary: int = 0) -> dict[str, Any]:
    """The suspect after growth found these functions, with these MiB, on enough or not."""
    acting = object.__new__(Acting)
    acting._guilty = {"pid": 7, "name": "app", "rss_bytes": 9}
    acting._grew = {}
    acting._journal = SimpleNamespace(suspect=dict(acting._guilty))  # type: ignore[assignment]
    for function, size, enough in results:
        found = {"function": function, "file": "a.py", "line": 1, "share": share, "bytes": size << 20}
        acting._note_suspect(
            Start("growth", "warning", 7, ""), {"suspect": found, "enough": enough, "temporary_samples": temporary}
        )
    return dict(acting._journal.suspect or {})


@pytest.mark.parametrize(
    ("results", "function", "sure"),
    [
        ([("f", 500, False)], "f", False),
        ([("f", 500, False), ("g", 1, True)], "g", True),
        ([("f", 5, True), ("g", 900, False)], "f", True),
        ([("f", 5, True), ("g", 9, True)], "g", True),
        ([("f", 500, False), ("g", 300, False)], "f", False),
    ],
)
def test_enough_comes_before_little_and_more_before_less(
    results: list[tuple[str, int, bool]], function: str, sure: bool
) -> None:
    found = after(*results)
    assert (found["function"], found.get("enough", True), found["name"]) == (function, sure, "app")
    assert record.suspect_words(found).startswith("process 7" if sure else "on little evidence process 7")


def test_the_type_that_grew_stands_beside_the_function_whichever_comes_first() -> None:
    acting = object.__new__(Acting)
    acting._guilty, acting._grew = {"pid": 7, "name": "app", "rss_bytes": 9}, {}
    acting._journal = SimpleNamespace(suspect=dict(acting._guilty))  # type: ignore[assignment]
    heap, growth = Start("heap-profile", "critical", 7, ""), Start("growth", "warning", 7, "")
    grew = {"type": "bytes", "bytes": 5_000_000, "more": 5, "holder": "__main__.pages", "chain": []}
    acting._note_suspect(heap, {"grew": grew})
    found = {"function": "f", "file": "a.py", "line": 1, "share": 1.0, "bytes": 9}
    acting._note_suspect(growth, {"suspect": found, "enough": True})
    acting._note_suspect(heap, {"grew": {**grew, "bytes": 6_000_000, "holder": ""}})  # it ran out of time
    acting._note_suspect(heap, {"grew": None})
    suspect = acting._journal.suspect or {}
    assert suspect["grew"] == {"type": "bytes", "bytes": 6_000_000, "holder": "__main__.pages"}
    assert record.suspect_words(suspect).endswith("; bytes grew by 6 MB, held by __main__.pages")


def test_little_evidence_names_nobody_where_it_is_not_clear() -> None:
    assert "function" not in after(("f", 5, False))
    assert "function" not in after(("f", 500, False), share=0.6)
    assert "function" not in after(("f", 500, False), temporary=1)


@pytest.mark.parametrize(("interval_s", "typed"), [(5.0, "guard run --interval 500ms"), (0.5, "guard profile")])
def test_what_comes_too_late_is_told_what_would_not_have(interval_s: float, typed: str) -> None:
    said: list[dict[str, Any]] = []
    acting = object.__new__(Acting)
    acting.ending = True
    acting._config = SimpleNamespace(interval=interval_s)  # type: ignore[assignment]
    acting._journal = SimpleNamespace(store=None, emit=lambda *_, **fields: said.append(fields))  # type: ignore[assignment]
    acting.start(Start("snapshot", "profiling", 7, ""), None)
    assert said[0]["hint"] == f"{typed} -- COMMAND"
