"""The cgroup's limits and use, v1 or v2, walking up from a process's own group.

Imported before the target starts. Sources: cgroups(7), kernel documentation admin-guide/cgroup-v1/memory.rst and
admin-guide/cgroup-v2.rst, proc(5) for mountinfo.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# v1 writes "no limit" as the largest page-aligned signed 64-bit number; nothing real comes near.
_UNLIMITED = 1 << 60


class Place:
    """Where a process's cgroup is: its directories from the inside out, each still below the mount."""

    __slots__ = ("cpu", "cpu_version", "memory", "memory_version")

    def __init__(self, memory: list[str], memory_version: int, cpu: list[str], cpu_version: int) -> None:
        self.memory = memory
        self.memory_version = memory_version
        self.cpu = cpu
        self.cpu_version = cpu_version


class High:
    """A group's memory.high (v2): beyond it the kernel holds allocations up, nearly for good where nothing can be
    reclaimed. `events` counts how often the group got there. Bytes; what could not be read is None.
    """

    __slots__ = ("directory", "events", "high_bytes", "use_bytes")

    def __init__(self, high_bytes: int, use_bytes: int | None, events: int | None, directory: str) -> None:
        self.high_bytes = high_bytes
        self.use_bytes = use_bytes
        self.events = events
        self.directory = directory


class Memory:
    """One reading of the group that binds: the limited one with the least headroom. Bytes.

    `limit_bytes` is None when no group sets a limit; `use_bytes` is then the innermost group's. `oom_kills` is the
    innermost group's, so that a neighbour's under a shared limit don't count. `high` is the memory.high with the least
    headroom, None where none is below the limit. A figure that could not be read is None.
    """

    __slots__ = ("directory", "high", "limit_bytes", "oom_kills", "use_bytes")

    def __init__(
        self,
        limit_bytes: int | None,
        use_bytes: int | None,
        oom_kills: int | None,
        directory: str | None,
        high: High | None = None,
    ) -> None:
        self.limit_bytes = limit_bytes
        self.use_bytes = use_bytes
        self.oom_kills = oom_kills
        self.directory = directory
        self.high = high


def read_text(path: str, size: int = 65536) -> str | None:
    """The start of a small kernel file, or None when it can't be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(fd, size).decode("utf-8", "surrogateescape")
    except OSError:
        return None
    finally:
        os.close(fd)


def find(pid: int | str = "self", proc: str = "/proc") -> Place:
    """The cgroup of `pid`. Lists are empty where there is no controller or no mount of it."""
    groups = read_text(f"{proc}/{pid}/cgroup") or ""
    mounts = read_text(f"{proc}/self/mountinfo", 1 << 20) or ""
    memory, memory_version = _directories("memory", groups, mounts)
    cpu, cpu_version = _directories("cpu", groups, mounts)
    return Place(memory, memory_version, cpu, cpu_version)


def named(name: str, proc: str = "/proc") -> str | None:
    """The directory of the group that has this name from the hierarchy's root (`/system.slice/app.service`).

    Of v2 where it is there, else of v1's memory; None where it is in neither. `name` has no `..` in it.
    """
    mounts = read_text(f"{proc}/self/mountinfo", 1 << 20) or ""
    for kind, controller in (("cgroup2", None), ("cgroup", "memory")):
        found = _below_mount(name, mounts, kind, controller)[:1]
        if found and found[0].endswith(name):
            return found[0]
    return None


def members(directory: str, most: int) -> list[int]:
    """The pids in a group and in those below it, `most` at most. What can't be read (a threaded group) has none."""
    found: list[int] = []
    for path, below, _ in os.walk(directory):
        below.sort()
        found += [int(word) for word in (read_text(f"{path}/cgroup.procs", 1 << 20) or "").split()]
        if len(found) >= most:
            break
    return found[:most]


def _directories(controller: str, groups: str, mounts: str) -> tuple[list[str], int]:
    unified: str | None = None
    for line in groups.splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if controller in names.split(","):
            return _below_mount(path, mounts, "cgroup", controller), 1
        if number == "0" and not names:
            unified = path
    if unified is None:
        return [], 2
    return _below_mount(unified, mounts, "cgroup2", None), 2


def _below_mount(path: str, mounts: str, kind: str, controller: str | None) -> list[str]:
    """Directories of the group `path` from the inside out.

    A container sees its own group as the mount's root (field 4 of mountinfo), while /proc/self/cgroup names it as
    the host does: that root is stripped. Under a cgroup namespace the root may lie above ("/.."): then the mount
    point itself is the nearest group that can be seen.
    """
    for line in mounts.splitlines():
        before, separator, after = line.partition(" - ")
        fields, tail = before.split(), after.split()
        if not separator or len(fields) < 5 or len(tail) < 3 or tail[0] != kind:
            continue
        if controller is not None and controller not in tail[2].split(","):
            continue
        root, point = _unescape(fields[3]), _unescape(fields[4])
        inside = path
        if root != "/":
            inside = path[len(root) :] if path == root or path.startswith(root.rstrip("/") + "/") else "/"
        parts = [part for part in inside.split("/") if part]
        if ".." in parts:
            parts = []
        found = [os.path.join(point, *parts[:depth]) for depth in range(len(parts), -1, -1)]
        return [directory for directory in found if os.path.isdir(directory)]
    return []


def _unescape(text: str) -> str:
    """mountinfo writes space, tab, newline and backslash as octal escapes."""
    for code in ("040", "011", "012", "134"):
        text = text.replace("\\" + code, chr(int(code, 8)))
    return text


def _number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() else None


