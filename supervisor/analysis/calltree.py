"""The part of a call tree that is worth drawing.

Sorting stacks puts those with a common beginning side by side; one pass over them then knows where each node
begins and ends, with one stack of open nodes as its only memory. Gregg's flamegraph.pl flows stacks the same
way.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervisor.analysis.folded import Counts


class Node:
    """One call path. `depth` is 0 at the root frames; `start` is the weight of all that is left of it.

    `text` is the frame, `total_weight` what passed through the path, `self_weight` what ended in it, `parent` the
    path without its last frame.
    """

    __slots__ = ("depth", "parent", "self_weight", "start", "text", "total_weight")

    def __init__(self, text: str, depth: int, start: int, parent: Node | None = None) -> None:
        self.text = text
        self.parent = parent
        self.depth = depth
        self.start = start
        self.self_weight = 0
        self.total_weight = 0


def nodes(counts: Counts, least: int) -> tuple[list[Node], int]:
    """Nodes that weigh `least` (at least 1) or more, parents before children and left to right; and how many
    weigh less.

    Children are ordered by name. The parent of a node that is returned is returned too.
    """
    least = max(least, 1)
    found: list[Node] = []
    left_out = 0
    path: list[Node] = []
    position = 0

    def close(depth: int) -> int:
        light = 0
        while len(path) > depth:
            node = path.pop()
            node.total_weight = position - node.start
            if node.total_weight >= least:
                found.append(node)
            else:
                light += 1
        return light

    # The lowest character in place of the separator: with `;` itself, `a b` would sort between `a` and `a;c`.
    for stack in sorted(counts, key=lambda text: text.replace(";", "\0")):
        frames = stack.split(";")
        common = 0
        for node, text in zip(path, frames, strict=False):
            if node.text != text:
                break
            common += 1
        left_out += close(common)
        for depth in range(common, len(frames)):
            path.append(Node(frames[depth], depth, position, path[-1] if path else None))
        path[-1].self_weight += counts[stack]
        position += counts[stack]
    left_out += close(0)
    found.sort(key=lambda node: (node.start, node.depth))
    return found, left_out


def heaviest_first(found: list[Node]) -> list[Node]:
    """Nodes by falling weight, parents before children: any beginning of the list is a whole tree."""
    return sorted(found, key=lambda node: (-node.total_weight, node.depth, node.start))
