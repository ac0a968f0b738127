"""What to type when a process was gone before evidence was taken of it. Pure."""

from __future__ import annotations

_SHORT_S = 0.5
HINT = "guard run --interval 500ms -- COMMAND"
_FROM_THE_START = "guard profile -- COMMAND"


def often(interval_s: float | None) -> bool:
    """Whether a run with this longest wait between two samples looks as often as is of use; None: not known."""
    return interval_s is not None and interval_s <= _SHORT_S


def hint(interval_s: float) -> str:
    """By the run's own longest wait: look more often, and where it did, profile from the program's first moment on."""
    return _FROM_THE_START if often(interval_s) else HINT


def fitting(given: str, interval_s: float) -> str:
    """A worker's hint, for this run: a worker doesn't know how often the run looks."""
    return hint(interval_s) if given == HINT else given
