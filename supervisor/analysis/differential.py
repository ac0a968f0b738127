"""A differential flame graph: the width is one side's time, the colour what became of it.

After Brendan Gregg (https://www.brendangregg.com/blog/2014-11-09/differential-flame-graphs.html): red is slower, blue
is faster. What is gone has no width on the current side, so a page shows one for each side.
"""

from __future__ import annotations

from supervisor.analysis import flamegraph
from supervisor.analysis.calltree import Node, nodes
from supervisor.analysis.folded import frame, split_frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from supervisor.analysis.folded import Counts, Key

_FINEST = 20_000  # a path under this part of the whole counts as absent on the other side
_STRONGEST = 0.5  # a change by half has the full colour


def unify(counts: Counts, names: Mapping[Key, Key], factor: float) -> Counts:
    """Stacks without lines, functions named by `names` where it has one, weights times `factor` and whole."""
    known: dict[str, str] = {}
    unified: dict[str, float] = {}
    for stack, weight in counts.items():
        frames = stack.split(";")
        for text in frames:
            if text not in known:
                function, file, _ = split_frame(text)
                function, file = names.get((function, file), (function, file))
                known[text] = frame(function, file)
        text = ";".join([known[text] for text in frames])
        unified[text] = unified.get(text, 0.0) + weight * factor
    return {stack: round(weight) for stack, weight in unified.items() if round(weight) > 0}


def render(
    counts: Counts, other: Counts, *, current: bool, title: str, subtitle: str, written: Callable[[int], str]
) -> str:
    """The SVG: widths by `counts`, colours by their difference from `other`; `current` says that `counts` is newer."""
    totals = _by_path(other)
    places: dict[int, int | None] = {}

    def path_of(node: Node) -> int | None:
        if id(node) not in places:
            parent = 0 if node.parent is None else path_of(node.parent)
            known = totals.get((parent, node.text)) if parent is not None else None
            places[id(node)] = known[0] if known else None
        return places[id(node)]

    def paint(node: Node) -> tuple[str, str]:
        parent = 0 if node.parent is None else path_of(node.parent)
        known = totals.get((parent, node.text)) if parent is not None else None
        there = known[1] if known else 0
        before, after = (there, node.total_weight) if current else (node.total_weight, there)
        if not before or not after:
            return colour(1.0 if after else -1.0), "new" if after else "gone"
        part = after / before - 1
        return colour(part), f"{part:+.1%}, {written(before)} before, {written(after)} now"

    return flamegraph.render(counts, title=title, unit="", subtitle=subtitle, format_weight=written, paint=paint)


def colour(part: float) -> str:
    """Red for more, blue for less, grey for the same; black text reads on all."""
    strength = min(abs(part) / _STRONGEST, 1.0)
    if strength < 0.02:
        return "hsl(0,0%,86%)"
    return f"hsl({4 if part > 0 else 212},{35 + 50 * strength:.0f}%,{86 - 22 * strength:.0f}%)"


def _by_path(counts: Counts) -> dict[tuple[int, str], tuple[int, int]]:
    """Number and weight of each path, by the number of its parent (0: none) and its own frame."""
    total = sum(counts.values())
    found, _ = nodes(counts, max(1, total // _FINEST))
    numbers: dict[int, int] = {}
    paths: dict[tuple[int, str], tuple[int, int]] = {}
    for number, node in enumerate(found, 1):  # parents come first
        numbers[id(node)] = number
        parent = 0 if node.parent is None else numbers[id(node.parent)]
        paths[parent, node.text] = (number, node.total_weight)
    return paths
