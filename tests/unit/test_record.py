"""What a run's record says, and what a run without an end is told to have ended of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from supervisor import record
from supervisor.model import STATES

LAST = {"at": "2026-11-24T11:16:44.123Z", "state": "critical", "rss_bytes": 70, "use_bytes": 80, "limit_bytes": 100,
        "oom_kills": 2}  # fmt: skip


@pytest.mark.parametrize(
    ("last", "same_boot", "oom_kills", "reason", "kills"),
    [
        (
            LAST,
            True,
            5,
            "guard was killed; the kernel's OOM killer struck 3 times in its cgroup after its last sample",
            3,
        ),
        (LAST, True, 3, "guard was killed; the kernel's OOM killer struck once in its cgroup after its last sample", 1),
        (LAST, True, 2, "guard was killed", None),
        (LAST, True, None, "guard was killed", None),
        (LAST, True, 0, "guard was killed", None),
        (LAST, False, 5, "guard was killed or the machine went down", None),
        ({}, True, 2, "guard was killed; the kernel's OOM killer struck once in its cgroup after its last sample", 1),
        (LAST | {"oom_kills": "x"}, True, 5, "guard was killed", None),
        (
            LAST | {"use_bytes": 95},
            True,
            2,
            "guard was killed, likely with its whole cgroup for memory: 95 B of 100 B were in use at its last sample",
            None,
        ),
    ],
)
def test_why_a_run_has_no_end(
    last: dict[str, object], same_boot: bool, oom_kills: int | None, reason: str, kills: int | None
) -> None:
    said, known = record.end_unseen({"oom_kills_at_start": 1}, last, same_boot, oom_kills)
    assert said == reason
    assert known.pop("oom_kills", None) == kills
    assert known == {f"last_{name}": value for name, value in last.items() if name != "oom_kills"}


def started(subject: record.Subject, **given: Any) -> dict[str, Any]:
    """The start record of a run of this, in the group /a of 100 B."""
    facts = SimpleNamespace(
        limit_bytes=100, limit_source="cgroup", oom_kills=2, place=SimpleNamespace(memory=("/a", "/"))
    )
    config: Any = SimpleNamespace(facts=facts, detected=SimpleNamespace(name="production"), levels=())
    known: dict[str, Any] = {"ctl": None, "life": 1, "previous_life": None, "crash_loop": {}}
    return record.start_record(subject, config, run="r", guard_pid=6, started_at=0.25, boot_id="b", host="h",
                               **known | given)  # fmt: skip


def test_a_run_begins_with_a_record_that_has_no_outcome() -> None:
    found = started(record.Subject(["app", "-v"], 7), ctl="/r/ctl.sock", life=2, previous_life="q",
                    crash_loop={"crashes_before": 3, "dropped_runs": 1})  # fmt: skip
    assert found.pop("version") == record.VERSION
    assert found == {
        "schema_version": 1, "run": "r", "command": ["app", "-v"], "pid": 7, "guard_pid": 6,
        "started": "1970-01-01T00:00:00.250Z", "environment": "production", "limit_bytes": 100,
        "limit_source": "cgroup", "cgroup": "/a", "thresholds": {}, "oom_kills_at_start": 2, "ctl": "/r/ctl.sock",
        "life": 2, "previous_life": "q", "crashes_before": 3, "dropped_runs": 1, "boot_id": "b", "host": "h",
        "outcome": None,
    }  # fmt: skip


def test_what_a_subject_tells_of_itself_stands_instead_of_what_is_guards_own() -> None:
    found = started(record.Subject(["app"], 7, {"cgroup": "/killed", "killer": "systemd-oomd"}, crash_loops=False))
    assert (found["pid"], found["cgroup"], found["killer"]) == (7, "/killed", "systemd-oomd")


def test_a_run_ends_with_what_it_came_to() -> None:
    start = started(record.Subject(["app"], 7))
    tally = record.Tally(2)
    tally.samples, tally.peak_bytes, tally.peak_use_bytes, tally.highest, tally.oom_kills = 5, 60, 80, 1, 3
    tally.time_in_state_s["ok"] = 1.23456
    found = record.end_record(
        start, tally, outcome="oom-killed", status=9, code=137, ended_at=2.0, elapsed_s=1.75049, largest_bytes=70,
        suspect=None, evidence=["a.md"], log_lines_dropped=4, guard_rss_bytes=20, guard_rss_peak_bytes=30,
    )  # fmt: skip
    assert {name: value for name, value in found.items() if name not in start or value != start[name]} == {
        "outcome": "oom-killed", "code": 137, "signal": "SIGKILL", "ended": "1970-01-01T00:00:02.000Z",
        "elapsed_s": 1.75, "peak_bytes": 70, "peak_use_bytes": 80, "samples": 5, "highest_state": STATES[1],
        "time_in_state_s": {**dict.fromkeys(STATES, 0.0), "ok": 1.235}, "oom_kills": 1, "suspect": None,
        "evidence": ["a.md"], "log_lines_dropped": 4, "guard_rss_bytes": 20, "guard_rss_peak_bytes": 30,
    }  # fmt: skip
    assert started(record.Subject(["app"], 7)) == start
