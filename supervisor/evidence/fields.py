"""Typed values from JSON that somebody else wrote: each function gives the type it is named for, or None. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

MOST_TEXT = 100_000
_LARGEST = 1 << 62


def decoded(data: bytes) -> object:
    """What JSON the bytes hold; None for what is cut short, no JSON, or nested past all sense."""
    try:
        found: object = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return found


def mapping(value: object) -> Mapping[str, Any]:
    """An object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def sequence(value: object) -> Sequence[Any]:
    """An array; an empty one for anything else."""
    return value if isinstance(value, list) else ()


def text(value: object) -> str | None:
    """A text, at most 100,000 characters of it. Lone surrogates, which no UTF-8 output takes, become escapes."""
    if not isinstance(value, str):
        return None
    if len(value) <= MOST_TEXT and value.isascii():
        return value
    return value[:MOST_TEXT].encode("utf-8", "backslashreplace").decode("utf-8")


def number(value: object) -> float | None:
    """A finite number; JSON's true, NaN and Infinity are none."""
    if type(value) is float:  # what most are; NaN fails the comparison
        return value if -_LARGEST <= value <= _LARGEST else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) and abs(found) <= _LARGEST else None


def whole(value: object) -> int | None:
    """A whole number that fits 64 bits; a float is cut to one."""
    if type(value) is int:
        return value if -_LARGEST <= value <= _LARGEST else None
    found = number(value)
    return None if found is None else int(found)


def moment(value: object) -> float | None:
    """Seconds since the epoch (0 or more) from `2026-11-24T11:16:44.123Z`."""
    if not isinstance(value, str) or not 19 <= len(value) <= 40:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    try:
        seconds = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError, OSError):
        return None
    return seconds if seconds >= 0 else None
