"""Where a run's evidence goes: the tree of `profiles/`, the run's record, its flight and its events.

A directory that can't be used is never the target's trouble: the temporary directory comes next, then log only.
"""

from __future__ import annotations

import calendar
import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Mapping
from typing import Any

from supervisor import cgroup, files
from supervisor.disk import LONG_PATIENCE_S, Disk, Lines

MONITORED = "monitored"
BUDGET = "budget.json"
SHIPPED = "shipped.json"
FLIGHT_BYTES = 8 << 20
EVENTS_BYTES = 16 << 20
_UNNAMED = ".run.json.new"
_TMPFS_SHARE = 0.05
_LEAST_TMPFS_BYTES = 1 << 20
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
_RUNNERS = ("python", "node", "bun", "ruby", "perl", "sh", "bash", "dash", "java", "env")


def run_id(command: list[str], pid: int, at: float) -> str:
    """`20261124T111644Z-<name>-<pid>-<4 hex>`: sorts by time, tells what ran."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    return f"{stamp}-{command_name(command)}-{pid}-{os.urandom(2).hex()}"


def began(run: str) -> float | None:
    """When a run began, from its id; None when the name is no run's."""
    try:
        return float(calendar.timegm(time.strptime(run[:16], "%Y%m%dT%H%M%SZ")))
    except ValueError:
        return None


def command_name(command: list[str]) -> str:
    """A short name for a command: the program's, or of an interpreter its script's or module's."""
    name = os.path.basename(command[0]) if command else "watch"
    if name.rstrip("0123456789.") in _RUNNERS:
        words = command[1:]
        while words and words[0].startswith("-") and words[0] not in ("-m", "-c"):
            words = words[1:]
        if words[:1] == ["-m"] and len(words) > 1:
            name = words[1]
        elif words and not words[0].startswith("-") and "=" not in words[0]:
            name = os.path.splitext(os.path.basename(words[0]))[0]
    clean = "".join(letter if letter in _LETTERS else "_" for letter in name).strip("._-")
    return clean[:40] or "command"


