"""Processor time of a tree whose processes come and go, against a model that knows what each of them used."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import busy
from supervisor.model import Process, Sample

TICKS = busy.TICKS_PER_S


def process(pid: int, ppid: int = 1, cpu_s: float = 0.0, waited_s: float = 0.0, state: str = "S") -> Process:
    ticks = round(cpu_s * TICKS), round(waited_s * TICKS)
    return Process(pid, ppid, 100 + pid, f"p{pid}", state, 1 << 20, cpu_ticks=ticks[0], waited_ticks=ticks[1])


def reading(at_s: float, *processes: Process) -> Sample:
    return Sample(at_s, processes, 1 << 20, 1 << 30, 1 << 20)


def play(*samples: Sample, window_s: float = 10.0, cores: float = 4.0) -> busy.Busy:
    state = busy.Busy()
    for sample in samples:
        state = busy.follow(state, sample, window_s, cores)
    return state


def test_the_share_is_of_the_cores_and_waits_for_a_full_window() -> None:
    samples = [reading(at, process(10, cpu_s=at)) for at in range(11)]
    assert play(*samples[:10]).share(10.0, 4.0) is None
    assert play(*samples).share(10.0, 4.0) == pytest.approx(0.25)


def test_what_was_used_before_the_first_sample_does_not_count() -> None:
    state = play(reading(0, process(10, cpu_s=5000)), reading(10, process(10, cpu_s=5001)))
    assert state.share(10.0, 1.0) == pytest.approx(0.1)


def test_the_window_slides() -> None:
    """Ten busy seconds, then ten idle ones: nothing is left."""
    samples = [reading(at, process(10, cpu_s=min(at, 10))) for at in range(0, 21, 2)]
    assert play(*samples[:6]).share(10.0, 1.0) == pytest.approx(1.0)
    assert play(*samples[:9]).share(10.0, 1.0) == pytest.approx(0.4)
    assert play(*samples).share(10.0, 1.0) == pytest.approx(0.0)


def test_children_that_came_and_went_between_samples_are_seen_in_their_parent() -> None:
    samples = [reading(at, process(10, waited_s=at * 0.9)) for at in range(11)]
    assert play(*samples).share(10.0, 1.0) == pytest.approx(0.9)


def test_a_child_that_was_seen_and_is_waited_for_counts_once() -> None:
    state = play(
        reading(0, process(10)),
        reading(5, process(10), process(11, 10, cpu_s=4)),
        reading(10, process(10, waited_s=5)),
        cores=1.0,
    )
    assert state.share(10.0, 1.0) == pytest.approx(0.5)


def test_a_grandchild_reaches_the_grandparent_through_its_parent_once() -> None:
    state = play(
        reading(0, process(10)),
        reading(5, process(10), process(11, 10, cpu_s=1), process(12, 11, cpu_s=2)),
        reading(10, process(10, waited_s=4)),
        cores=1.0,
    )
    assert state.share(10.0, 1.0) == pytest.approx(0.4)


def test_a_process_that_was_hidden_for_a_sample_cannot_use_more_than_there_is() -> None:
    state = play(reading(0, process(10)), reading(5), reading(10, process(10, cpu_s=900)), cores=2.0)
    assert state.share(10.0, 2.0) == pytest.approx(0.5)


def test_samples_far_closer_than_the_window_keep_its_history_small() -> None:
    state = play(*(reading(at / 100, process(10, cpu_s=at / 100)) for at in range(3000)), cores=1.0)
    assert len(state.points) <= 70
    assert state.share(10.0, 1.0) == pytest.approx(1.0, abs=0.02)


def test_the_busiest_is_who_works_now_and_among_idle_ones_who_worked_most() -> None:
    first = reading(0, process(10, cpu_s=100), process(11, cpu_s=1))
    second = reading(10, process(10, cpu_s=100.1), process(11, cpu_s=6))
    state = play(first, second)
    assert (found := state.busiest(second)) is not None and found.pid == 11
    idle = play(*(replace(second, at_s=at) for at in range(10, 200, 10)))
    assert (found := idle.busiest(second)) is not None and found.pid == 10
    assert state.busiest(reading(11)) is None
    assert state.busiest(reading(11, process(12, state="Z"))) is None


@given(st.data())
def test_a_tree_of_any_history_is_neither_missed_nor_counted_twice(data: st.DataObject) -> None:
    """Processes are born, work, end and are waited for between samples, in any order."""
    own: dict[int, int] = {2: 0}
    waited: dict[int, int] = {2: 0}
    parents: dict[int, int] = {2: 1}
    used, pid, at_s = 0, 2, 0.0

    def sample() -> Sample:
        return reading(at_s, *(process(p, parents[p], own[p] / TICKS, waited[p] / TICKS) for p in own))

    state = busy.follow(busy.Busy(), sample(), 1000.0, 1e9)
    for _ in range(data.draw(st.integers(1, 6))):
        for _ in range(data.draw(st.integers(0, 8))):
            who = data.draw(st.sampled_from(sorted(own)))
            what = data.draw(st.sampled_from(("work", "fork", "end")))
            if what == "work":
                ticks = data.draw(st.integers(1, 500))
                own[who] += ticks
                used += ticks
            elif what == "fork":
                pid += 1
                own[pid], waited[pid], parents[pid] = 0, 0, who
            elif who != 2 and who not in parents.values():  # ends without children, and its parent waits for it
                waited[parents[who]] += own.pop(who) + waited.pop(who)
                del parents[who]
        at_s += 5.0
        state = busy.follow(state, sample(), 1000.0, 1e9)
    assert state.used_s * TICKS == pytest.approx(used)
