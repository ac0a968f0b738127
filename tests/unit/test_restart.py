"""Whether a target is started again, and when: as histories."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import restart
from supervisor.restart import Ending, verdict


def config(policy: str = "no", most: int | None = None, *, reload: bool = False) -> Any:
    return SimpleNamespace(restart=policy, restart_max=most, reload=reload)


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [("no", 1, False), ("on-failure", 0, False), ("on-failure", 3, True), ("on-failure", 137, True),
     ("always", 0, True), ("always", 143, True)],
)  # fmt: skip
def test_policies(policy: str, code: int, again: bool) -> None:
    assert verdict(Ending(code, 1.0), config(policy), 0, 0.5).again is again


@pytest.mark.parametrize("policy", ["no", "on-failure", "always"])
@pytest.mark.parametrize("ended_for", ["", "reload", "restart", "restart-at"])
def test_a_stop_from_outside_is_never_answered_by_a_restart(policy: str, ended_for: str) -> None:
    assert not verdict(Ending(143, 1.0, stopped=True, ended_for=ended_for), config(policy), 0, 0.5).again


def test_waits_grow_to_a_bound_and_start_anew_after_a_good_time_up() -> None:
    in_a_row, waits = 0, []
    for _ in range(20):
        found = verdict(Ending(1, 2.0), config("always"), in_a_row, 0.5)
        in_a_row = found.in_a_row
        waits.append(round(found.wait_s, 4))
    assert waits[:3] == [0.1, 0.15, 0.225]
    assert waits[-1] == 15.0
    found = verdict(Ending(1, 30.0), config("always"), in_a_row, 0.5)
    assert (found.in_a_row, found.wait_s) == (1, pytest.approx(0.1))


def test_a_bound_of_restarts_in_a_row() -> None:
    found = verdict(Ending(1, 2.0), config("on-failure", 3), 3, 0.5)
    assert not found.again
    assert "3 times in a row (--restart-max)" in found.reason
    assert verdict(Ending(1, 31.0), config("on-failure", 3), 3, 0.5).again


def test_what_was_asked_for_comes_at_once_and_is_no_failure() -> None:
    for why in restart.ASKED:
        found = verdict(Ending(143, 1.0, ended_for=why), config("no", 1), 1, 0.5)
        assert (found.again, found.wait_s, found.in_a_row) == (True, 0.0, 1)
    found = verdict(Ending(143, 1.0, ended_for=restart.MEMORY), config("no"), 2, 0.5)
    assert (found.again, found.in_a_row) == (True, 3)


@pytest.mark.parametrize(("policy", "up_s", "waits"), [("no", 1, True), ("no", 99, True), ("always", 1, True),
                                                       ("on-failure", 99, False)])  # fmt: skip
def test_with_reload_a_crash_at_start_waits_for_a_change(policy: str, up_s: float, waits: bool) -> None:
    found = verdict(Ending(1, up_s), config(policy, reload=True), 0, 0.5)
    assert (found.again, found.for_change) == (True, waits)
    assert not verdict(Ending(1, up_s, ended_for=restart.MEMORY), config(policy, reload=True), 0, 0.5).for_change


@given(st.integers(0, 10**9), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_within_its_bounds(in_a_row: int, chance: float) -> None:
    assert 0.08 <= restart.wait(in_a_row, chance) <= restart.LONGEST_WAIT_S


def test_a_crash_loop_is_told_less_and_less() -> None:
    assert [n for n in range(1, 70) if restart.worth_a_line(n)] == [1, 2, 3, 4, 8, 16, 32, 64]
