"""How memory grew, from made-up flights of known shape."""

from __future__ import annotations

import random

import pytest

from supervisor.evidence import FlightProcess, FlightSample
from supervisor.evidence.climb import grown, last_climb

MB = 1_000_000


def flight(sizes: list[float], step_s: float = 1.0) -> list[FlightSample]:
    return [
        FlightSample(
            1e9 + n * step_s, n * step_s, "ok", int(size), int(size), None, 0.0, 0, 1,
            (FlightProcess(7, "a", int(size), 0),),
        )
        for n, size in enumerate(sizes)
    ]  # fmt: skip


def test_a_leak_after_hours_of_idling() -> None:
    climb = last_climb(flight([50 * MB] * 3600 + [50 * MB + 2 * MB * n for n in range(1, 101)]))
    assert climb is not None
    assert climb.rate_bytes_per_s == pytest.approx(2 * MB, rel=0.02) and climb.seconds == pytest.approx(100, abs=8)
    assert climb.shape == "steady" and climb.to_the_end


def test_a_saw_tooth_belongs_to_the_climb_where_its_dips_are_small() -> None:
    sizes = [10 * MB + n * MB - (5 * MB if n % 10 == 9 else 0) for n in range(200)]
    climb = last_climb(flight(sizes))
    assert climb is not None and climb.seconds > 180 and climb.to_the_end


def test_only_the_last_climb_counts() -> None:
    sizes = [n * MB for n in range(10, 100)] + [10 * MB] * 20 + [10 * MB + 4 * MB * n for n in range(50)]
    climb = last_climb(flight(sizes))
    assert climb is not None and climb.start_s >= 105 and climb.rate_bytes_per_s == pytest.approx(4 * MB, rel=0.1)


def test_what_loads_and_stays_does_not_grow_at_the_end() -> None:
    noise = random.Random(1)
    sizes = [10 * MB * n for n in range(1, 31)] + [300 * MB + noise.randrange(2 * MB) for _ in range(300)]
    climb = last_climb(flight(sizes))
    assert climb is not None and not climb.to_the_end


def test_one_step() -> None:
    climb = last_climb(flight([20 * MB] * 30 + [520 * MB] * 3))
    assert climb is not None and climb.rise_bytes == 500 * MB and climb.seconds == 1.0
    steps = [20 * MB] * 5 + [21 * MB, 22 * MB, 23 * MB, 24 * MB, 500 * MB]
    found = last_climb(flight(steps))
    assert found is not None and found.to_bytes == 500 * MB


@pytest.mark.parametrize("sizes", [[], [5 * MB], [100 * MB] * 50, [100 * MB, 101 * MB], [0, 0, 0], [100 * MB, 0]])
def test_no_growth(sizes: list[float]) -> None:
    assert last_climb(flight(sizes)) is None


def test_the_targets_remains_are_no_sample() -> None:
    climb = last_climb(flight([10 * MB * n for n in range(1, 20)] + [0, 0]))
    assert climb is not None and climb.to_bytes == 190 * MB and climb.to_the_end


def test_who_grew() -> None:
    def at(n: int) -> FlightSample:
        processes = [
            FlightProcess(1, "master", 50 * MB, 0),
            FlightProcess(2, "leaker", 10 * MB + n * 5 * MB, 0),
            FlightProcess(3, "steady", 200 * MB, 0),
        ]
        if n >= 5:
            processes.append(FlightProcess(4, "late", 30 * MB, 0))
        total = sum(each.rss_bytes or 0 for each in processes)
        return FlightSample(1e9 + n, float(n), "ok", total, total, None, 0.0, 0, len(processes), tuple(processes))

    samples = [at(n) for n in range(20)]
    rows = grown(samples, last_climb(samples))
    assert [(pid, name) for pid, name, _, _ in rows[:2]] == [(2, "leaker"), (4, "late")]
    assert rows[0][2:] == (95 * MB, 105 * MB)
    assert grown(samples[:2], None)[0][:2] == (3, "steady")
