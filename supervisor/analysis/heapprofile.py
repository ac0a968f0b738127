"""The `.heapprofile` of V8 (Node, Chrome), read: which code allocated what is still held.

The format is `HeapProfiler.SamplingHeapProfile` of the DevTools protocol: a tree of calls with the bytes that each one
allocated itself, scaled up from samples; and the samples in the order of their `ordinal`.
"""

from __future__ import annotations

from supervisor.analysis.folded import frame
from supervisor.analysis.reading import FormatError, Tally, frame_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervisor.analysis.folded import Counts
    from supervisor.analysis.reading import Reading

_MOST_DEPTH = 1000


class Heap:
    """A sampled heap: `counts` are bytes by stack, `samples` are (ordinal, stack, bytes), where the file has them."""

    __slots__ = ("counts", "samples")

    def __init__(self, counts: Counts, samples: list[tuple[int, str, int]]) -> None:
        self.counts = counts
        self.samples = samples

    def parted(self, until: int | None) -> tuple[Counts, Counts]:
        """Bytes of the samples up to an ordinal (None: of all), and of those after it."""
        before: Counts = {}
        after: Counts = {}
        for ordinal, stack, size in self.samples:
            into = before if until is None or ordinal <= until else after
            into[stack] = into.get(stack, 0) + size
        return before, after

    @property
    def newest(self) -> int:
        """The highest ordinal, 0 without samples."""
        return max((ordinal for ordinal, _, _ in self.samples), default=0)


def is_one(document: dict[str, Any]) -> bool:
    """Whether this is a sampled heap."""
    head = document.get("head")
    return isinstance(head, dict) and isinstance(head.get("callFrame"), dict)


def read(document: dict[str, Any], *, keep: bool = False) -> Reading:
    """The profile; weights are bytes. Raises FormatError."""
    heap = parse(document)
    tally = Tally(keep=keep)
    for stack, weight in heap.counts.items():
        tally.add(stack, weight)
    found = tally.reading(".heapprofile of V8")
    found.kind = "memory"
    found.unit = "bytes"
    found.weight_per_sample = max(1.0, found.total / len(heap.samples)) if heap.samples else 1.0
    return found


def parse(document: dict[str, Any]) -> Heap:
    """The heap of a document. What code without a file (V8's own) allocated is its caller's. Raises FormatError."""
    counts: Counts = {}
    stacks: dict[int, str] = {}
    waiting: list[tuple[dict[str, Any], str, int]] = [(document["head"], "", 0)]
    while waiting:
        node, above, depth = waiting.pop()
        if not isinstance(node, dict) or not isinstance(node.get("callFrame"), dict):
            raise FormatError("a node of the .heapprofile has no callFrame")
        stack = _stack(above, node["callFrame"], depth)
        size = node.get("selfSize")
        if not isinstance(size, int | float) or isinstance(size, bool) or not 0 <= size < 1e18:
            raise FormatError(f"a node of the .heapprofile weighs {size!r}")
        if isinstance(node.get("id"), int):
            stacks[node["id"]] = stack
        if size:
            counts[stack] = counts.get(stack, 0) + round(size)
        children = node.get("children")
        for child in children if isinstance(children, list) else ():
            waiting.append((child, stack if depth else "", min(depth + 1, _MOST_DEPTH)))
    samples = []
    raw = document.get("samples")
    for each in raw if isinstance(raw, list) else ():
        size = each.get("size") if isinstance(each, dict) else None
        if not isinstance(size, int | float) or not 0 <= size < 1e18 or not isinstance(each.get("ordinal", 0), int):
            raise FormatError(f"a sample of the .heapprofile reads {str(each)[:80]}")
        place = stacks.get(each.get("nodeId"))
        if place is not None:  # V8's samples can be ahead of its tree
            samples.append((each.get("ordinal", 0), place, round(size)))
    return Heap(counts, samples)


def _stack(above: str, call: dict[str, Any], depth: int) -> str:
    name, url, line = call.get("functionName"), call.get("url"), call.get("lineNumber")
    file = url.removeprefix("file://") if isinstance(url, str) else ""
    if (not file and above) or depth >= _MOST_DEPTH:
        return above
    # Lines count from 0 there.
    text = frame(frame_name(name), file or None, line + 1 if isinstance(line, int) else None)
    return f"{above};{text}" if above else text


def refine(exact: Counts, vague: Counts) -> Counts:
    """Both together, `vague` told apart by `exact`, where no function was inlined.

    What `exact` has below a function stands, in its proportions, below each leaf of that name in `vague`: there the
    callee's bytes were charged to the caller that it was inlined into. The sum of weights stays.
    """
    leaves = {stack.rpartition(";")[2] for stack in vague}
    below: dict[str, Counts] = {}
    for stack, weight in exact.items():
        frames = stack.split(";")
        for index in {text: index for index, text in enumerate(frames)}.values():  # the last call of a recursion
            if weight and frames[index] in leaves:
                known = below.setdefault(frames[index], {})
                rest = "".join(f";{text}" for text in frames[index + 1 :])
                known[rest] = known.get(rest, 0) + weight
    found = dict(exact)
    for stack, weight in vague.items():
        shares = below.get(stack.rpartition(";")[2]) or {"": 1}
        total, seen, given = sum(shares.values()), 0, 0
        for rest, share in sorted(shares.items()):
            seen += share
            part = weight * seen // total - given
            given += part
            if part:
                found[stack + rest] = found.get(stack + rest, 0) + part
    return found
