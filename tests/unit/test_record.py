"""What a run without an end is told to have ended of."""

from __future__ import annotations

import pytest

from supervisor import record

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