class Store:
    """The open places of one run. Every method may raise OSError; the caller names the event and goes on."""

    def __init__(self, root: str, run: str, mode: int, headroom_bytes: int, disk: Disk) -> None:
        self.disk = disk
        self.root = root
        self.run = run
        self.run_path = os.path.join(root, MONITORED, run)
        self._mode = mode
        self._root_fd = files.open_directory(root, create=True)
        try:
            self.run_fd = files.open_below(self._root_fd, (MONITORED, run), create=True)
        except BaseException:
            os.close(self._root_fd)
            raise
        self.root_id = files.identity(os.fstat(self._root_fd))
        self._lock_fd: int | None = None
        self._number = 0
        self.most_bytes: int | None = None
        if is_memory(self._root_fd):
            # What is written here is memory of the same limit that the target lives under.
            self.most_bytes = max(_LEAST_TMPFS_BYTES, int(headroom_bytes * _TMPFS_SHARE))
        share = (self.most_bytes or FLIGHT_BYTES * 8) // 8
        flight = files.Lines(self.run_fd, "flight.jsonl", min(FLIGHT_BYTES, share), ring=True, mode=mode)
        events = files.Lines(self.run_fd, "events.jsonl", min(EVENTS_BYTES, share), ring=False, mode=mode)
        self._flight, self._events = flight, events
        self.flight, self.events = Lines(disk, flight.add), Lines(disk, events.add)
        self.evidence: list[str] = []
        self._evidence_bytes = 0

    def begin(self, record: Mapping[str, Any]) -> None:
        """Write the start record and hold its lock for as long as this process lives.

        It is locked before it has its name, so that nobody ever sees it unlocked and takes the run for a dead one.
        """
        self.disk.run(self._begin, record)

    def _begin(self, record: Mapping[str, Any]) -> None:
        self._put_record(record, _UNNAMED)
        self._lock_fd = os.open(_UNNAMED, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.run_fd)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.rename(_UNNAMED, "run.json", src_dir_fd=self.run_fd, dst_dir_fd=self.run_fd)

    def end(self, record: Mapping[str, Any]) -> None:
        """Replace the start record by the end record."""
        self.disk.run_for(LONG_PATIENCE_S, self._put_record, record)

    def note_shipping(self, document: Mapping[str, Any]) -> None:
        """Write `shipped.json`: this run is to be shipped."""
        self.disk.run(self._put_record, document, SHIPPED)

    def _put_record(self, record: Mapping[str, Any], name: str = "run.json") -> None:
        data = json.dumps(record, indent=1, default=str).encode("utf-8", "backslashreplace") + b"\n"
        files.put(self.run_fd, name, data, self._mode)

    def category(self, name: str) -> str:
        """The path of this run's folder in a category such as `auto-memory`, made if need be."""
        self.disk.run(self._make_category, name)
        return os.path.join(self.root, name, self.run)

    def _make_category(self, name: str) -> None:
        self._check_root()
        os.close(files.open_below(self._root_fd, (name, self.run), create=True))

    def _check_root(self) -> None:
        """The path still leads to the directory that is held open. Raises OSError (ESTALE)."""
        try:
            found = files.identity(os.stat(self.root, follow_symlinks=False))
        except FileNotFoundError:
            found = []
        if found != self.root_id:
            raise OSError(errno.ESTALE, f"{self.root} was replaced or removed")

    def next_name(self, state: str, kind: str) -> str:
        """`NNN-<state>-<kind>`, counted over the run."""
        self._number += 1
        return f"{self._number:03d}-{state}-{kind}"

    def add_evidence(self, paths: list[str]) -> None:
        """Note what an action left."""
        self.evidence += [path for path in paths if path not in self.evidence]
        for path in paths:
            try:
                self._evidence_bytes += self.disk.run(os.stat, path, follow_symlinks=False).st_size
            except OSError:
                continue

    def spent_before(self, name: str, since: float) -> list[tuple[str, str, float]]:
        """Actions of earlier runs of this command after `since`, as (kind, state, when)."""
        known = self.disk.run(self._budget).get(name, [])
        try:
            return [(str(kind), str(state), float(at)) for kind, state, at in known if at > since]
        except (ValueError, TypeError):
            return []

    def note_spent(self, name: str, actions: list[tuple[str, str, float]]) -> None:
        """Remember this command's actions for the runs to come. Raises OSError."""
        self.disk.run(self._note_spent, name, actions)

    def _note_spent(self, name: str, actions: list[tuple[str, str, float]]) -> None:
        known = self._budget()
        kept = {other: known[other] for other in list(known)[-50:] if other != name}
        kept[name] = actions[-100:]
        files.put(self._root_fd, BUDGET, json.dumps(kept).encode() + b"\n", self._mode)

    def _budget(self) -> dict[str, Any]:
        try:
            with open(files.open_regular(BUDGET, self._root_fd), "rb") as file:
                found = json.loads(file.read(1 << 20))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def drop(self, run: str) -> None:
        """Remove a dead run that left nothing but its record and lines. Raises OSError, also when there is more."""
        monitored = files.open_below(self._root_fd, (MONITORED,))
        try:
            folder = files.open_below(monitored, (run,))
            try:
                # Its record last: without it nobody knows it.
                for name in ("ctl.sock", "flight.jsonl", "events.jsonl", SHIPPED, "run.json"):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=folder)
            finally:
                os.close(folder)
            os.rmdir(run, dir_fd=monitored)
        finally:
            os.close(monitored)

    def close(self) -> None:
        """Give back all that is held open, the record's lock among it, and end the disk's thread."""
        with contextlib.suppress(OSError):
            self.disk.run(self._close)
        self.disk.end()

    def _close(self) -> None:
        self._flight.close()
        self._events.close()
        for fd in (self.run_fd, self._root_fd, self._lock_fd):
            if fd is not None:
                os.close(fd)

    def runs_on_disk(self) -> int:
        """How many runs there are, this one included."""
        try:
            return len(self.disk.run(os.listdir, os.path.join(self.root, MONITORED)))
        except OSError:
            return 0

    @property
    def full(self) -> bool:
        """Whether evidence in memory has used up its share."""
        return self.most_bytes is not None and self._evidence_bytes >= self.most_bytes // 2


