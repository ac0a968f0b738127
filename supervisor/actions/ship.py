"""`ship`: evidence leaves the machine. What doesn't get through is left for later, in a file beside the run's record.

Files are sent one after the other, each as it is when its turn comes; what was sent is noted after each, so that
this worker may be killed at any moment.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Protocol

from supervisor import files
from supervisor.actions.retention import locked
from supervisor.actions.task import Task
from supervisor.shipping import ledger
from supervisor.shipping.failure import Undelivered
from supervisor.shipping.ledger import Ledger
from supervisor.shipping.target import Target, parse
from supervisor.store import MONITORED

# The least and the most of what a batch may cover (`shipper.SCOPES`).
EVIDENCE, FINAL = "evidence", "final"
_TRIES = 5
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.3, 5.0
_LEAST_PATIENCE_S, _LONGEST_PATIENCE_S = 1.0, 10.0
_RECORDS = ("run.json", "events.jsonl", "flight.jsonl")


class Way(Protocol):
    """How files get to a kind of target."""

    def send(self, key: tuple[str, ...], file: BinaryIO, size: int, left_s: float) -> None:
        """Send the first `size` bytes. Raises Undelivered."""

    def close(self) -> None:
        """Let go of what is held open."""


class Done:
    """What came of a batch. `failure`: the first."""

    def __init__(self) -> None:
        self.files = 0
        self.bytes = 0
        self.tries = 0
        self.failure: Undelivered | None = None


def take(task: Task) -> dict[str, Any]:
    """Ship what the spec says: of the run (`scope`), then of earlier runs (`leftovers`), for `time_s` at most."""
    spec = task.spec
    text = task.secret()
    try:
        target = parse(text)
    except ValueError as error:
        return {"outcome": "failed", "reason": "bad-target", "said": f"it takes {error}", "hint": "guard config"}
    now = ledger.first(text, target)
    done = Done()
    with Batch(spec, now, done) as batch:
        try:
            _refuse_own(target, spec["root"])
            batch.way = open_way(target, spec["mode"], spec["time_s"])
            batch.ship_all()
        except Undelivered as failure:
            done.failure = done.failure or failure
    result: dict[str, Any] = {"files": done.files, "bytes": done.bytes, "leftovers": batch.looked}
    if (first := done.failure) is not None:
        result |= {"outcome": "failed", "reason": first.reason, "said": first.said, "hint": first.hint}
        result["tries"] = done.tries
    return result


def _refuse_own(target: Target, root: str) -> None:
    """A copy below the profiles directory would be taken for evidence itself. Raises Undelivered."""
    place = os.path.realpath(target.path) if target.kind == "directory" else ""
    if place and os.path.commonpath([place, os.path.realpath(root)]) == os.path.realpath(root):
        said = f"{place} lies in the profiles directory"
        raise Undelivered("own-directory", said, "guard run --ship with a directory elsewhere")


def open_way(target: Target, mode: int, time_s: float) -> Way:
    """The way to a target; nothing is imported that it doesn't take. Raises Undelivered."""
    patience_s = min(max(time_s / 3, _LEAST_PATIENCE_S), _LONGEST_PATIENCE_S)
    if target.kind == "directory":
        from supervisor.shipping.folder import Folder

        return Folder(target.path, mode)
    if target.kind == "http":
        from supervisor.shipping.put import Put

        return Put(target, patience_s)
    from supervisor.shipping.bucket import Bucket

    return Bucket(target, patience_s)


