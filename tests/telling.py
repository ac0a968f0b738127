"""A process whose stderr is guard's, read as JSON events and waited for by them, never by time."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 60.0


class Telling:
    """What a running guard tells: its `events`, and the `noise` of lines that are none."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self.noise: list[str] = []
        self._rest = b""

    def wait_for(
        self, wanted: str | Callable[[dict[str, Any]], bool], *, patience_s: float = PATIENCE_S, **fields: Any
    ) -> dict[str, Any]:
        """The first event of this name (or that this accepts) whose fields are these; fails with all that came."""
        seen = 0
        deadline = time.monotonic() + patience_s
        while True:
            for event in self.events[seen:]:
                fits = event["event"] == wanted if isinstance(wanted, str) else wanted(event)
                if fits and all(event.get(key) == value for key, value in fields.items()):
                    return event
            seen = len(self.events)
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(left):
                raise AssertionError(f"no event {wanted} {fields} in:\n{self.said()}")

    def _read(self, seconds: float) -> bool:
        assert self.process.stderr is not None
        fd = self.process.stderr.fileno()
        if not select.select([fd], [], [], seconds)[0]:
            return True
        data = os.read(fd, 65536)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            if isinstance(event, dict) and "event" in event:
                self.events.append(event)
            else:
                self.noise.append(line.decode(errors="replace"))
        return bool(data)

    def end(self, patience_s: float = PATIENCE_S) -> int:
        """Read to the end of stderr; the exit code."""
        deadline = time.monotonic() + patience_s
        while self._read(max(0.0, deadline - time.monotonic())):
            assert time.monotonic() < deadline, f"guard did not end:\n{self.said()}"
        return self.process.wait(max(1.0, deadline - time.monotonic()))

    def named(self, name: str) -> list[dict[str, Any]]:
        """All events of this name so far."""
        return [event for event in self.events if event["event"] == name]

    def said(self) -> str:
        """All that came."""
        return "\n".join([*map(str, self.events), *self.noise])
