"""The table of faults: what goes wrong, how it is made, what guard tells. `test_faults` walks it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

GROUPS = {
    "streams": "Where guard logs to",
    "disk": "Where evidence goes",
    "limits": "What guard may use",
    "profiler": "The profiler",
    "target": "The target",
    "runtimes": "The heap agent and Node's inspector",
    "reactions": "Hooks and messages",
    "metrics": "Metrics for others",
    "probes": "Probes and what triggers read",
    "ship": "Where evidence is shipped to",
    "control": "Who asks a running guard",
    "guard": "guard itself",
    "place": "The surroundings",
}


class Words:
    """Equal to every text that has these words in it."""

    def __init__(self, words: str) -> None:
        self.words = words

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.words in other

    def __hash__(self) -> int:
        return hash(self.words)

    def __repr__(self) -> str:
        return f"… {self.words} …"


class AtLeast:
    """Equal to every number from this one up."""

    def __init__(self, least: float, most: float = float("inf")) -> None:
        self.least, self.most = least, most

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int | float) and self.least <= other <= self.most

    def __hash__(self) -> int:
        return hash((self.least, self.most))

    def __repr__(self) -> str:
        upto = "" if self.most == float("inf") else f", at most {self.most}"
        return f"at least {self.least}{upto}"


@dataclass(frozen=True)
class Row:
    """One fault. `told` is an event, or `run.json`; `fields` are what has to be in it."""

    group: str
    name: str
    made: str
    told: str
    fields: Mapping[str, Any]
    needs: tuple[str, ...]
    play: Callable[[Any], None] | None
    cannot: str = ""
    after: str = field(default="", compare=False)

    @property
    def id(self) -> str:
        """A short name for pytest."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.group} {self.name}".lower()).strip("-")


ROWS: list[Row] = []


def row(
    group: str, name: str, made: str, told: str, fields: Mapping[str, Any] | None = None, *, needs: str = ""
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Puts a row into the table; what it decorates brings the fault about."""
    assert group in GROUPS

    def put(play: Callable[[Any], None]) -> Callable[[Any], None]:
        ROWS.append(Row(group, name, made, told, fields or {}, tuple(needs.split()), play))
        return play

    return put


def cannot(group: str, name: str, reason: str) -> None:
    """A row for a fault that can't be made, with the reason."""
    ROWS.append(Row(group, name, "", "", {}, (), None, reason))
