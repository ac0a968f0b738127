"""The list of runs: filters and rows."""

from __future__ import annotations

import pytest

from supervisor.errors import UsageError
from supervisor.listing import Row, filter_of, table

NOW = 1_800_000_000.0


def row(**changes: object) -> Row:
    fields: dict[str, object] = {
        "run": "20260101T000000Z-app-1-abcd", "path": "/p", "started_s": NOW - 3600, "command": ("python", "App.py"),
        "outcome": "exited", "code": 0, "signal": None, "elapsed_s": 5.0, "peak_bytes": 10**7, "limit_bytes": None,
        "highest_state": "warning", "oom_kills": 0, "suspect": None, "evidence": 3,
    } | changes  # fmt: skip
    return Row(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "changes", "passes"),
    [
        ((("exited",), "", "", ""), {}, True),
        ((("running,exited",), "", "", ""), {}, True),
        ((("running", "oom-killed"), "", "", ""), {}, False),
        (((), "warning", "", ""), {}, True),
        (((), "critical", "", ""), {}, False),
        (((), "critical", "", ""), {"highest_state": "profiling"}, True),
        (((), "", "app.py", ""), {}, True),
        (((), "", "abcd", ""), {}, True),
        (((), "", "other", ""), {}, False),
        (((), "", "", "2h"), {}, True),
        (((), "", "", "30m"), {}, False),
        (((), "", "", "2027-01-15"), {}, True),
        (((), "", "", "2027-01-15T07:30"), {}, False),
        (((), "", "", "1d"), {"started_s": None}, False),
    ],
)
def test_filters(given: tuple[tuple[str, ...], str, str, str], changes: dict[str, object], passes: bool) -> None:
    assert filter_of(*given, NOW).passes(row(**changes)) is passes


@pytest.mark.parametrize(
    "given", [(("x",), "", "", ""), ((), "high", "", ""), ((), "", "", "then"), ((), "", "", "12")]
)
def test_words_that_are_none(given: tuple[tuple[str, ...], str, str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        filter_of(*given, NOW)
    assert "not accepted" in caught.value.what and caught.value.why


def test_the_table() -> None:
    rows = [
        row(),
        row(outcome="signalled", signal="SIGKILL", peak_bytes=None, elapsed_s=None),
        row(command=("x\x1b[2J\n\u202e", "y" * 5000), started_s=None),
    ]
    lines = table("/p", rows, 3, None).splitlines()
    assert lines[0].split()[:3] == ["WHEN", "(UTC)", "OUTCOME"] and len(lines) == 4
    assert "exited 0" in lines[1] and "signalled SIGKILL" in lines[2] and "\x1b" not in lines[3]
    assert len(lines[3]) < 400
    assert all(len(line) <= 60 for line in table("/p", rows, 3, 60).splitlines())
    assert "none of 3 runs" in table("/p", [], 3, None) and "there is no run" in table("/p", [], 0, None)
