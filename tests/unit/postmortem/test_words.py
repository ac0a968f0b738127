"""Words of a post-mortem that would mislead without one more."""

from __future__ import annotations

import pytest

from supervisor.evidence import Event
from supervisor.postmortem import document, screen


def test_a_heap_profile_without_an_agent_that_nobody_asked_for_is_no_failure() -> None:
    skipped = Event("action.skipped", "info", 1.0, {"action": "heap-profile", "reason": "agent-silent"})
    asked = Event("capability.missing", "warning", 1.0, {"capability": "heap agent", "reason": "silent"})
    other = Event("action.skipped", "info", 1.0, {"action": "heap-profile", "reason": "not-python"})
    assert [trouble["reason"] for trouble in document._failed([skipped, other])] == ["not-python"]
    assert [trouble["reason"] for trouble in document._failed([asked, skipped])] == ["silent", "agent-silent"]


@pytest.mark.parametrize(("own", "said"), [(18_000_000, " (18 MB of it guard's own)"), (0, "")])
def test_guards_own_part_of_a_peak_is_told(own: int, said: str) -> None:
    limit = {"highest_peak_bytes": 214_000_000, "guard_bytes": own, "unfinished": False, "oom_killed": 0, "deaths": [],
             "caution": "", "resources_yaml": ""}  # fmt: skip
    assert screen._limit(limit, {}) == [f"it would have lived with 214 MB{said}"]