def open_store(
    wanted: str, run: str, mode: int, headroom_bytes: int
) -> tuple[Store | None, list[tuple[str, str, str | None]]]:
    """A store in the wanted directory, else below $TMPDIR, else None.

    The list tells of every place that failed: (place, why, the place taken instead or None).
    """
    failed: list[tuple[str, str]] = []
    for place in places(wanted):
        disk = Disk()
        try:
            store = disk.run_for(LONG_PATIENCE_S, _open, place, wanted, run, mode, headroom_bytes, disk)
        except OSError as error:
            disk.end()
            why = error.strerror or str(error)
            if os.path.islink(place):
                why = "it is a link, and guard follows none"
            failed.append((place, why))
            continue
        return store, [(bad, why, place) for bad, why in failed]
    return None, [(bad, why, None) for bad, why in failed]


def _open(place: str, wanted: str, run: str, mode: int, headroom_bytes: int, disk: Disk) -> Store:
    private_parent(place, wanted)
    return Store(place, run, mode, headroom_bytes, disk)


def places(wanted: str, environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Where evidence may go: the wanted directory, else one below $TMPDIR."""
    return wanted, os.path.join(environ.get("TMPDIR") or "/tmp", f"guard-{os.getuid()}", "profiles")


def private_parent(place: str, wanted: str) -> None:
    """The fallback's parent stands in a directory that everybody may write: it must be ours and private."""
    if place == wanted:
        return
    parent = os.path.dirname(place)
    os.makedirs(os.path.dirname(parent), exist_ok=True)
    fd = files.open_directory(parent, create=True)
    try:
        status = os.fstat(fd)
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise PermissionError(1, "not private")
    finally:
        os.close(fd)


def is_memory(directory_fd: int) -> bool:
    """Whether a directory lies on a file system in memory."""
    device = os.fstat(directory_fd).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in (cgroup.read_text("/proc/self/mountinfo", 1 << 20) or "").splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2:3] == [wanted]:
            return after.split()[:1] in (["tmpfs"], ["ramfs"])
    return False


def previous_run(root: str, own: str, known: str | None = None) -> dict[str, Any] | None:
    """The newest other run's record, of those that don't live. Without an outcome guard or the machine was killed.

    `known`: which run it is, where that isn't a question.
    """
    try:
        names = [known] if known else sorted(os.listdir(os.path.join(root, MONITORED)), reverse=True)
    except OSError:
        return None
    for name in names:
        if name == own:
            continue
        unreadable = {"run": name, "unreadable": True}
        try:
            fd = files.open_regular(os.path.join(root, MONITORED, name, "run.json"))
        except OSError:
            continue
        try:
            held = lock_held(fd)
            if held:
                continue  # it lives
            record = json.loads(os.read(fd, 1 << 20))
        except (OSError, ValueError):
            return unreadable
        finally:
            os.close(fd)
        record = record if isinstance(record, dict) else None
        if held is None and not (record or {}).get("outcome"):
            continue  # it may live
        return record
    return None


def lock_held(fd: int) -> bool | None:
    """Whether a guard holds the lock of what is open here, a run's record or a folder; None where that isn't told.

    Asking takes a shared lock for a moment, which harms nobody.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def last_sample(root: str, run: str) -> dict[str, Any]:
    """The last whole line of a run's flight record; empty without one."""
    try:
        fd = files.open_regular(os.path.join(root, MONITORED, run, "flight.jsonl"))
    except OSError:
        return {}
    try:
        tail = os.pread(fd, 65536, max(0, os.fstat(fd).st_size - 65536))
    except OSError:
        return {}
    finally:
        os.close(fd)
    for line in reversed(tail.splitlines()):
        try:
            found = json.loads(line)
        except ValueError:  # guard was killed while it wrote
            continue
        return found if isinstance(found, dict) else {}
    return {}


def boot_id() -> str:
    """This boot of the machine."""
    return (cgroup.read_text("/proc/sys/kernel/random/boot_id") or "").strip()
