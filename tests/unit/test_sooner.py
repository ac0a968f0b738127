"""The hint for what was gone too soon doesn't tell a run to do what it did."""

from __future__ import annotations

import pytest

from supervisor import sooner


@pytest.mark.parametrize(
    ("interval_s", "typed"),
    [
        (5.0, "guard run --interval 500ms -- COMMAND"),
        (0.5, "guard profile -- COMMAND"),
        (0.1, "guard profile -- COMMAND"),
    ],
)
def test_by_the_runs_own_interval(interval_s: float, typed: str) -> None:
    assert sooner.hint(interval_s) == typed
    assert sooner.fitting(sooner.HINT, interval_s) == typed


def test_other_hints_stay() -> None:
    assert sooner.fitting("guard doctor", 0.1) == "guard doctor"
