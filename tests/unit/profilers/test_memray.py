"""Whether memray can be attached, told before anything is; and its records as stacks."""

from __future__ import annotations

import os
from typing import Any

import pytest

from supervisor.profilers import memray

GOOD: dict[str, Any] = {"python": "Python 3.12", "same_user": True, "here": True, "there": True, "debugger": "/bin/gdb",
        "tracer": 0, "stopped": False, "room_bytes": None}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"room_bytes": memray.NEEDS_BYTES}, None),
        ({"python": ""}, "not-python"),
        ({"here": False}, "memray-missing"),
        ({"there": False}, "memray-missing"),
        ({"debugger": ""}, "debugger-missing"),
        ({"same_user": False}, "other-user"),
        ({"tracer": 7}, "traced"),
        ({"stopped": True}, "target-stopped"),
        ({"room_bytes": memray.NEEDS_BYTES - 1}, "no-room"),
    ],
)
def test_what_speaks_against_it(change: dict[str, Any], reason: str | None) -> None:
    found = memray.refusal(memray.Facts(**{**GOOD, **change}))
    assert (found and found[0]) == reason
    assert found is None or (found[1] and found[2])


def test_this_python_has_what_it_has() -> None:
    facts = memray.look(os.getpid())
    assert facts.python and facts.same_user and not facts.stopped
    assert facts.here == facts.there
    assert memray.look(1 << 22).python == ""


def test_records_become_stacks_root_first() -> None:
    records = [
        (10, [("inner", "a.py", 3), ("outer", "b.py", 4)]),
        (5, [("inner", "a.py", 3), ("outer", "b.py", 4)]),
        (2, []),
    ]
    assert memray.counted(records) == {"outer (b.py:4);inner (a.py:3)": 15, "(no Python)": 2}
