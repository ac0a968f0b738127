"""Retention: old runs make room, by count, age and bytes. Never a run that lives, never through a link."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import time
from typing import Any

from supervisor import files
from supervisor.actions.task import Task
from supervisor.shipping import ledger
from supervisor.store import MONITORED, began, lock_held

_WATCHED = (MONITORED, "auto-memory", "auto-cpu", "auto-latency")  # what `guard run` fills; the rest are profiles
_BEGINNING_S = 600.0
_TRIES = 100
_PATIENCE = 300


class Kept:
    """A run on disk: when it began (seconds since the epoch), its bytes over all categories, whether it lives.

    `unshipped`: it was to be shipped, and not all of it is away. `profile`: it is one of `guard profile`.
    """

    __slots__ = ("began", "lives", "profile", "run", "size_bytes", "unshipped")

    def __init__(
        self, run: str, began: float, size_bytes: int, lives: bool, unshipped: bool = False, profile: bool = False
    ) -> None:
        self.profile = profile
        self.run = run
        self.began = began
        self.size_bytes = size_bytes
        self.lives = lives
        self.unshipped = unshipped


def choose(runs: list[Kept], now: float, *, keep_runs: int, keep_age_s: float, keep_bytes: int) -> list[str]:
    """The runs to remove: those too old, then the oldest until count and bytes fit, unshipped ones last. Pure.

    Profiles are counted for themselves: they push out no run.
    """
    gone: list[str] = []
    left = sorted(runs, key=lambda kept: (kept.began, kept.run))
    total = sum(kept.size_bytes for kept in left)
    counts = {kind: sum(kept.profile == kind for kept in left) for kind in (False, True)}
    for kept in sorted(left, key=lambda kept: kept.unshipped and now - kept.began <= keep_age_s):
        too_old = now - kept.began > keep_age_s
        if kept.lives or not (too_old or counts[kept.profile] > keep_runs or total > keep_bytes):
            continue
        gone.append(kept.run)
        total -= kept.size_bytes
        counts[kept.profile] -= 1
    return gone


def take(task: Task) -> dict[str, Any]:
    """Remove what `choose` says below the profiles directory. Raises OSError when that can't be opened."""
    spec = task.spec
    limits = {name: spec[name] for name in ("keep_runs", "keep_age_s", "keep_bytes")}
    with Place(spec["root"]) as place:
        found = place.survey(spec["run"])
        removed = [run for run in choose(found, time.time(), **limits) if place.remove(run)]
        for kept in found:
            if not kept.lives and kept.run not in removed:
                place.sweep(kept.run)
        sizes = {kept.run: kept.size_bytes for kept in found}
        return {
            "removed": len(removed),
            "removed_bytes": sum(sizes[run] for run in removed),
            "not_removed": place.failed,
        }


