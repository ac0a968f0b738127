"""The statistics of `guard overhead`, without any process."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import overhead
from supervisor.overhead import NONE, Timing, median_interval

VALUES = st.lists(st.floats(-1, 10, allow_nan=False), min_size=1, max_size=60)


@dataclass
class Scripted:
    """An executor whose runs last what the script says."""

    cost: dict[str, float]
    noise: random.Random
    calls: list[str] = field(default_factory=list)

    def run(self, way: str) -> Timing:
        self.calls.append(way)
        drift = 1 + len(self.calls) / 100  # a machine that gets slower
        life = self.cost[way] * drift * self.noise.uniform(0.99, 1.01)
        note = {"used_rate_hz": 100, "samples": 500} if way in overhead.PRESET_OF else {}
        return Timing(life, life + 0.3, 0, note)


def _measure(cost: dict[str, float], runs: int) -> tuple[Scripted, list[overhead.Row]]:
    executor = Scripted(cost, random.Random(5))
    told: list[str] = []
    ways = tuple(cost)
    found = list(overhead.blocks(executor, ways, runs, 2, 7, told.append))
    assert told == executor.calls
    assert len(found) == runs
    return executor, overhead.summarise(found, ways)


def test_overhead_is_found_although_the_machine_drifts() -> None:
    _, rows = _measure({NONE: 1.0, "watch": 1.0, "dev": 1.06, "prod": 1.20}, 20)
    none, watch, dev, prod = rows
    assert none.overhead == 0
    assert watch.overhead == pytest.approx(0, abs=0.02)
    assert dev.overhead == pytest.approx(0.06, abs=0.02)
    assert dev.interval[0] < 0.06 < dev.interval[1]
    assert (watch.verdict, dev.verdict, prod.verdict) == ("-", "inside", "over")
    assert prod.own_s == pytest.approx(0.3)
    assert (dev.rate_hz, dev.samples, watch.rate_hz) == (100, 500, None)


def test_less_than_95_percent_confidence_decides_nothing() -> None:
    for runs, verdict in ((1, "open"), (5, "open"), (6, "inside")):
        _, rows = _measure({NONE: 1.0, "dev": 1.0}, runs)
        assert rows[1].verdict == verdict


def test_every_block_runs_each_way_once_in_an_order_of_its_own() -> None:
    executor, _ = _measure({NONE: 1.0, "watch": 1.0, "dev": 1.0}, 30)
    orders = {tuple(executor.calls[at : at + 3]) for at in range(0, len(executor.calls), 3)}
    assert all(sorted(order) == ["dev", NONE, "watch"] for order in orders)
    assert len(orders) == 6


def test_the_warm_up_is_run_and_left_out() -> None:
    executor, rows = _measure({NONE: 1.0, "dev": 1.0}, 4)
    assert len(executor.calls) == 2 * (4 + 2)
    assert rows[0].runs == 4


@pytest.mark.parametrize(
    ("count", "rank", "coverage"),
    [(1, 1, 0.0), (5, 1, 0.9375), (6, 1, 0.96875), (10, 2, 0.978), (12, 3, 0.961), (20, 6, 0.959)],
)
def test_the_interval_is_that_of_the_sign_test(count: int, rank: int, coverage: float) -> None:
    values = [float(each) for each in range(1, count + 1)]
    low, high, real = median_interval(values)
    assert (low, high) == (rank, count + 1 - rank)
    assert real == pytest.approx(coverage, abs=0.001)


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    noise = random.Random(3)
    hits = 0
    for _ in range(2000):
        low, high, _ = median_interval([noise.expovariate(1.0) for _ in range(12)])
        hits += low <= 0.6931 <= high
    assert hits / 2000 > 0.94


@given(VALUES)
def test_intervals_are_made_of_the_values(values: list[float]) -> None:
    low, high, coverage = median_interval(values)
    assert low in values
    assert high in values
    assert low <= high
    assert 0 <= coverage <= 1
    first, third = overhead.quartiles(values)
    assert min(values) <= first <= third <= max(values)


def test_outliers() -> None:
    assert overhead.outliers([1.0, 1.01, 0.99, 1.0, 1.02, 5.0]) == 1
    assert overhead.outliers([1.0, 1.0, 1.0]) == 0
    assert overhead.outliers([1.0]) == 0


def test_remarks() -> None:
    _, rows = _measure({NONE: 0.2, "dev": 0.2}, 4)
    said = " ".join(overhead.remarks(rows))
    assert "--runs 6" in said
    assert "short" in said
    _, rows = _measure({NONE: 2.0, "dev": 2.0}, 10)
    assert "--runs" not in " ".join(overhead.remarks(rows))


def test_the_table_and_the_document_say_the_same() -> None:
    _, rows = _measure({NONE: 1.0, "watch": 1.0, "dev": 1.06}, 12)
    lines = overhead.table(rows)
    assert len({len(line) for line in lines}) == 1
    assert "inside" in lines[-1]
    document = overhead.document(rows, ["job"])
    assert [each["way"] for each in document["ways"]] == ["none", "watch", "dev"]
    assert document["ways"][2]["verdict"] == "inside"
    assert document["coverage"] > 0.95
