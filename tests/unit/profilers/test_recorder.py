"""A slice: what came of a run, and what py-spy writes, read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.analysis import folded
from supervisor.profilers import pace, pyspy_cpu, recorder, runner


def test_samples_without_a_stack_are_errors_and_cost_nothing_else() -> None:
    kept, empty = pyspy_cpu.without_empty(["main (a.py:1);work (a.py:2) 41", " 3", "main (a.py:1) 1", " 1"])
    assert folded.parse(kept) == {"main (a.py:1);work (a.py:2)": 41, "main (a.py:1)": 1}
    assert empty == 4


@given(st.dictionaries(st.text("ab;", min_size=1).filter(lambda text: text.strip("; ")), st.integers(0, 10**9)))
def test_stacks_stay(counts: dict[str, int]) -> None:
    lines = folded.render(counts).splitlines()
    assert pyspy_cpu.without_empty(lines) == (lines, 0)


PLAN = pace.Plan(pace.Way(True, False), 50, 1, "")


def piece_of(*, asked_s: int, elapsed_s: float, overdue: bool = False, **more: Any) -> recorder.Piece:
    ended = {"hung": False, "interrupted": False, "cut": False, "cpu_s": 0.5}
    meter = recorder.Meter(PLAN, pace.Pace(50, None, 1.0, (PLAN.way,)))
    meter.overdue, meter.limit_s = overdue, asked_s * 1.5
    done = runner.Completed(0, b"", "", **{**ended, **more})
    return recorder.Piece.of_run("x", {"a": 3}, PLAN, done, meter, asked_s, elapsed_s)


@pytest.mark.parametrize(
    ("run", "known", "ticks", "seconds", "late"),
    [
        ({"asked_s": 3, "elapsed_s": 3.1}, True, 150, 3.0, False),
        ({"asked_s": 3, "elapsed_s": 4.1}, True, 150, 4.0, True),
        ({"asked_s": 3, "elapsed_s": 1.1, "cut": True}, False, 50, 1.0, False),
        ({"asked_s": 3, "elapsed_s": 3.1, "interrupted": True}, False, 150, 3.0, False),
        ({"asked_s": 3, "elapsed_s": 4.6, "cut": True, "overdue": True}, True, 150, 4.5, True),
    ],
    ids=["whole", "slow", "cut", "interrupted", "behind"],
)
def test_what_a_run_was(run: dict[str, Any], known: bool, ticks: float, seconds: float, late: bool) -> None:
    piece = piece_of(**run)
    assert (piece.ticks_known, piece.late, piece.cpu_s, piece.samples) == (known, late, 0.5, 3)
    assert (piece.ticks, piece.seconds) == (pytest.approx(ticks), pytest.approx(seconds))


def test_a_profiler_with_a_clock_of_its_own_kept_the_rate() -> None:
    piece = recorder.Piece("x", {}, PLAN, recorder.Meter(PLAN, pace.Pace(50, None, 1.0, (PLAN.way,))), 2.0)
    assert (piece.ticks_known, piece.ticks, piece.late, piece.errors) == (True, 100.0, False, 0)