class Place:
    """A profiles directory held open with its categories, so that nothing put in their way later is followed."""

    def __init__(self, root: str) -> None:
        """Raises OSError when the directory can't be opened, or is a link."""
        self._root = files.open_directory(root)
        _take_turns(self._root)
        self._categories: dict[str, int] = {}
        self.failed = 0
        self.busy: set[str] = set()  # who came to life, or is being shipped, since they were found
        for name in sorted(os.listdir(self._root)):
            try:
                self._categories[name] = files.open_below(self._root, (name,))
            except OSError:
                continue

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *error: object) -> None:
        for fd in (self._root, *self._categories.values()):
            os.close(fd)

    def survey(self, own: str = "") -> list[Kept]:
        """The runs that are there, over all categories. `own` and whoever's record is locked lives."""
        found: dict[str, Kept] = {}
        for category, fd in self._categories.items():
            for run in os.listdir(fd):
                at = began(run)
                if at is not None and _is_directory(fd, run):
                    kept = found.setdefault(run, Kept(run, at, 0, run == own, profile=True))
                    kept.size_bytes += _size(fd, run)
                    kept.profile = kept.profile and category not in _WATCHED
        for run, kept in found.items():
            kept.lives = kept.lives or (self._is_taken(run) if kept.profile else self._lives(run))
            kept.unshipped = self._unshipped(run)
        return list(found.values())

    def _lives(self, run: str) -> bool:
        """Whether a guard holds the lock of the run's record, or is about to: one without a record was just begun."""
        monitored = self._categories.get(MONITORED)
        held = locked(monitored, run) if monitored is not None else None
        return held if held is not None else self._was_just_now(run)

    def _is_taken(self, run: str) -> bool:
        """Whether a `guard profile` is at work: it holds its folder's lock. Without locks: whether it was just now."""
        told = [held for fd in self._categories.values() if (held := _held(fd, run)) is not None]
        return any(told) if told else self._was_just_now(run)

    def _is_in_use(self, run: str) -> bool:
        return any(_held(fd, run) for fd in self._categories.values())

    def _was_just_now(self, run: str) -> bool:
        times = [_changed_at(fd, run) for fd in self._categories.values()]
        return time.time() - max(times, default=0.0) < _BEGINNING_S

    def _unshipped(self, run: str) -> bool:
        """Whether it was to be shipped, and not all of it is away."""
        try:
            folder = files.open_below(self._categories[MONITORED], (run,))
        except (OSError, KeyError):
            return False
        try:
            known = ledger.read(folder)
        finally:
            os.close(folder)
        return known is not None and not known.complete

    def sweep(self, run: str) -> None:
        """Remove what a killed guard left unfinished in a run that stays."""
        for fd in self._categories.values():
            try:
                folder = files.open_below(fd, (run,))
            except OSError:
                continue
            try:
                files.sweep(folder)
            finally:
                os.close(folder)

    def remove(self, run: str) -> bool:
        """Remove a run that `survey` found dead from all categories; whether nothing of it is left."""
        # Without a record by now somebody else is removing it, too. Its folder's lock: a profile, or one being shipped.
        if (MONITORED in self._categories and locked(self._categories[MONITORED], run)) or self._is_in_use(run):
            self.busy.add(run)
            return False
        gone = True
        for fd in self._categories.values():
            if not _remove(fd, run):
                self.failed += 1
                gone = False
        return gone


def _take_turns(root: int) -> None:
    """Wait for another prune of this directory: two that count the same runs would each leave the other's to go.

    The lock is the open directory's and ends with it. Who holds it for too long is stuck, and not waited for.
    """
    for _ in range(_PATIENCE):
        try:
            fcntl.flock(root, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.1)
        except OSError:
            return  # a file system without locks


def _remove(directory: int, run: str) -> bool:
    """Remove one folder, by descriptors: a link put in its way is not followed."""
    for _ in range(_TRIES):
        try:
            shutil.rmtree(run, dir_fd=directory)
        except FileNotFoundError:
            # Gone, or something in it is, since another guard prunes as well: then once more for the rest.
            if not _is_there(directory, run):
                return True
            time.sleep(0.01)  # the other one is at it, file by file
        except OSError:
            return False
    return not _is_there(directory, run)


def _is_there(directory: int, run: str) -> bool:
    try:
        os.stat(run, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return True


def _is_directory(directory: int, run: str) -> bool:
    """A link or a file with a run's name is none."""
    try:
        return stat.S_ISDIR(os.stat(run, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _changed_at(directory: int, run: str) -> float:
    try:
        return os.stat(run, dir_fd=directory, follow_symlinks=False).st_mtime
    except OSError:
        return 0.0


def _size(directory: int, run: str) -> int:
    total = 0
    try:
        fd = files.open_below(directory, (run,))
    except OSError:
        return 0
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    except OSError:
        return total
    finally:
        os.close(fd)
    return total


def _held(directory: int, run: str) -> bool | None:
    """Whether somebody holds the folder's own lock; None where that can't be told: no such folder, no locks."""
    try:
        folder = files.open_below(directory, (run,))
    except OSError:
        return None
    try:
        return lock_held(folder)
    finally:
        os.close(folder)


def locked(directory: int, run: str) -> bool | None:
    """Whether a guard holds the lock of the run's record; None when there is no record. Unknown counts as held."""
    try:
        folder = files.open_below(directory, (run,))
    except OSError:
        return None
    try:
        fd = files.open_regular("run.json", folder)
    except OSError:
        return None
    finally:
        os.close(folder)
    try:
        return lock_held(fd) is not False
    finally:
        os.close(fd)
