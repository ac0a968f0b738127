"""What a report shows of a run, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from supervisor import evidence, postmortem
from supervisor.analysis import folded
from supervisor.evidence import Event, FlightSample, Item, Run
from supervisor.evidence.fields import decoded, mapping
from supervisor.postmortem import holders
from supervisor.report import told

_MOST_PIECES = 60
_MOST_GRAPHS = 12
_MOST_READ_BYTES = 8 << 20
_DRAWN = ("growth", "heap-profile", "cpu-profile")


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of evidence with what the page shows of it. `stacks` are weighed by bytes in growth and heap profiles."""

    item: Item
    functions: tuple[Mapping[str, Any], ...] = ()
    stacks: Mapping[str, int] = field(default_factory=dict)
    found: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Material:
    """A run with everything the page is made of. `left_out`: pieces of evidence that are not shown."""

    run: Run
    document: Mapping[str, Any]
    samples: tuple[FlightSample, ...]
    events: tuple[Event, ...]
    pieces: tuple[Piece, ...]
    left_out: int = 0


def material(run: Run) -> Material:
    """Read the run; never raises for what its files hold."""
    reading = postmortem.Reading.of(run)
    items = [item for item in reading.items if item.name != "report"]
    kept = sorted(sorted(items, key=_worth)[:_MOST_PIECES], key=items.index)
    graphs = 0
    pieces = []
    for item in kept:
        piece = _piece(item, graphs < _MOST_GRAPHS)
        graphs += bool(piece.stacks)
        pieces.append(piece)
    return Material(
        run,
        postmortem.examine(run, reading=reading),
        tuple(reading.samples),
        tuple(reading.events),
        tuple(pieces),
        len(items) - len(kept),
    )


def _worth(item: Item) -> int:
    """Where there are too many, profiles stay before stacks, stacks before snapshots."""
    order = (*_DRAWN, "stacks", "snapshot")
    return order.index(item.kind) if item.kind in order else len(order)


def _piece(item: Item, graph: bool) -> Piece:
    stacks: dict[str, int] = {}
    if graph and ".folded" in item.files:
        data = evidence.read_file(item.files[".folded"], _MOST_READ_BYTES) or b""
        try:
            stacks = folded.parse(data.decode("utf-8", "replace").splitlines())
        except folded.FoldedError:
            stacks = {}
    functions = holders.functions(item) if item.kind in _DRAWN else []
    found: Mapping[str, Any] = {}
    for suffix in told.READ:
        if suffix in item.files:
            found = mapping(decoded(evidence.read_file(item.files[suffix], _MOST_READ_BYTES) or b""))
    return Piece(item, tuple(functions), stacks, found)
