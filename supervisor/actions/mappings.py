"""Where a process's resident memory lies: heap, stacks, libraries, files, shared and anonymous memory. Any language."""

from __future__ import annotations

import os
from typing import Any

_MOST = 40
# The kernel walks page tables for smaps, about 10 ms a GiB.
_MOST_BYTES = 4 << 30


def read(pid: int, rss_bytes: int | None = None) -> list[dict[str, Any]]:
    """Mappings of the same name together, largest first: kind, name, rss_bytes, size_bytes.

    `rss_bytes` of a mapping is None where the process (of `rss_bytes`) is too large to be walked while it waits.
    Empty when the process can't be read. Source: proc(5), /proc/PID/smaps and maps.
    """
    detailed = rss_bytes is None or rss_bytes <= _MOST_BYTES
    totals: dict[str, list[int]] = {}
    current: list[int] = [0, 0]
    try:
        with open(f"/proc/{pid}/{'smaps' if detailed else 'maps'}", "rb") as file:
            for line in file:
                first, _, rest = line.partition(b" ")
                if first.endswith(b":"):
                    if first == b"Rss:":
                        current[0] += int(rest.split()[0]) * 1024
                    continue
                start, _, end = first.partition(b"-")
                words = rest.split(None, 4)
                name = os.fsdecode(words[4].strip()) if len(words) > 4 else ""
                current = totals.setdefault(name, [0, 0])
                current[1] += int(end, 16) - int(start, 16)
    except (OSError, ValueError, IndexError):
        return []
    order = sorted(totals.items(), key=lambda item: (-item[1][0], -item[1][1]))
    return [
        {"kind": kind(name), "name": name, "rss_bytes": rss if detailed else None, "size_bytes": size}
        for name, (rss, size) in order[:_MOST]
        if rss or not detailed
    ]


def kind(name: str) -> str:
    """heap, stack, anonymous, shared, library, kernel or file."""
    if not name or name.startswith("[anon"):
        return "anonymous"
    if name == "[heap]":
        return "heap"
    if name.startswith("[stack"):
        return "stack"
    if name.startswith("["):
        return "kernel"
    if name.startswith(("/dev/shm/", "/SYSV", "/memfd:", "/dev/zero")):
        return "shared"
    base = name.rpartition("/")[2]
    return "library" if base.endswith(".so") or ".so." in base else "file"


def is_python(pid: int) -> bool:
    """Whether an interpreter is mapped, by its name or its library's; asking py-spy takes it half a second."""
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            return any(b"python" in line.rpartition(b"/")[2].lower() for line in file if b"/" in line)
    except OSError:
        return True
