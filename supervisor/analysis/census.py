"""Two censuses of a Python's objects: what grew between them, beyond what sampling explains. Pure.

A census is what the agent answers: `types`, each with `type`, `count`, `bytes`, `spread` (of the count's estimate) and
`in` (who holds it).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LEAST_BYTES = 64 << 10
_SURE = 2.0  # standard errors
_TELLING_BYTES = 8 << 20
_EXPLAINS = 0.3
_EXPLAINS_MOST = 1.5
_HELD_MOST = 1.1


class Row:
    """A type: how many objects and bytes, and how many more than before; `held_in`: the type that most is found in."""

    __slots__ = ("count", "held_in", "more", "more_bytes", "size_bytes", "type")

    def __init__(
        self, type: str, count: int, size_bytes: int, *, more: int = 0, more_bytes: int = 0, held_in: str = ""
    ) -> None:
        self.type = type
        self.count = count
        self.size_bytes = size_bytes
        self.more = more
        self.more_bytes = more_bytes
        self.held_in = held_in


def rows(census: dict[str, Any]) -> list[Row]:
    """The types as counted, most bytes first; what makes no sense is left out."""
    found: dict[str, Row] = {}
    for each in _types(census):
        before = found.get(each["type"])
        held = each.get("in")
        first = held[0] if isinstance(held, list) and held and isinstance(held[0], dict) else {}
        row = Row(each["type"], each["count"], each["bytes"], held_in=str(first.get("type", "")))
        if before is not None:  # two classes of one name
            row = Row(row.type, row.count + before.count, row.size_bytes + before.size_bytes, held_in=before.held_in)
        found[row.type] = row
    return sorted(found.values(), key=lambda row: (-row.size_bytes, row.type))


def grew(before: dict[str, Any], after: dict[str, Any]) -> list[Row]:
    """The types that have more bytes than before, most first.

    Left out: less than 64 KiB, and what may as well be chance (twice the standard error of both estimates).
    """
    old = {row.type: row for row in rows(before)}
    spread = _spreads(before), _spreads(after)
    found = []
    for row in rows(after):
        was = old.get(row.type)
        more = row.count - (was.count if was else 0)
        more_bytes = row.size_bytes - (was.size_bytes if was else 0)
        each_bytes = row.size_bytes / max(1, row.count)
        error = _SURE * (spread[0].get(row.type, 0.0) ** 2 + spread[1].get(row.type, 0.0) ** 2) ** 0.5 * each_bytes
        # What has hardly more objects grew by their size: a list, a buffer. The count's chance says nothing of that.
        if more_bytes >= LEAST_BYTES and (more_bytes > error or row.count <= 8):
            kept = Row(row.type, row.count, row.size_bytes, more=more, more_bytes=more_bytes, held_in=row.held_in)
            found.append(kept)
    return sorted(found, key=lambda row: (-row.more_bytes, row.type))


def total_bytes(census: dict[str, Any]) -> int:
    """All that was counted."""
    return sum(row.size_bytes for row in rows(census))


def doubt(before: dict[str, Any], after: dict[str, Any], held: tuple[int, int]) -> str:
    """Why the type that grew most is not to be blamed, by the bytes that the process held at the two censuses.

    `coarse`: the estimates don't fit what it held or gained; `unseen`: its objects explain little of what it gained;
    `spread`: they do, but no type by itself. Empty where there is no doubt.
    """
    for census, size in ((before, held[0]), (after, held[1])):
        if total_bytes(census) > _HELD_MOST * size + _TELLING_BYTES:
            return "coarse"
    gained, explained = held[1] - held[0], total_bytes(after) - total_bytes(before)
    if explained > _EXPLAINS_MOST * max(0, gained) + _TELLING_BYTES:
        return "coarse"
    if gained < _TELLING_BYTES:
        return ""
    if explained < _EXPLAINS * gained:
        return "unseen"
    grown = grew(before, after)
    return "spread" if grown and grown[0].more_bytes < _EXPLAINS * gained else ""


def by_module(found: list[Row]) -> list[tuple[str, int, int]]:
    """(module, objects, bytes) of the classes, most bytes first; builtins are `builtins`."""
    totals: dict[str, list[int]] = {}
    for row in found:
        entry = totals.setdefault(row.type.partition(".")[0] if "." in row.type else "builtins", [0, 0])
        entry[0] += row.count
        entry[1] += row.size_bytes
    return sorted(((name, count, size) for name, (count, size) in totals.items()), key=lambda each: -each[2])


def _types(census: dict[str, Any]) -> list[dict[str, Any]]:
    found = census.get("types")
    return [
        each
        for each in (found if isinstance(found, list) else [])
        if isinstance(each, dict)
        and isinstance(each.get("type"), str)
        and isinstance(each.get("count"), int)
        and isinstance(each.get("bytes"), int)
    ]


def _spreads(census: dict[str, Any]) -> dict[str, float]:
    return {each["type"]: float(each.get("spread", 0.0)) for each in _types(census)}
