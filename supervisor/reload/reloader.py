"""`--reload` on the watcher's side: the process that watches files, what it tells, what becomes of it."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Collection
from typing import Any

from supervisor.config import Config
from supervisor.helper import Helper


class Reloader:
    """The process that watches files, a part that lasts over all lives. `tell` logs: (level, name, **fields).

    `change`: what changed since somebody last took it (`paths`, `count`), or None.
    """

    def __init__(self, config: Config, poller: select.poll, helpers: set[int], tell: Callable[..., None]) -> None:
        self.change: dict[str, Any] | None = None
        self._tell = tell
        self._helper = Helper("reload.watching_files", poller, helpers)
        never = [config.profiles_dir, *([config.log_file] if config.log_file else [])]
        self._spec: dict[str, Any] = {
            "directories": list(config.reload_dir),
            "include": list(config.reload_include),
            "exclude": list(config.reload_exclude),
            "never": never,
        }

    def begin(self, since: float) -> None:
        """Start it; changes after `since` (seconds since the epoch) count."""
        self._helper.begin(self._spec | {"since": since})
        self._tell_failure()

    def look(self, now_s: float, ready: Collection[int]) -> float:
        """Hear what changed, 0 if something did; begin it again when it is time, seconds until then."""
        helper, taken = self._helper, False
        if helper.due(now_s):
            self.begin(time.time() - 2 * helper.again_s)
        for told in helper.take():
            if "changed" in told:
                paths = [str(path) for path in told["changed"]]
                before = self.change["count"] if self.change is not None else 0
                taken = True
                self.change = {"paths": paths, "count": int(told["count"]) + before}
            elif "engine" in told:
                helper.well()
                level = "warning" if told["engine"] == "polling" else "info"
                self._tell(level, "reload.watching", engine=told["engine"], reason=told.get("reason") or "",
                           paths=self._spec["directories"])  # fmt: skip
        self._tell_failure()
        return 0.0 if taken else helper.left_s

    def end(self) -> None:
        """End it."""
        self._helper.end()

    def _tell_failure(self) -> None:
        if self._helper.failed:
            self._tell("warning", "reload.failed", reason=self._helper.failed, again_s=self._helper.again_s,
                       hint="guard run --reload --reload-dir DIR with fewer files")  # fmt: skip
            self._helper.failed = ""
