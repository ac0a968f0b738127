"""Whom a run suspects, as growth attributions come in."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor import record
from supervisor.suspicion import Suspicion


def suspecting() -> Suspicion:
    """Process 7 held the most when a state changed."""
    suspicion = Suspicion()
    suspicion.guilty(7, "app", 9)
    return suspicion


def found(function: str, size_bytes: int, share: float = 1.0) -> dict[str, Any]:
    return {"function": function, "file": "a.py", "line": 1, "share": share, "bytes": size_bytes}


def after(*results: tuple[str, int, bool], share: float = 1.0, temporary: int = 0) -> dict[str, Any]:
    """The suspect after growth found these functions, with these MiB, on enough or not."""
    suspicion = suspecting()
    for function, size, enough in results:
        suspect = found(function, size << 20, share)
        suspicion.growth(7, {"suspect": suspect, "enough": enough, "temporary_samples": temporary})
    return suspicion.found or {}


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
    suspect = after(*results)
    assert (suspect["function"], suspect.get("enough", True), suspect["name"]) == (function, sure, "app")
    assert record.suspect_words(suspect).startswith("process 7" if sure else "on little evidence process 7")


def test_the_type_that_grew_stands_beside_the_function_whichever_comes_first() -> None:
    suspicion = suspecting()
    grew = {"type": "bytes", "bytes": 5_000_000, "more": 5, "holder": "__main__.pages", "chain": []}
    suspicion.heap(7, {"grew": grew})
    suspicion.growth(7, {"suspect": found("f", 9), "enough": True})
    suspicion.heap(7, {"grew": {**grew, "bytes": 6_000_000, "holder": ""}})  # it ran out of time
    suspicion.heap(7, {"grew": None})
    suspect = suspicion.found or {}
    assert suspect["grew"] == {"type": "bytes", "bytes": 6_000_000, "holder": "__main__.pages"}
    assert record.suspect_words(suspect).endswith("; bytes grew by 6 MB, held by __main__.pages")


def test_where_no_function_is_known_the_type_and_its_holder_are_told() -> None:
    suspicion = suspecting()
    suspicion.heap(7, {"grew": {"type": "bytearray", "bytes": 34_000_000, "holder": "__main__.Bus.listeners"}})
    suspicion.guilty(7, "app", 9)  # the next state was entered
    words = "process 7 (app): bytearray grew by 34 MB, held by __main__.Bus.listeners"
    assert record.suspect_words(suspicion.found) == words
    mapped = {"pid": 7, "name": "app", "mapping": "[heap]", "share": 1.0, "bytes": 9}
    told = record.suspect_words({**mapped, "grew": {"type": "bytes", "bytes": 5_000_000, "holder": ""}})
    assert told.endswith("is in [heap] (9 B); bytes grew by 5 MB")


def test_the_type_of_another_process_is_not_the_suspects() -> None:
    suspicion = suspecting()
    suspicion.heap(8, {"grew": {"type": "bytes", "bytes": 5_000_000, "holder": ""}})
    assert suspicion.found == {"pid": 7, "name": "app", "rss_bytes": 9}


def test_little_evidence_names_nobody_where_it_is_not_clear() -> None:
    assert "function" not in after(("f", 5, False))
    assert "function" not in after(("f", 500, False), share=0.6)
    assert "function" not in after(("f", 500, False), temporary=1)


def test_who_holds_the_most_later_does_not_displace_a_function() -> None:
    suspicion = suspecting()
    suspicion.guilty(8, "worker", None)
    assert suspicion.found == {"pid": 8, "name": "worker", "rss_bytes": None}
    suspicion.growth(7, {"suspect": found("f", 9), "enough": True})
    suspicion.guilty(8, "worker", 10)
    assert suspicion.found == {"pid": 7, "name": "", **found("f", 9)}  # whose name it was is not known any more
