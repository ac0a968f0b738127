"""`--reload` on the watcher's side: the process that watches files (`watch`), what it tells, what becomes of it."""

from __future__ import annotations

import select
import time
from typing import Any

from supervisor.config import Config
from supervisor.helper import Helper


class Reloader:
    """The process that watches files, and what it told. Everything it can't do is told once.

    `news` waits in it: events (level, name, fields) for whoever has a log.
    """

    def __init__(self, config: Config, poller: select.poll, helpers: set[int]) -> None:
        self._helper = Helper("watch.py", poller, helpers)
        never = [config.profiles_dir, *([config.log_file] if config.log_file else [])]
        self._spec: dict[str, Any] = {
            "directories": list(config.reload_dir),
            "include": list(config.reload_include),
            "exclude": list(config.reload_exclude),
            "never": never,
        }
        self.news: list[tuple[str, str, dict[str, Any]]] = []

    def begin(self, since: float) -> None:
        """Start it; changes after `since` (seconds since the epoch) count."""
        self._helper.begin(self._spec | {"since": since})
        self._tell_failure()

    def take(self, now_s: float) -> dict[str, Any] | None:
        """What changed since the last call (`paths`, `count`), or None."""
        helper = self._helper
        if helper.due(now_s):
            self.begin(time.time() - 2 * helper.again_s)
        found: dict[str, Any] | None = None
        for told in helper.take():
            if "changed" in told:
                paths = [str(path) for path in told["changed"]]
                found = {"paths": paths, "count": int(told["count"]) + (found["count"] if found else 0)}
            elif "engine" in told:
                helper.well()
                level = "warning" if told["engine"] == "polling" else "info"
                self.news.append((level, "reload.watching", {
                    "engine": told["engine"], "reason": told.get("reason") or "", "paths": self._spec["directories"],
                }))  # fmt: skip
        self._tell_failure()
        return found

    @property
    def left_s(self) -> float:
        """Seconds until there is something to do besides reading."""
        return self._helper.left_s

    def end(self) -> None:
        """End it."""
        self._helper.end()

    def _tell_failure(self) -> None:
        if self._helper.failed:
            self.news.append(("warning", "reload.failed", {
                "reason": self._helper.failed, "again_s": self._helper.again_s,
                "hint": "guard run --reload --reload-dir DIR with fewer files",
            }))  # fmt: skip
            self._helper.failed = ""
