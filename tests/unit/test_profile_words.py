"""What `guard profile` says of a command that only waited, and what it doesn't ask to be typed any more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from supervisor import profiled, profiling
from supervisor.actions import cpu


def test_who_waited_is_not_told_that_it_ended_too_soon() -> None:
    assert cpu._missed(0.4).reason == "ended-too-soon"
    waited = cpu._missed(2.2)
    assert waited.reason == "nothing-busy" and "ran for 2.2 s and waited" in waited.said
    assert "--pid" not in waited.hint and "--interval" not in waited.hint


@pytest.mark.parametrize(("samples", "said"), [(0, "nothing was busy"), (7, "250 Hz were asked")])
def test_a_profile_without_samples_says_why(samples: int, said: str) -> None:
    result = {
        "outcome": "ok", "samples": samples, "used_rate_hz": 11, "asked_rate_hz": 250, "rate_reason": "; then dear",
        "seconds": 2.0,
    }  # fmt: skip
    outcome: Any = SimpleNamespace(
        pid=7, results={"cpu-profile": result}, absent={}, files=[], moved="", output=None, failures=[]
    )
    assert said in profiled.text(outcome)


@pytest.mark.parametrize(
    ("hint", "is_one"),
    [("guard doctor --pid 21015", True), ("guard watch 7, for it", True), ("guard run -- COMMAND", False)],
)
def test_a_line_for_a_process_that_has_ended_is_left_out(hint: str, is_one: bool) -> None:
    assert profiling._names_a_process(hint) is is_one


@pytest.mark.parametrize(("ended", "shown"), [(True, "no Python"), (False, "no Python; try: guard doctor --pid 7")])
def test_of_a_command_that_has_ended_nothing_is_to_be_tried(ended: bool, shown: str) -> None:
    result = {"outcome": "failed", "reason": "not-python", "said": "no Python", "hint": "guard doctor --pid 7"}
    session: Any = SimpleNamespace(
        init=SimpleNamespace(target=object(), status=0 if ended else None),
        wish=SimpleNamespace(heap_asked=False), outcome=SimpleNamespace(absent={}, results={}),
    )  # fmt: skip
    profiling._Session._take_in(session, "heap-profile", result)
    assert session.outcome.absent == {"heap-profile": shown}
