"""Stacks of a process by the reader in its own interpreter's standard library (`_remote_debugging`, Python 3.14 on).

Run by the target's interpreter with its pid. For each line on stdin it writes one of JSON that `profilers.unwinder`
reads: `{"threads": [[thread, has the GIL, [[file, line, function], …]], …]}`, innermost frame first, or
`{"error": class, "said": words}`. It ends with its stdin.
"""

from __future__ import annotations

import json
import sys

import _remote_debugging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def threads(unwinder: Any) -> list[Any]:
    """All threads. 3.14 gives them bare, 3.15 by interpreter."""
    has_gil = getattr(_remote_debugging, "THREAD_STATUS_HAS_GIL", 0)
    found = []
    for entry in unwinder.get_stack_trace():
        for thread in getattr(entry, "threads", None) or [entry]:
            if hasattr(thread, "frame_info"):
                frames = [[frame.filename, line(frame), frame.funcname] for frame in thread.frame_info]
                found.append([thread.thread_id, bool(getattr(thread, "status", 0) & has_gil), frames])
    return found


def line(frame: Any) -> int:
    """Its line; 0 where there is none."""
    place = getattr(frame, "location", None)
    return getattr(frame, "lineno", 0) if place is None else place if isinstance(place, int) else place[0]


def main() -> None:
    """Answer until there is no more to answer."""
    reader = None
    for _ in sys.stdin:
        try:
            if reader is None:
                reader = _remote_debugging.RemoteUnwinder(int(sys.argv[1]), all_threads=True)
            answer: dict[str, Any] = {"threads": threads(reader)}
        except Exception as error:
            answer = {"error": type(error).__name__, "said": str(error)[:300]}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


main()
