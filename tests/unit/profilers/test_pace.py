"""How fast to sample: a table of targets and budgets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.profilers.pace import ENOUGH_HZ, MOST_HZ, Pace, Plan, Way, ways

STOPPING, RUNNING, HOLDER = Way(False, False), Way(True, False), Way(True, True)
ALL = (STOPPING, RUNNING, HOLDER)


@pytest.mark.parametrize(
    ("asked", "budget", "cores", "threads", "way", "low", "high"),
    [
        (500, 0.03, 2, 1, STOPPING, 70, 100),  # one thread: stopping it is cheap enough
        (10_000, 0.10, 2, 1, STOPPING, 250, 300),
        (50, 0.03, 2, 1, STOPPING, 50, 50),  # what was asked fits
        (10_000, 0.10, 8, 16, RUNNING, 600, 750),  # 16 threads: 28 Hz with stopping it
        (500, 0.03, 2, 64, HOLDER, 180, 220),  # 64 idle threads
        (10_000, None, 2, 64, STOPPING, 1000, 1000),  # no budget
    ],
)
def test_plan(asked: int, budget: float | None, cores: float, threads: int, way: Way, low: int, high: int) -> None:
    plan = Pace(asked, budget, cores, ALL).plan(threads)
    assert plan.way == way
    assert low <= plan.rate_hz <= high
    assert plan.reason


def test_a_busy_machine_makes_stopping_dear_before_anything_is_measured() -> None:
    quiet = Pace(5000, 0.10, 2, ALL).plan(1)
    busy = Pace(5000, 0.10, 2, ALL, pressure=1.0).plan(1)
    assert quiet.way == STOPPING
    assert busy.way == RUNNING


def test_what_is_measured_replaces_the_guess() -> None:
    pace = Pace(1000, 0.03, 2, (STOPPING,))
    first = pace.plan(1)
    pace.learn(first, cost_s=100 * 4 * STOPPING.guess_s(1), samples=100)  # four times as dear
    second = pace.plan(1)
    assert second.rate_hz == pytest.approx(first.rate_hz / 4, rel=0.1)
    assert "costs" in second.reason
    pace.learn(second, cost_s=100 * STOPPING.guess_s(1), samples=100)
    assert pace.plan(1).rate_hz == pytest.approx(first.rate_hz, rel=0.1)


def test_a_rate_that_still_fits_is_kept() -> None:
    pace = Pace(1000, 0.03, 2, (STOPPING,))
    first = pace.plan(1)
    pace.learn(first, cost_s=0.9 * 100 * STOPPING.guess_s(1), samples=100)
    assert pace.plan(1).rate_hz == first.rate_hz


def test_few_samples_teach_nothing() -> None:
    pace = Pace(1000, 0.03, 2, (STOPPING,))
    first = pace.plan(1)
    pace.learn(first, cost_s=10.0, samples=4)
    assert pace.plan(1).rate_hz == first.rate_hz


def test_a_slice_that_takes_much_more_than_the_budget_is_ended() -> None:
    pace = Pace(1000, 0.03, 2, ALL)
    plan = Plan(STOPPING, 100, 1, "")
    assert not pace.too_dear(plan, cost_s=10 * 0.0003, samples=10)  # 3 % of the time
    assert pace.too_dear(plan, cost_s=10 * 0.0006, samples=10)  # 6 %
    assert not pace.too_dear(Plan(RUNNING, 100, 1, ""), cost_s=10 * 0.0006, samples=10)  # of one of two cores
    assert not Pace(1000, None, 2, ALL).too_dear(plan, cost_s=1.0, samples=10)
    assert not pace.too_dear(Plan(STOPPING, 1, 1, ""), cost_s=10.0, samples=10)  # there is nothing to lower


def test_behind_and_the_cap_lower_what_is_asked_for() -> None:
    pace = Pace(10_000, None, 2, ALL)
    pace.fell_behind(700.5)
    assert pace.plan(1).rate_hz == 700
    assert "could keep" in pace.plan(1).reason
    pace.halve()
    assert pace.plan(1).rate_hz == 350
    assert "sample cap" in pace.plan(1).reason


@given(
    asked=st.integers(1, 20_000),
    budget=st.floats(0.001, 0.5),
    cores=st.floats(0.1, 128),
    threads=st.integers(1, 5000),
    pressure=st.floats(0, 1),
)
def test_a_plan_is_inside_the_budget_or_as_slow_as_can_be(
    asked: int, budget: float, cores: float, threads: int, pressure: float
) -> None:
    pace = Pace(asked, budget, cores, ALL, pressure)
    plan = pace.plan(threads)
    assert 1 <= plan.rate_hz <= min(asked, MOST_HZ)
    share = plan.rate_hz * pace.share_per_hz(plan.way, threads)
    assert share <= budget or plan.rate_hz == 1
    if plan.way != STOPPING:  # given up only for a higher rate
        assert pace.share_per_hz(STOPPING, threads) * min(asked, ENOUGH_HZ) > budget * 0.64


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, [STOPPING, RUNNING, HOLDER]),
        ({"idle": True}, [STOPPING, RUNNING]),
        ({"gil": True}, [Way(False, True), HOLDER]),
        ({"native": True}, [STOPPING, Way(False, True)]),
        ({"nonblocking": True}, [RUNNING]),
        ({"nonblocking": True, "gil": True}, [HOLDER]),
    ],
)
def test_ways_that_options_leave_open(asked: dict[str, bool], expected: list[Way]) -> None:
    options = {"gil": False, "idle": False, "native": False, "nonblocking": False} | asked
    assert list(ways(**options)) == expected
