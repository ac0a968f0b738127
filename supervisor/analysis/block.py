"""The block at the end of a Markdown profile that programs read, so that a comparison parses no prose.

A fenced code block with the info string `json guard-profile` that holds one JSON object in ASCII:
`schema_version` (1), `kind`, `unit`, `total`, `seconds_per_sample`, `functions` (a list of objects with
`function`, `file`, `line`, `self`, `total`, `folded_self`, heaviest self first), `functions_left_out`, and `data`.
`folded_self` is what the function would weigh itself without library frames; older blocks have none.
"""

from __future__ import annotations

from supervisor.analysis.text import shorten, visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from supervisor.analysis.folded import FunctionTotal, Key

SCHEMA_VERSION = 1
OPENING = "```json guard-profile"
_MOST_FUNCTIONS = 2000
_MOST_WEIGHT = 10**30


def render_block(
    kind: str,
    unit: str,
    total: int,
    functions: list[FunctionTotal],
    seconds_per_sample: float | None,
    data: dict[str, object],
    folded: Mapping[Key, int] | None = None,
) -> str:
    """The block without a newline at its end; the 2,000 functions that weigh most, one a line.

    `folded` are self weights without library frames, of functions that have any then.

    Raises `TypeError` or `ValueError` for data that JSON can't hold.
    """
    import json

    def dumped(value: object) -> str:
        return json.dumps(value, allow_nan=False)

    shown = functions
    if folded is not None and len(functions) > _MOST_FUNCTIONS:
        heavy = sorted(functions, key=lambda each: -max(each.self_weight, folded.get((each.function, each.file), 0)))
        chosen = {id(each) for each in heavy[:_MOST_FUNCTIONS]}
        shown = [each for each in functions if id(each) in chosen]
    rows = [
        dumped(
            {
                "function": each.function,
                "file": each.file,
                "line": each.line,
                "self": each.self_weight,
                "total": each.total_weight,
            }
            | ({} if folded is None else {"folded_self": folded.get((each.function, each.file), 0)})
        )
        for each in shown[:_MOST_FUNCTIONS]
    ]
    lines = [
        f'{{"schema_version": {SCHEMA_VERSION}, "kind": {dumped(kind)}, "unit": {dumped(unit)},',
        f'"total": {total},',
        f'"seconds_per_sample": {dumped(seconds_per_sample)},',
        f'"functions": [{"" if rows else "],"}',
        *(row + ("," if index < len(rows) else "],") for index, row in enumerate(rows, 1)),
        f'"functions_left_out": {max(len(functions) - _MOST_FUNCTIONS, 0)},',
        f'"data": {dumped(data)}}}',
    ]
    return "\n".join([OPENING, *lines, "```"])


def read_block(text: str) -> dict[str, Any]:
    """The object in the last such block of a Markdown profile, with the fields named above.

    Raises `ValueError` that says what was seen when there is none, it isn't closed, isn't JSON, is of another
    schema version, or lacks a field.
    """
    lines = [line.rstrip() for line in text.split("\n")]
    starts = [index for index, line in enumerate(lines) if line == OPENING]
    if not starts:
        last = next((line for line in reversed(lines) if line), "")
        raise ValueError(f"no `{OPENING}` block; {_seen(last) if last else 'the text is empty'}")
    body = lines[starts[-1] + 1 :]
    if "```" not in body:
        raise ValueError(f"the guard-profile block is not closed; {_seen(body[-1] if body else '')}")
    return _checked(_loaded("\n".join(body[: body.index("```")])))


def _loaded(text: str) -> object:
    import json

    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the guard-profile block is not JSON ({error}); {_seen(text)}") from None
    return found


def _checked(found: object) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ValueError(f"the guard-profile block is not an object; {_seen(repr(found))}")
    version = found.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise ValueError(f"the guard-profile block has schema version {_short(version)}, not {SCHEMA_VERSION}")
    for name, kinds in (("kind", str), ("unit", str), ("data", dict), ("functions", list)):
        if not isinstance(found.get(name), kinds):
            raise ValueError(f"the guard-profile block's {name} is {_short(found.get(name))}")
    if not _is_weight(found.get("total")):
        raise ValueError(f"the guard-profile block's total is {_short(found.get('total'))}")
    seconds = found.get("seconds_per_sample")
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float)):
        raise ValueError(f"the guard-profile block's seconds_per_sample is {_short(seconds)}")
    for each in found["functions"]:
        if not _is_function(each):
            raise ValueError(f"the guard-profile block lists a function as {_short(each)}")
    return found


def _is_function(each: object) -> bool:
    return (
        isinstance(each, dict)
        and isinstance(each.get("function"), str)
        and isinstance(each.get("file"), str | None)
        and isinstance(each.get("line"), int | None)
        and _is_weight(each.get("self"))
        and _is_weight(each.get("total"))
        and _is_weight(each.get("folded_self", 0))
    )


def _is_weight(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_WEIGHT


def _seen(text: str) -> str:
    return f"saw `{shorten(visible(text), 120)}`"


def _short(value: object) -> str:
    return shorten(visible(repr(value)), 120)
