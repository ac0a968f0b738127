"""Bun's `--cpu-prof-md`, read: its `Function Details` have every function with self, total and samples.

A Markdown table has no stacks, and Bun's totals count a recursive call twice, so a total is held to the whole.
"""

from __future__ import annotations

from supervisor.analysis.folded import FunctionTotal
from supervisor.analysis.reading import FormatError, Reading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervisor.analysis.folded import Key

_HEAD = "| Duration | Samples | Interval | Functions |"
_UNITS = (("us", 1), ("µs", 1), ("ms", 1000), ("s", 1_000_000))


def is_one(text: str) -> bool:
    """Whether this beginning of a file is one of Bun's."""
    return text.startswith("# CPU Profile") and _HEAD in text


def read(text: str) -> Reading:
    """The profile; weights are µs. Raises FormatError where a section or figure isn't as Bun writes it."""
    lines = [line.rstrip() for line in text.splitlines()]
    try:
        cells = [cell.strip() for cell in lines[lines.index(_HEAD) + 2].strip("|").split("|")]
        duration, samples = _microseconds(cells[0]), int(cells[1].replace(",", ""))
        start = lines.index("## Function Details")
    except (ValueError, IndexError):
        raise FormatError("the Markdown of Bun has no head table or no `## Function Details`: is it cut off?") from None
    functions: dict[Key, FunctionTotal] = {}
    for index in range(start, len(lines) - 1):
        if lines[index].startswith("### `"):
            _add(functions, lines[index][5:].rstrip("`"), lines[index + 1])
    total = sum(each.self_weight for each in functions.values())
    for each in functions.values():
        each.total_weight = min(each.total_weight, max(total, duration))
    found = Reading("Bun's Markdown", functions, total)
    found.unit = "seconds"
    found.seconds_per_weight = 1e-6
    found.weight_per_sample = max(1.0, total / samples) if samples else 1.0
    found.seconds = duration * 1e-6
    return found


def _add(functions: dict[Key, FunctionTotal], name: str, row: str) -> None:
    """A function's line: `place` | Self: 54.8% (134.5ms) | Total: … | Samples: 24, the place absent where unknown."""
    figures = {"Self": 0, "Total": 0}
    file, line = None, None
    for part in row.split(" | "):
        word, _, rest = part.partition(": ")
        if word in figures:
            try:
                figures[word] = _microseconds(rest[rest.index("(") + 1 : rest.index(")")])
            except ValueError:
                raise FormatError(f"a function's line in the Markdown of Bun reads `{row[:120]}`") from None
        elif part.startswith("`"):
            place, _, digits = part.strip("`").rpartition(":")
            known = bool(place) and digits.isascii() and digits.isdigit() and len(digits) < 10
            file, line = (place, int(digits)) if known else (part.strip("`"), None)
    key = (name, file or None)
    found = functions.setdefault(key, FunctionTotal(name, file or None, line, 0, 0))
    found.self_weight += figures["Self"]
    found.total_weight += figures["Total"]


def _microseconds(text: str) -> int:
    for unit, factor in _UNITS:
        number = text.removesuffix(unit)
        if number != text and number.replace(",", "").replace(".", "", 1).isdigit():
            return round(float(number.replace(",", "")) * factor)
    raise ValueError(text)