def _field(text: str | None, name: str) -> int | None:
    """The number behind a name in a file of `name number` lines."""
    padded = "\n" + (text or "")
    start = padded.find(f"\n{name} ")
    if start < 0:
        return None
    start += len(name) + 2
    end = padded.find("\n", start)
    return _number(padded[start : end if end >= 0 else None])


class Reader:
    """Reads a place's memory figures again and again by kept descriptors (1 to 9 µs a file)."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._descriptors: dict[str, int] = {}

    def close(self) -> None:
        """Close all descriptors."""
        for fd in self._descriptors.values():
            os.close(fd)
        self._descriptors.clear()

    def read(self) -> Memory:
        """Limit and use (usage less inactive file pages: the working set) of the group that binds, and OOM kills.

        Both versions count a kill where the killed process lived, v2 in all groups above as well.
        """
        best: Memory | None = None
        innermost: Memory | None = None
        high: High | None = None
        for directory in self._place.memory:
            reading = self._level(directory, need_use=innermost is None)
            if innermost is None and reading.use_bytes is not None:
                innermost = reading
            if reading.limit_bytes is not None and (best is None or _headroom(reading) < _headroom(best)):
                best = reading
            if reading.high is not None and (high is None or _headroom(reading.high) < _headroom(high)):
                high = reading.high
        chosen = best or innermost
        if chosen is None:
            return Memory(None, None, None, None)
        if high is not None and best is not None and _headroom(best) <= _headroom(high):
            high = None
        kills = innermost.oom_kills if innermost is not None else chosen.oom_kills
        return Memory(chosen.limit_bytes, chosen.use_bytes, kills, chosen.directory, high)

    def _level(self, directory: str, need_use: bool) -> Memory:
        high: int | None = None
        if self._place.memory_version == 2:
            names = ("memory.max", "memory.events")
            high = _number(self._text(f"{directory}/memory.high"))
        else:
            names = ("memory.limit_in_bytes", "memory.oom_control")
        limit = _number(self._text(f"{directory}/{names[0]}"))
        if limit is not None and limit >= _UNLIMITED:
            limit = None
        if limit is None and high is None and not need_use:
            return Memory(None, None, None, directory)
        usage = self.use(directory)
        events = self._text(f"{directory}/{names[1]}")
        throttling = High(high, usage, _field(events, "high"), directory) if high is not None else None
        return Memory(limit, usage, _field(events, "oom_kill"), directory, throttling)

    def use(self, directory: str) -> int | None:
        """One group's working set alone: its usage less its inactive file pages."""
        if self._place.memory_version == 2:
            usage_name, inactive = "memory.current", "inactive_file"
        else:
            usage_name, inactive = "memory.usage_in_bytes", "total_inactive_file"
        usage = _number(self._text(f"{directory}/{usage_name}"))
        if usage is not None:
            usage -= min(usage, _field(self._text(f"{directory}/memory.stat"), inactive) or 0)
        return usage

    def _text(self, path: str) -> str | None:
        fd = self._descriptors.get(path)
        try:
            if fd is None:
                fd = self._descriptors[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(fd, 16384, 0).decode("ascii", "replace")
        except OSError:
            if fd is not None:  # the group was removed; look again next time
                os.close(fd)
                self._descriptors.pop(path, None)
            return None


def read_memory(place: Place) -> Memory:
    """One reading, nothing kept."""
    reader = Reader(place)
    try:
        return reader.read()
    finally:
        reader.close()


def _headroom(reading: Memory | High) -> int:
    most = reading.high_bytes if isinstance(reading, High) else reading.limit_bytes
    return (_UNLIMITED if most is None else most) - (reading.use_bytes or 0)


def pressure(directory: str | None, what: str = "memory") -> tuple[str, str]:
    """PSI of memory, cpu or io as the kernel writes it, with whose it is.

    It is the cgroup's where that has one, else the machine's. Two empty texts where none is counted. https://docs.kernel.org/accounting/psi.html
    """
    for whose, path in (("cgroup", f"{directory}/{what}.pressure"), ("machine", f"/proc/pressure/{what}")):
        text = read_text(path)
        if text:
            return whose, text
    return "", ""


def waiting_percent(psi: str, whom: str = "some") -> float | None:
    """Per cent of the last ten seconds in which some (full: every) task waited, from a PSI text; None without one."""
    start = psi.find(f"{whom} avg10=")
    try:
        return float(psi[start + 11 :].split(" ", 1)[0]) if start >= 0 else None
    except ValueError:
        return None


def cores(place: Place, schedulable: int) -> float:
    """Cores the tree may use: the tightest quota on the way up, at most `schedulable`."""
    least = float(schedulable)
    for directory in place.cpu:
        if place.cpu_version == 2:
            quota, _, period = (read_text(f"{directory}/cpu.max") or "").strip().partition(" ")
        else:
            quota = (read_text(f"{directory}/cpu.cfs_quota_us") or "").strip()
            period = (read_text(f"{directory}/cpu.cfs_period_us") or "").strip()
        if quota.isdigit() and period.isdigit() and int(period):
            least = min(least, int(quota) / int(period))
    return least


def machine_memory(proc: str = "/proc") -> int | None:
    """The machine's memory in bytes (MemTotal), or None."""
    return meminfo(proc).get("MemTotal")


def meminfo(proc: str = "/proc") -> Mapping[str, int]:
    """/proc/meminfo in bytes."""
    found: dict[str, int] = {}
    for line in (read_text(f"{proc}/meminfo") or "").splitlines():
        name, _, rest = line.partition(":")
        value = _number(rest.strip().removesuffix(" kB"))
        if value is not None:
            found[name] = value * 1024
    return found
