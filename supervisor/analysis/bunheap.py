"""Bun's `--heap-prof-md`, read: bytes by type, as its objects have them themselves. It tells no code.

Its table has the 50 types that retain the most; what the others have is the rest of the total.
"""

from __future__ import annotations

from supervisor.analysis.folded import FunctionTotal, frame
from supervisor.analysis.reading import FormatError, Reading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervisor.analysis.folded import Counts, Key

_TITLE = "# Bun Heap Profile"
_TYPES = "## Top 50 Types by Retained Size"
_UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_OTHERS = "(other types)"


class Row:
    """A type: how many objects, what they have themselves, what would go with them (in bytes, as rounded there)."""

    __slots__ = ("count", "name", "retained_bytes", "self_bytes")

    def __init__(self, name: str, count: int, self_bytes: int, retained_bytes: int) -> None:
        self.name = name
        self.count = count
        self.self_bytes = self_bytes
        self.retained_bytes = retained_bytes


def is_one(text: str) -> bool:
    """Whether this beginning of a file is one of Bun's heaps."""
    return text.startswith(_TITLE)


def rows(text: str) -> tuple[int, list[Row]]:
    """The heap's size in bytes and its types, the most retaining first. Raises FormatError."""
    head, found, rest = text.partition(_TYPES)
    if not found:
        raise FormatError(f"the heap's Markdown of Bun has no `{_TYPES}`: is it cut off?")
    total = 0
    for line in head.splitlines():
        if line.startswith("| Total Heap Size |"):
            digits = line.rpartition("(")[2].partition(" ")[0]
            total = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else 0
    types = []
    for line in rest.partition("\n## ")[0].splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if len(cells) != 6 or not cells[0].isdigit():
            continue
        try:
            types.append(Row(cells[1].strip("`"), int(cells[2].replace(",", "")), _bytes(cells[3]), _bytes(cells[4])))
        except ValueError:
            raise FormatError(f"a type's row in the heap's Markdown of Bun reads `{line[:120]}`") from None
    return total, types


def counts(total: int, types: list[Row]) -> Counts:
    """Bytes by type as stacks of one frame."""
    found: Counts = {}
    for row in types:
        if row.self_bytes:
            name = frame(row.name, None)
            found[name] = found.get(name, 0) + row.self_bytes
    rest = total - sum(found.values())
    return {**found, _OTHERS: rest} if rest > 0 else found


def read(text: str) -> Reading:
    """The heap; weights are bytes. Raises FormatError."""
    total, types = rows(text)
    weights = counts(total, types)
    functions: dict[Key, FunctionTotal] = {}
    for name, weight in weights.items():
        functions[name, None] = FunctionTotal(name, None, None, weight, weight)
    found = Reading("Bun's heap Markdown", functions, sum(weights.values()))
    found.kind, found.unit = "memory", "bytes"
    return found


def _bytes(text: str) -> int:
    number, _, unit = text.partition(" ")
    if unit not in _UNITS or not number.replace(".", "", 1).replace(",", "").isdigit() or len(number) > 15:
        raise ValueError(text)
    return round(float(number.replace(",", "")) * _UNITS[unit])
