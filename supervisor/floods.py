"""Signals in the log, forwarded or kept: each is told, a flood of one is a line a second and a last one at the end."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from supervisor.pid1 import Forwarded
from supervisor.quantities import signal_name

_EVERY_S = 1.0


class _Flood:
    """Signals of one number: how many are not told yet, the last of them, and when the last line was."""

    __slots__ = ("count", "entry", "told_s")

    def __init__(self, entry: Forwarded) -> None:
        self.count = 0
        self.entry = entry
        self.told_s = float("-inf")


class Floods:
    """Tells by `emit(level, event, **fields)`; `to`: whom signals are forwarded to, None where none is sent on."""

    def __init__(self, emit: Callable[..., None], to: str | None) -> None:
        self._emit = emit
        self._to = to
        self._floods: dict[int, _Flood] = {}

    def add(self, entry: Forwarded, now_s: float) -> None:
        """Count what was forwarded; tell it now or later."""
        flood = self._floods.setdefault(entry.signal, _Flood(entry))
        flood.entry = entry
        flood.count += entry.count
        self._tell(flood, now_s)

    def tell(self, now_s: float) -> None:
        """Tell what is untold, each signal when its last line is old enough."""
        for flood in self._floods.values():
            self._tell(flood, now_s)

    def _tell(self, flood: _Flood, now_s: float) -> None:
        if not flood.count or now_s - flood.told_s < _EVERY_S:
            return
        entry, count = flood.entry, flood.count
        flood.told_s, flood.count = now_s, 0
        if self._to is None:
            self._emit("info", "signal.kept", signal=signal_name(entry.signal), count=count)
            return
        name = signal_name(entry.sent) if entry.sent else "dropped"
        fields: dict[str, Any] = {"signal": signal_name(entry.signal), "sent": name, "count": count, "to": self._to}
        if entry.error is not None:
            self._emit("error", "signal.failed", **fields, reason=os.strerror(entry.error))
        else:
            self._emit("info", "signal.forwarded", **fields)