class Batch:
    """A profiles directory held open, and the time there is."""

    def __init__(
        self,
        spec: dict[str, Any],
        now: Ledger,
        done: Done,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Raises OSError when the directory can't be opened, or was replaced."""
        self.way: Way | None = None
        self.looked = False  # at all the earlier runs, and none was in other hands
        self._spec = spec
        self._now = now
        self._done = done
        self._clock = clock
        self._sleep = sleep
        self._deadline_s = clock() + float(spec["time_s"])
        self._root = files.open_directory(spec["root"])
        if spec.get("root_id") not in (None, files.identity(os.fstat(self._root))):
            raise OSError(116, f"{spec['root']} was replaced or removed")
        self._categories = sorted(name for name in os.listdir(self._root) if name != MONITORED)

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, *error: object) -> None:
        if self.way is not None:
            self.way.close()
        os.close(self._root)

    def ship_all(self) -> None:
        """The run's own files, then those of earlier runs. Raises Undelivered when nothing gets through."""
        if self._spec["scope"]:
            self._ship_run(self._spec["run"], self._spec["scope"])
        if self._spec["leftovers"]:
            looked = [self._ship_run(run, FINAL, leftover=True) for run in self._unfinished()]
            self.looked = all(looked)

    def _unfinished(self) -> list[str]:
        """Dead runs that were to be shipped and aren't, newest first."""
        try:
            monitored = files.open_below(self._root, (MONITORED,))
        except OSError:
            return []
        try:
            found = []
            for run in sorted(os.listdir(monitored), reverse=True):
                if run == self._spec["run"] or locked(monitored, run) is not False:
                    continue
                folder = self._folder(MONITORED, run)
                known = ledger.read(folder) if folder is not None else None
                if folder is not None:
                    os.close(folder)
                if known is not None and not known.complete:
                    found.append(run)
            return found
        finally:
            os.close(monitored)

    def _folder(self, category: str, run: str) -> int | None:
        try:
            return files.open_below(self._root, (category, run))
        except OSError:
            return None

    def _ship_run(self, run: str, scope: str, *, leftover: bool = False) -> bool:
        """Ship it; False when another guard's worker is at it. Raises Undelivered when nothing gets through."""
        own = self._folder(MONITORED, run)
        if own is None:
            return True  # retention was there before
        try:
            try:
                fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:
                pass  # a file system without locks: twice is better than never
            known = ledger.read(own)
            if known is None or (leftover and known.complete):
                if leftover:
                    return True
                known = self._now
            known.aim(self._now)
            there = [self._ship_file(own, known, run, *each) for each in self._files(run, scope)]
            if scope == FINAL and all(there):
                known.complete = True
                self._note(own, known)
            return True
        finally:
            os.close(own)

    def _files(self, run: str, scope: str) -> Iterator[tuple[str, str]]:
        """What there is to ship, as (category, name): a few bytes that tell the most first, what grows last."""
        if scope != EVIDENCE:
            yield MONITORED, _RECORDS[0]
        for category in self._categories:
            folder = self._folder(category, run)
            if folder is None:
                continue
            try:
                names = sorted(os.listdir(folder))
            finally:
                os.close(folder)
            yield from ((category, name) for name in names if not name.startswith("."))
        if scope != EVIDENCE:
            yield from ((MONITORED, name) for name in _RECORDS[1:])

    def _ship_file(self, own: int, known: Ledger, run: str, category: str, name: str) -> bool:
        """Whether it is there now, or there is nothing to ship. Raises Undelivered when nothing gets through."""
        folder = self._folder(category, run)
        if folder is None:
            return True
        try:
            file = _open_regular(folder, name)
        finally:
            os.close(folder)
        if file is None:
            return True
        with file:
            status = os.fstat(file.fileno())
            facts = [status.st_size, status.st_mtime_ns]
            if known.files.get(f"{category}/{name}") == facts:
                return True
            try:
                self._deliver((known.host, run, name), file, status.st_size)
            except Undelivered as failure:
                self._done.failure = self._done.failure or failure
                if failure.whole:
                    raise
                return False
        known.files[f"{category}/{name}"] = facts
        self._done.files += 1
        self._done.bytes += facts[0]
        self._note(own, known)
        return True

    def _deliver(self, key: tuple[str, ...], file: BinaryIO, size: int) -> None:
        """Try, wait, try again while there is time. Raises Undelivered."""
        assert self.way is not None
        wait_s = _FIRST_WAIT_S
        last: Undelivered | None = None
        for attempt in range(1, _TRIES + 1):
            left_s = self._deadline_s - self._clock()
            if left_s <= 0:
                hint = "guard run --ship-timeout 60s -- COMMAND" if self._spec["scope"] == FINAL else ""
                raise last or Undelivered("deadline", f"{self._spec['time_s']:g} s were over", hint)
            self._done.tries += 1
            try:
                file.seek(0)
                return self.way.send(key, file, size, left_s)
            except Undelivered as failure:
                if not failure.again or attempt == _TRIES or self._deadline_s - self._clock() <= wait_s:
                    raise
                last = failure
            self._sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _note(self, own: int, known: Ledger) -> None:
        try:
            known.write(own, self._spec["mode"])
        except OSError:
            pass  # removed meanwhile, or a full disk: then it is shipped once more


def _open_regular(folder: int, name: str) -> BinaryIO | None:
    """The file, unless it is gone, a link, or anything but a regular file."""
    try:
        return open(files.open_regular(name, folder), "rb")
    except OSError:
        return None
