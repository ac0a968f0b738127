"""Histories of samples in, what the kernel did out."""

from __future__ import annotations

from supervisor import notice
from supervisor.cgroup import High
from supervisor.model import Event, Process, Sample
from supervisor.notice import Known

MB = 10**6


def process(pid: int = 10, rss_mb: int = 50, state: str = "S", name: str = "app") -> Process:
    return Process(pid, 1, 100 + pid, name, state, rss_mb * MB)


def reading(at_s: float, *processes: Process, kills: int | None = 0, high: High | None = None) -> Sample:
    rss = sum(p.rss_bytes or 0 for p in processes)
    return Sample(at_s, processes, rss, 1000 * MB, rss, True, kills, high=high)


def play(*samples: Sample, known: Known | None = None) -> tuple[Known, list[list[Event]]]:
    now, told = known or Known(oom_kills=0), []
    for sample in samples:
        now, events = notice.follow(now, sample)
        told.append(events)
    return now, told


MASTER, WORKER, OTHER = process(10, 40), process(11, 300, name="worker"), process(12, 30, name="other")


def test_a_kill_names_who_is_gone() -> None:
    known, told = play(reading(0, MASTER, WORKER, OTHER, kills=3), reading(2, MASTER, OTHER, kills=4),
                       known=Known(oom_kills=3))  # fmt: skip
    (event,) = told[1]
    assert (event.level, event.name) == ("error", "oom.detected")
    assert event.fields == {
        "oom_kills": 4, "limit_bytes": 1000 * MB, "pid": 11, "name": "worker", "rss_bytes": 300 * MB, "sample_age_s": 2,
    }  # fmt: skip
    assert (known.owed, known.others(2.5), known.others(4)) == (0, 0, 1)


def test_a_victim_that_is_still_there_is_waited_for() -> None:
    dying = process(11, 300, state="Z", name="worker")
    _, told = play(reading(0, MASTER, WORKER), reading(1, MASTER, WORKER, kills=1), reading(2, MASTER, dying, kills=1))
    assert told[1] == []
    assert [event.fields["pid"] for event in told[2]] == [11]


def test_without_a_victim_it_is_said_so_and_the_target_is_not_blamed() -> None:
    known, told = play(*(reading(at_s, MASTER, WORKER, kills=int(at_s > 0)) for at_s in (0, 1, 2, 3, 4, 5)))
    assert [len(events) for events in told] == [0, 0, 0, 0, 1, 0]
    assert "outside it" in str(told[4][0].fields["reason"])
    assert known.others(9) == 1


def test_several_kills_name_several_and_the_largest_first() -> None:
    _, told = play(reading(0, MASTER, WORKER, OTHER), reading(1, MASTER, kills=2))
    assert [event.fields["pid"] for event in told[1]] == [11, 12]
    _, told = play(reading(0, MASTER, WORKER, OTHER), reading(1, MASTER, kills=1))
    assert [event.fields["pid"] for event in told[1]] == [11]


def test_a_kill_before_the_first_sample_counts() -> None:
    known, told = play(reading(0, MASTER, kills=1), reading(4, MASTER, kills=1))
    assert (known.others(9), [len(events) for events in told]) == (1, [0, 1])


def test_a_kill_right_before_the_targets_end_may_be_the_targets() -> None:
    known, _ = play(reading(0, MASTER, OTHER), reading(1, MASTER, kills=1))
    assert known.others(1.5) == 0


def test_no_counter_is_no_kill() -> None:
    _, told = play(reading(0, MASTER, WORKER, kills=None), reading(1, MASTER, kills=None), known=Known())
    assert told == [[], []]


def test_what_is_remembered_of_many_kills_stays_small() -> None:
    known = Known(oom_kills=0)
    for number in range(1000):
        known, _ = notice.follow(known, reading(2 * number, MASTER, process(100 + number), kills=number))
    assert len(known.recent) <= 2
    assert (known.others(1e9), known.owed, known.before) == (999, 0, {})


def high(use_mb: int, events: int) -> High:
    return High(100 * MB, use_mb * MB, events, "/sys/fs/cgroup/app")


def test_held_up_is_told_once_until_use_falls() -> None:
    readings = [(50, 0), (99, 0), (101, 3), (102, 9), (95, 9), (99, 12), (80, 12), (60, 20), (100, 21)]
    _, told = play(*(reading(at_s, MASTER, high=high(*figures)) for at_s, figures in enumerate(readings)))
    assert [[event.name for event in events] for events in told] == [
        [], [], ["memory.throttled"], [], [], [], [], [], ["memory.throttled"],
    ]  # fmt: skip
    fields = told[2][0].fields
    assert (fields["high_bytes"], fields["use_bytes"], fields["events"]) == (100 * MB, 101 * MB, 3)


def test_limit_and_high_are_known_afterwards() -> None:
    known, _ = play(reading(0, MASTER, high=high(1, 0)))
    assert (known.limit_bytes, known.high_bytes) == (1000 * MB, 100 * MB)
    known, _ = play(reading(1, MASTER), known=known)
    assert (known.limit_bytes, known.high_bytes) == (1000 * MB, None)
