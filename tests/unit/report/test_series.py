"""The choice of samples: peaks stay, each drawn sample is a real one, changes are kept."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from supervisor.evidence import FlightProcess, FlightSample
from supervisor.report.series import MOST_PROCESSES, ordered, series

MB = 1_000_000


def sample(
    at: float, *processes: tuple[int, int], state: str = "ok", limit: int = 900 * MB, ticks: int = 0
) -> FlightSample:
    held = tuple(FlightProcess(pid, f"p{pid}", size, ticks) for pid, size in processes)
    total = sum(size for _, size in processes)
    return FlightSample(1e9 + at, at, state, total, total, limit, 0.0, None, len(held), held)


def test_a_short_flight_is_drawn_whole() -> None:
    found = series([sample(0, (1, 10), (2, 5)), sample(1, (1, 20)), sample(3, (2, 7), (3, 1))])
    assert found.times_s == (0, 1, 3) and found.taken == 3 and found.rss == (15, 20, 8)
    assert [(band.pid, band.peak_bytes, band.sizes) for band in found.bands] == [
        (1, 20, (10, 20, 0)),
        (2, 7, (5, 0, 7)),
        (3, 1, (0, 0, 1)),
    ]
    assert found.others == (0, 0, 0) and found.rss[found.peak] == 20


def test_every_peak_of_a_long_flight_stays() -> None:
    chance = random.Random(6)
    flight = [sample(at / 10, *((pid, chance.randrange(50 * MB, 60 * MB)) for pid in range(4))) for at in range(20_000)]
    flight[7_777] = sample(777.7, (0, 55 * MB), (1, 400 * MB), (2, 1), (3, 55 * MB))
    flight[12_345] = sample(1234.5, (0, 1), (1, 1), (2, 1), (3, 1))
    found = series(flight, 1000)
    assert len(found) <= 1000 and found.taken == 20_000
    assert max(found.rss) == flight[7_777].rss_bytes and min(found.rss) == 4
    assert found.bands[1].peak_bytes == max(found.bands[1].sizes) == 400 * MB
    for band in found.bands:
        assert max(band.sizes) == band.peak_bytes
    real = {each.elapsed_s: each for each in flight}
    for index, at in enumerate(found.times_s):
        assert found.rss[index] == real[at].rss_bytes
        assert [band.sizes[index] for band in found.bands] == [p.rss_bytes for p in real[at].processes]


def test_changes_of_state_and_limit_are_drawn_where_they_were() -> None:
    flight = [sample(at, (1, 5), state="warning" if 3000 <= at < 3002 else "ok") for at in range(10_000)]
    flight[6000:] = [sample(at, (1, 5), limit=10) for at in range(6000, 10_000)]
    found = series(flight, 200)
    assert {2999, 3000, 3001, 3002, 5999, 6000} <= set(found.times_s) and len(found) <= 200


def test_a_flight_that_changes_its_state_all_the_time_stays_bounded() -> None:
    flight = [sample(at, (1, at), state=("ok", "warning")[at % 2]) for at in range(50_000)]
    assert len(series(flight, 1000)) <= 1000


def test_of_many_processes_the_largest_have_a_band_and_the_others_are_one() -> None:
    found = series([sample(0, *((pid, pid) for pid in range(1, 31)))])
    assert [band.pid for band in found.bands] == list(range(31 - MOST_PROCESSES, 31))
    assert found.others == (sum(range(1, 31 - MOST_PROCESSES)),)


def test_processor_time_is_of_processes_in_both_samples() -> None:
    found = series([sample(0, (1, 1), ticks=100), sample(2, (1, 1), ticks=300), sample(3, (1, 1), (2, 1), ticks=350)])
    assert found.cores == (None, 1.0, 0.5)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 1 << 40)), min_size=1, max_size=300), st.integers(60, 200))
def test_no_flight_breaks_it(points: list[tuple[float, int]], most: int) -> None:
    found = series(ordered([sample(at, (1, size)) for at, size in points]), most)
    assert 1 <= len(found) <= max(most, 60) and list(found.times_s) == sorted(found.times_s)
    assert max(found.rss) == max(size for _, size in points)
