"""`notify`: POST messages to a webhook, by way of a bounded spool on disk: what isn't delivered waits there."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Any

from supervisor import files, messages
from supervisor.actions import posting
from supervisor.actions.task import Task
from supervisor.addresses import masked_url
from supervisor.profilers.failure import Failure

_MOST_FILES = 64
_MOST_BYTES = 65536
_AGE_S = 7 * 86400.0


def take(task: Task) -> dict[str, Any]:
    """Deliver what waits and what is new; returns how many were `delivered`. Raises Failure when any is left."""
    url = task.secret()
    told, spool = task.spec["told"], _Spool(task.spec["spool"], task.spec["mode"])
    waiting: list[tuple[str, Mapping[str, Any]]] = list(spool.read())
    if told:
        waiting.append((spool.add(task.spec["run"], told), told))
    delivered = 0
    trouble: Failure | None = None
    for name, message in waiting:
        try:
            _deliver(url, message)
            delivered += 1
        except Failure as failure:
            trouble = failure
            if failure.reason != "message-refused":
                break
        spool.remove(name)
    if trouble is not None:
        left = len(spool.names())
        wait = f"; {left} wait for the next start" if left else ""
        raise Failure(trouble.reason, trouble.said + wait, trouble.hint)
    return {"delivered": delivered}


def _deliver(url: str, told: Mapping[str, Any]) -> None:
    """One message, tried a few times. Raises Failure."""
    kind, address = messages.target(url)
    body, headers = messages.request(kind, told)
    words = posting.Words("webhook", "message", f"curl -i -d '{{}}' {masked_url(address)}")
    posting.post(address, body, headers, words)


class _Spool:
    """Messages on disk, oldest first, bounded in number, size and age. Without a place there are none."""

    def __init__(self, path: str, mode: int) -> None:
        self._mode = mode
        self._fd = -1
        try:
            if path:
                self._fd = files.open_directory(path, create=True)
        except OSError:
            pass  # a full or read-only disk: what is new is delivered all the same

    def names(self) -> list[str]:
        """The messages that wait."""
        found = os.listdir(self._fd) if self._fd >= 0 else []
        return sorted(name for name in found if name.endswith(".json"))

    def read(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Name and message of those that wait; what is too many, too old or no message is removed."""
        found: list[tuple[str, Mapping[str, Any]]] = []
        names = self.names()
        for name in names[: max(0, len(names) - _MOST_FILES)]:
            self.remove(name)
        for name in names[-_MOST_FILES:]:
            try:
                with open(files.open_regular(name, self._fd), "rb") as file:
                    old = time.time() - os.fstat(file.fileno()).st_mtime > _AGE_S
                    message = json.loads(file.read(_MOST_BYTES))
                if old or not isinstance(message, dict) or "run" not in message or "reason" not in message:
                    raise ValueError
            except (OSError, ValueError):
                self.remove(name)
                continue
            found.append((name, message))
        return found

    def add(self, run: str, message: Mapping[str, Any]) -> str:
        """Keep one; its name, or an empty one when it could not be kept."""
        data = json.dumps(message, default=str).encode()
        if self._fd < 0 or len(data) > _MOST_BYTES:
            return ""
        name = f"{time.time_ns():020d}-{run}.json"
        try:
            files.put(self._fd, name, data, self._mode)
        except OSError:
            return ""
        return name

    def remove(self, name: str) -> None:
        """It is delivered, or never will be."""
        if name:
            try:
                os.unlink(name, dir_fd=self._fd)
            except OSError:
                pass
