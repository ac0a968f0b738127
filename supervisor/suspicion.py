"""Whom a run suspects, as states change and actions end. Pure.

Who held the most at a state is suspected first. A growth attribution then names a function, or a mapping: what rests on
enough comes before what rests on little, and of two that rest on as much the one that took more. Little names somebody
only where it is clear. Beside the function stands the type that grew in the same process, whichever comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Few stacks name a suspect, too, where so much was taken at one place, and nothing was seen to be given back.
_CLEAR_BYTES, _CLEAR_SHARE = 64 << 20, 0.9


class Suspicion:
    """`found`: the suspect so far, with the fields of run.json, or None."""

    def __init__(self) -> None:
        self.found: dict[str, Any] | None = None
        self._guilty: dict[str, Any] = {}
        self._grew: dict[int, dict[str, Any]] = {}

    def guilty(self, pid: int, name: str, rss_bytes: int | None) -> None:
        """Who is to blame for a state. It stands for itself until something in it is named."""
        self._guilty = {"pid": pid, "name": name, "rss_bytes": rss_bytes}
        known = self.found or {}
        if not (known.get("function") or known.get("mapping")):
            self.found = self._guilty
            self._add_type()

    def growth(self, pid: int, result: Mapping[str, Any]) -> None:
        """What a growth attribution of this process found."""
        found = result.get("suspect")
        if not found:
            return
        known, enough = self.found or {}, bool(result.get("enough"))
        few = found["bytes"] < _CLEAR_BYTES or found["share"] < _CLEAR_SHARE or result.get("temporary_samples")
        if not enough and few:
            return
        sure = "bytes" in known and known.get("enough", True)
        if (enough, found["bytes"]) >= (sure, known.get("bytes", 0)):
            name = self._guilty.get("name", "") if self._guilty.get("pid") == pid else ""
            little = {} if enough else {"enough": False}
            self.found = {"pid": pid, "name": name, **found, **little}
            self._add_type()

    def heap(self, pid: int, result: Mapping[str, Any]) -> None:
        """What a heap profile of this process found: the type that grew, and who holds it."""
        grew = result.get("grew")
        if not grew:
            return
        before = self._grew.get(pid, {})
        holder = grew["holder"] or (before.get("holder", "") if before.get("type") == grew["type"] else "")
        self._grew[pid] = {"type": grew["type"], "bytes": grew["bytes"], "holder": holder}
        self._add_type()

    def _add_type(self) -> None:
        if self.found is not None and self.found.get("pid") in self._grew:
            self.found = {**self.found, "grew": self._grew[self.found["pid"]]}
