"""Why there is no evidence: a word for programs, what the system said, and what to type next. Pure."""

from __future__ import annotations

from supervisor import sooner
from supervisor.quantities import human_bytes


class Failure(Exception):
    """Why something gave nothing: a stable word, what was said, and what to type next."""

    def __init__(self, reason: str, said: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.said = said
        self.hint = hint


def gone(pid: int, said: str = "") -> Failure:
    """The process ended, or another has its pid by now."""
    return Failure("target-gone", said or f"process {pid} is gone", sooner.HINT)


def no_headroom(left_bytes: int, needed_bytes: int, what: str) -> Failure:
    """The memory limit leaves less than `what` may take."""
    left, needed = human_bytes(left_bytes), human_bytes(needed_bytes)
    said = f"{left} are left below the limit, and {what} may take {needed}"
    return Failure("no-headroom", said, "guard run --warning 50% -- COMMAND")
