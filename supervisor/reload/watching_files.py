"""`--reload`'s watcher, in a process of its own: file changes as an iterator, told as JSON lines on stdout.

A helper (see `helped`). It imports watchfiles, which the process that watches memory never does. A line is
{"engine": "inotify"|"polling", "reason"} when it watches, {"changed": [path, ...], "count"} after a burst.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from supervisor.reload.wanted import Wanted

STEP_MS, DEBOUNCE_MS, IDLE_MS, POLL_MS = 100, 2000, 1000, 500
_MOST_PATHS = 5
_MOST_FILES = 20_000


def main(spec: dict[str, Any]) -> None:
    """Tell of changes until the other end of stdout is gone."""
    wanted = Wanted(spec["directories"], spec["include"], spec["exclude"], spec["never"])
    for line in lines(wanted, spec["since"], _tell):
        _tell(line)


def lines(wanted: Wanted, since: float, tell: Callable[[dict[str, Any]], None]) -> Iterator[dict[str, Any]]:
    """Bursts of changes, each one line; what was written after `since` (seconds since the epoch) is the first."""
    import watchfiles

    polling = False
    begun = False
    while True:
        watcher = watchfiles.watch(
            *wanted.directories, watch_filter=lambda change, path: wanted(path), step=STEP_MS, debounce=DEBOUNCE_MS,
            rust_timeout=IDLE_MS, yield_on_timeout=True, raise_interrupt=False,
            force_polling=polling or None, poll_delay_ms=POLL_MS, ignore_permission_denied=True,
        )  # fmt: skip
        try:
            for changes in watcher:
                paths = {path for _, path in changes}
                if not begun:  # it watches from here on; what came before is on the disk
                    begun = True
                    tell(_engine(polling))
                    paths.update(newer(wanted, since))
                if paths:
                    yield {"changed": sorted(paths)[:_MOST_PATHS], "count": len(paths)}
            return
        except OSError as error:
            if polling or error.errno not in (None, errno.ENOSPC, errno.EMFILE, errno.ENOSYS):
                raise
            polling = True
            tell({"engine": "polling", "reason": str(error)[:300]})


def _engine(polling: bool) -> dict[str, Any]:
    forced = os.environ.get("WATCHFILES_FORCE_POLLING")
    if polling or forced:
        return {"engine": "polling", "reason": "WATCHFILES_FORCE_POLLING is set" if forced else ""}
    return {"engine": "inotify" if sys.platform == "linux" else "native", "reason": ""}


def newer(wanted: Wanted, since: float) -> list[str]:
    """Wanted files that were written after `since`, looking at 20,000 files at most."""
    found: list[str] = []
    looked = 0
    for top in wanted.directories:
        for folder, directories, names in os.walk(top):
            directories[:] = [name for name in directories if wanted.enters(os.path.join(folder, name))]
            for name in names:
                looked += 1
                path = os.path.join(folder, name)
                try:
                    if os.lstat(path).st_mtime > since and wanted(path):
                        found.append(path)
                except OSError:
                    continue
            if looked > _MOST_FILES:
                return found
    return found


def _tell(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
