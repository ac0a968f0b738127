from __future__ import annotations

import json
import signal

import pytest

from supervisor.actions import forms
from supervisor.actions.task import Task
from supervisor.profilers import runner

COUNTS = {"main (/app/a.py:1);parse (/usr/lib/python3.11/json/decoder.py:5)": 3, "main (/app/a.py:1)": 1, "idle": 0}


def task(**spec: object) -> Task:
    return Task({"action": "heap-profile", "state": "profiling", "pid": 1, "name": "", "directory": "", **spec})


@pytest.mark.parametrize(
    ("library", "locations", "shown", "moved"),
    [
        (True, True, COUNTS, 0),
        (False, True, {"main (/app/a.py:1)": 4, "idle": 0}, 3),
        (True, False, {"main (a.py);parse (decoder.py)": 3, "main (a.py)": 1, "idle": 0}, 0),
        (False, False, {"main (a.py)": 4, "idle": 0}, 3),
    ],
)
def test_what_is_shown_is_set(library: bool, locations: bool, shown: dict[str, int], moved: int) -> None:
    assert forms.shown(task(library_frames=library, source_locations=locations), COUNTS) == (shown, moved)


def test_the_first_have_weight_and_a_share() -> None:
    assert forms.top(COUNTS) == [
        {"function": "parse", "file": "/usr/lib/python3.11/json/decoder.py", "line": 5, "share": 0.75},
        {"function": "main", "file": "/app/a.py", "line": 1, "share": 0.25},
    ]
    assert forms.top({}) == []


def test_a_table_has_figures_then_names_that_break_nothing() -> None:
    rows = [("1", "2 B", "a|b\n`c`", ""), *[("1", "2 B", "x", "y")] * 40]
    lines = forms.table("Types", ("Objects", "Bytes"), ("Type", "Mostly in"), rows).split("\n")
    assert lines[:4] == ["## Types", "", "| Objects | Bytes | Type | Mostly in |", "|---:|---:|---|---|"]
    assert lines[4].startswith("| 1 | 2 B | ") and lines[4].endswith(" |  |") and lines[4].count("\\|") == 1
    assert lines[5] == "| 1 | 2 B | `x` | `y` |" and len(lines) == 4 + forms.MOST_ROWS


def test_progress_is_told_to_whom_wants_it(capsys: pytest.CaptureFixture[str]) -> None:
    task().tell_progress(samples=1)
    assert capsys.readouterr().out == ""
    task(progress=True).tell_progress(samples=1, rate_hz=2.5)
    assert json.loads(capsys.readouterr().out) == {"progress": {"samples": 1, "rate_hz": 2.5}}


def test_signals_that_are_held_wait() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        runner.hold()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before | {signal.SIGINT}
        runner.hold(signal.SIGUSR1)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before | {signal.SIGINT, signal.SIGUSR1}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
