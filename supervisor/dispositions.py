"""What a signal does to a process (signal(7)), by /proc/PID/status: its default effect or not, stopped or not.

Imported before the target starts.
"""

from __future__ import annotations

import os
import time

_LOOKS, _LOOK_S = 100, 0.002


def _status_fields(pid: int) -> dict[bytes, bytes]:
    try:
        with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
            lines = (file.readall() or b"").splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(b":") for line in lines)}


def is_stopped(pid: int) -> bool:
    """Whether it is still stopped; where that can't be read, it was when it was reported."""
    return _status_fields(pid).get(b"State", b"T")[:1] in (b"T", b"t")


def at_default(pid: int, number: int) -> bool:
    """Whether this signal has its default effect there: not caught, ignored or blocked for longer than a moment."""
    for _ in range(_LOOKS):
        fields = _status_fields(pid)
        caught, ignored, blocked = (fields.get(name) for name in (b"SigCgt", b"SigIgn", b"SigBlk"))
        if caught is None or ignored is None or blocked is None:
            return False
        if (int(caught, 16) | int(ignored, 16)) >> (number - 1) & 1:
            return False
        if not int(blocked, 16) >> (number - 1) & 1:
            return True
        if fields.get(b"State", b"S")[:1] == b"S":
            return False
        time.sleep(_LOOK_S)  # it runs: shells block everything for a moment around a fork or a wait
    return False


def group_members(group: int) -> list[int]:
    """The processes of a group, its leader alone where /proc can't be read."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return [group]
    found = []
    for name in names:
        try:
            if name.isdigit() and os.getpgid(int(name)) == group:
                found.append(int(name))
        except OSError:
            continue
    return found
