"""What only triggers ask for: open descriptors, bytes read and written, pressure. Read beside a sample, at its pace."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from supervisor import cgroup
from supervisor.model import Extra, Process
from supervisor.triggers import Rules

_LIMITS_EVERY_S = 30.0
# Where descriptors have to be listed one by one, that may take this share of the watcher's time.
_LISTING_SHARE = 0.02


class Resources:
    """Reads what these rules need. `missing`: what can't be had, as (reason, what to do), for whoever has a log."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._counted = _kernel_counts()
        self._limits: dict[tuple[int, int], tuple[float, int | None]] = {}
        self._fds: dict[int, tuple[int, int | None]] = {}
        self._fds_next_s = float("-inf")
        self.missing: dict[str, tuple[str, str]] = {}

    def read(self, processes: Iterable[Process], directory: str | None, now_s: float) -> Extra:
        """What there is of these processes, and of the cgroup in `directory`."""
        living = [process for process in processes if process.state not in ("Z", "X")]
        if self._rules.fds is not None and now_s >= self._fds_next_s:
            self._read_fds(living, now_s)
        io_bytes = self._read_io(living) if self._rules.stall_s is not None else {}
        pressure, whose = self._read_pressure(directory)
        return Extra(self._fds, io_bytes, pressure, whose)

    def _read_fds(self, processes: list[Process], now_s: float) -> None:
        began_s = time.monotonic()
        shares = isinstance(self._rules.fds, float)
        found: dict[int, tuple[int, int | None]] = {}
        for process in processes:
            path = f"/proc/{process.pid}/fd"
            try:
                count = os.stat(path).st_size if self._counted else len(os.listdir(path))
            except (FileNotFoundError, ProcessLookupError):
                continue
            except OSError as error:
                self._miss("open descriptors", path, error, "run guard as the user its target runs as")
                continue
            found[process.pid] = (count, self._limit(process, now_s) if shares else None)
        self._fds = found
        if shares:
            known = {process.identity for process in processes}
            self._limits = {identity: kept for identity, kept in self._limits.items() if identity in known}
        if not self._counted:
            self._fds_next_s = now_s + (time.monotonic() - began_s) / _LISTING_SHARE

    def _limit(self, process: Process, now_s: float) -> int | None:
        """The soft limit of descriptors; read now and then, since prlimit(2) can change it."""
        at_s, limit = self._limits.get(process.identity, (float("-inf"), None))
        if now_s - at_s < _LIMITS_EVERY_S:
            return limit
        for line in (cgroup.read_text(f"/proc/{process.pid}/limits") or "").splitlines():
            if line.startswith("Max open files"):
                word = line.split()[3]
                limit = int(word) if word.isdigit() else None
        self._limits[process.identity] = (now_s, limit)
        return limit

    def _read_io(self, processes: list[Process]) -> dict[int, int]:
        """What read(2), write(2) and their like moved, sockets and pipes included (proc(5))."""
        found: dict[int, int] = {}
        for process in processes:
            path = f"/proc/{process.pid}/io"
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    data = os.read(fd, 1024)
                finally:
                    os.close(fd)
            except (FileNotFoundError, ProcessLookupError):
                continue
            except OSError as error:
                self._miss("I/O counts", path, error, "processor time alone tells whether the target stands still")
                continue
            words = data.split()
            if words[:1] == [b"rchar:"] and words[2:3] == [b"wchar:"]:
                found[process.pid] = int(words[1]) + int(words[3])
        return found

    def _read_pressure(self, directory: str | None) -> tuple[dict[str, float], dict[str, str]]:
        found: dict[str, float] = {}
        of: dict[str, str] = {}
        for name in self._rules.pressure:
            what, _, whom = name.partition(":")
            whose, text = cgroup.pressure(directory, what)
            value = cgroup.waiting_percent(text, whom)
            if value is None:
                reason = f"neither the cgroup nor /proc/pressure/{what} tells of {whom}"
                hint = "Linux 4.20 or newer with CONFIG_PSI; where it is off: boot with psi=1"
                self.missing.setdefault(f"pressure {name}", (reason, hint))
            else:
                found[name], of[name] = value, whose
        return found, of

    def _miss(self, what: str, path: str, error: OSError, hint: str) -> None:
        self.missing.setdefault(what, (f"{path}: {error.strerror or error}", hint))


def _kernel_counts() -> bool:
    """Whether the size of /proc/PID/fd is the number of descriptors (Linux 6.2 and newer)."""
    try:
        return os.stat("/proc/self/fd").st_size > 0
    except OSError:
        return False
