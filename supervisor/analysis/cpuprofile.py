"""The `.cpuprofile` of V8 (Node, Chrome) and of Bun, read.

The format is `Profiler.Profile` of the DevTools protocol: a tree of nodes, and for each sample its node and the time
since the one before, in µs.
"""

from __future__ import annotations

from supervisor.analysis.folded import frame
from supervisor.analysis.reading import FormatError, Tally, frame_name, inflation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervisor.analysis.reading import Reading

_IDLE = "(idle)"
_MOST_DEPTH = 10_000


def read(document: dict[str, Any], *, keep: bool = False) -> Reading:
    """The profile; weights are µs. Idle samples are counted in `idle` and left out. Raises FormatError."""
    nodes = _nodes(document)
    samples, deltas = document.get("samples"), document.get("timeDeltas")
    if not isinstance(samples, list) or not samples:
        return _by_hits(document, nodes, keep)
    if not isinstance(deltas, list) or len(deltas) != len(samples):
        deltas = [_even(document, len(samples))] * len(samples)
    weights: dict[int, int] = {}
    sequence = []
    idle = 0
    for number, delta in zip(samples, deltas, strict=True):
        if number not in nodes or not isinstance(delta, int | float) or not abs(delta) < 1e15:
            raise FormatError(f"a sample names node {number!r}, which isn't there, or its time is {delta!r}")
        weight = max(0, round(delta))
        if nodes[number]["callFrame"].get("functionName") == _IDLE:
            idle += weight
            continue
        weights[number] = weights.get(number, 0) + weight
        sequence.append(number)
    found = _reading(document, nodes, weights, len(sequence), keep)
    found.idle = idle
    found.inflation = inflation(sequence)
    return found


def _by_hits(document: dict[str, Any], nodes: dict[int, dict[str, Any]], keep: bool) -> Reading:
    """Of an older form, which only counts each node's samples."""
    hits = {number: _hits(node) for number, node in nodes.items()}
    each = _even(document, sum(hits.values()))
    idle = {number for number, node in nodes.items() if node["callFrame"].get("functionName") == _IDLE}
    busy = {number: count for number, count in hits.items() if count and number not in idle}
    weights = {number: count * each for number, count in busy.items()}
    found = _reading(document, nodes, weights, sum(busy.values()), keep)
    found.idle = each * sum(hits[number] for number in idle)
    return found


def _reading(
    document: dict[str, Any], nodes: dict[int, dict[str, Any]], weights: dict[int, int], samples: int, keep: bool
) -> Reading:
    parents = {child: number for number, node in nodes.items() for child in node.get("children") or []}
    for number, node in nodes.items():  # an older form names the parent instead of the children
        if isinstance(node.get("parent"), int):
            parents.setdefault(number, node["parent"])
    tally = Tally(keep=keep)
    for number, weight in weights.items():
        tally.add(_stack(nodes, parents, number), weight)
    found = tally.reading(".cpuprofile of V8 or Bun")
    found.unit = "seconds"
    found.seconds_per_weight = 1e-6
    found.weight_per_sample = max(1.0, found.total / samples) if samples else 1.0
    span = _span(document)
    found.seconds = span * 1e-6 if span else None
    return found


def _span(document: dict[str, Any]) -> float:
    """How long was recorded, in µs; 0 where that isn't known."""
    start, end = document.get("startTime"), document.get("endTime")
    if isinstance(start, int | float) and isinstance(end, int | float) and 0 < end - start < 1e15:
        return end - start
    return 0.0


def _nodes(document: dict[str, Any]) -> dict[int, dict[str, Any]]:
    nodes: dict[int, dict[str, Any]] = {}
    for node in document["nodes"]:
        if not isinstance(node, dict) or not isinstance(node.get("id"), int):
            raise FormatError("a node of the .cpuprofile has no number")
        if not isinstance(node.get("callFrame"), dict):
            raise FormatError(f"node {node['id']} of the .cpuprofile has no callFrame")
        nodes[node["id"]] = node
    return nodes


def _hits(node: dict[str, Any]) -> int:
    hits = node.get("hitCount")
    return min(max(hits, 0), 10_000_000) if isinstance(hits, int) else 0


def _even(document: dict[str, Any], samples: int) -> int:
    span = _span(document)
    return max(1, round(span / samples)) if span and samples else 1000


def _stack(nodes: dict[int, dict[str, Any]], parents: dict[int, int], number: int) -> str:
    frames: list[str] = []
    place: int | None = number
    while place is not None and len(frames) < _MOST_DEPTH:
        call = nodes[place]["callFrame"] if place in nodes else {}
        name = call.get("functionName")
        place = parents.get(place)
        if name == "(root)" and place is None and frames:
            break
        url, line = call.get("url"), call.get("lineNumber")
        file = url.removeprefix("file://") if isinstance(url, str) else ""
        # Lines count from 0 there.
        frames.append(frame(frame_name(name), file or None, line + 1 if isinstance(line, int) else None))
    return ";".join(reversed(frames))


def joined(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Profiles that were taken one after the other as one: calls that are the same are one node. At least one."""
    nodes: list[dict[str, Any]] = []
    children: list[dict[str, int]] = []  # of each node, its children by what they call
    samples: list[int] = []
    deltas: list[int] = []
    for document in documents:
        known = _nodes(document)
        kept: dict[int, int] = {}  # number here -> place in `nodes`
        below = {child for node in known.values() for child in node.get("children") or ()}
        waiting = [(number, -1) for number in known if number not in below]
        while waiting:
            number, parent = waiting.pop()
            node = known[number]
            call = node["callFrame"]
            key = repr([call.get(name) for name in ("functionName", "url", "lineNumber", "columnNumber")])
            siblings = children[parent] if parent >= 0 else {key: 0} if nodes else {}
            if key not in siblings:
                siblings[key] = len(nodes)
                nodes.append({"id": len(nodes) + 1, "callFrame": call, "hitCount": 0, "children": []})
                children.append({})
                if parent >= 0:
                    nodes[parent]["children"].append(len(nodes))
            kept[number] = siblings[key]
            nodes[siblings[key]]["hitCount"] += _hits(node)
            waiting += [(child, siblings[key]) for child in node.get("children") or () if child in known]
        samples += [kept[number] + 1 for number in document.get("samples") or () if number in kept]
        deltas += document.get("timeDeltas") or ()
    return {"nodes": nodes, "startTime": documents[0].get("startTime"), "endTime": documents[-1].get("endTime"),
            "samples": samples, "timeDeltas": deltas}  # fmt: skip
