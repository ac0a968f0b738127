"""A Sample: the tree's processes (`proc_tree`, or `psutil_tree` without a /proc), limit and use from the cgroup."""

from __future__ import annotations

import os
import time

from supervisor import cgroup
from supervisor.model import Process, Sample
from supervisor.proc_tree import ProcTree, parse_stat, settled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from supervisor.psutil_tree import PsutilTree

_GROUPS_EVERY_S = 1.0  # a look whether the tree was moved to another cgroup
_DEAR_SHARE = 0.05  # PSS and USS may take this share of the watcher's time


def read_process(pid: int) -> Process | None:
    """One process now, or None when it is gone."""
    text = cgroup.read_text(f"/proc/{pid}/stat")
    process = parse_stat(pid, text.encode("utf-8", "surrogateescape")) if text else None
    return settled(process) if process is not None else None


def peak_bytes() -> int | None:
    """The most RSS that this process had since its exec (VmHWM; getrusage counts what was before the exec, too)."""
    text = cgroup.read_text("/proc/self/status") or ""
    words = text.partition("VmHWM:")[2].split()[:1]
    return int(words[0]) * 1024 if words else None


def open_memory(pid: int, *, write: bool = False) -> int | None:
    """A descriptor to read the process's memory by, or None where the kernel refuses it to this process."""
    try:
        return os.open(f"/proc/{pid}/mem", (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC)
    except OSError:
        return None


def stopped(pid: int) -> bool:
    """Whether the process is stopped (job control or a tracer)."""
    process = read_process(pid)
    return process is not None and process.state in ("T", "t")


def descends(pid: int, ancestor: int) -> bool:
    """Whether `ancestor` is above this process."""
    for _ in range(64):
        process = read_process(pid)
        if process is None:
            return False
        if process.ppid == ancestor:
            return True
        pid = process.ppid
    return False


def _tree() -> ProcTree | PsutilTree:
    if os.path.isdir("/proc/self/task"):
        return ProcTree()
    from supervisor.psutil_tree import PsutilTree

    return PsutilTree()


class Sampler:
    """Takes Samples: of guard's own descendants, or of `roots` where given (`guard watch`)."""

    def __init__(self, place: cgroup.Place, machine_bytes: int, metric: str, roots: tuple[int, ...] | None) -> None:
        self.place = place
        self._cgroup = cgroup.Reader(place)
        self._groups_pid = roots[0] if roots else "self"
        self._groups = cgroup.read_text(f"/proc/{self._groups_pid}/cgroup")
        self._groups_next_s = float("-inf")
        self._pressure: float | None = None
        self._bound: str | None = None  # the group whose limit binds
        self._kills_before = 0  # OOM kills counted in groups that were left
        self._kills: int | None = None
        self._machine_bytes = machine_bytes
        self._roots = {pid: process.start_ticks for pid in roots or () if (process := read_process(pid)) is not None}
        self._own = roots is None
        self._dear_metric = metric if metric in ("pss", "uss") else None
        self._dear: dict[str, int] = {}
        self._dear_next_s = float("-inf")
        self._tree = _tree()

    def close(self) -> None:
        """Close what is kept open."""
        self._tree.close()
        self._cgroup.close()

    def take(self, excluded: Iterable[int]) -> Sample:
        """A Sample of now."""
        now_s = time.monotonic()
        if self._own:
            processes = self._tree.below_guard(excluded, now_s)
        else:
            self._drop_reused_roots()
            processes = self._tree.read(self._roots, excluded, now_s)
        if now_s >= self._groups_next_s:
            self._groups_next_s = now_s + _GROUPS_EVERY_S
            self._follow_cgroup()
            directories = self.place.memory
            self._pressure = cgroup.waiting_percent(cgroup.pressure(directories[0] if directories else None)[1])
        memory = self._read_cgroup()
        rss = sum(process.rss_bytes or 0 for process in processes)
        in_cgroup = memory.limit_bytes is not None and memory.limit_bytes <= self._machine_bytes
        self._bound = memory.directory if in_cgroup else None
        if self._dear_metric is not None and now_s >= self._dear_next_s:
            self._read_dear(processes, now_s)
        return Sample(
            at_s=now_s,
            processes=tuple(processes),
            rss_bytes=rss,
            limit_bytes=memory.limit_bytes if in_cgroup and memory.limit_bytes else self._machine_bytes,
            use_bytes=memory.use_bytes if in_cgroup and memory.use_bytes is not None else rss,
            in_cgroup=in_cgroup,
            oom_kills=self._kills,
            dear=self._dear,
            missing=self._tree.missing,
            high=memory.high,
            pressure_percent=self._pressure,
        )

    def left(self, excluded: Iterable[int]) -> list[Process]:
        """What still lives of the tree below guard."""
        found = self._tree.below_guard(excluded, time.monotonic())
        return [process for process in found if process.state not in ("Z", "X")]

    def peek(self) -> int | None:
        """The use, now, of the group that bound the last sample; None where no cgroup sets a limit."""
        return self._cgroup.use(self._bound) if self._bound is not None else None

    def oom_kills(self) -> int | None:
        """OOM kills that the cgroup counts now; goes on counting where the tree is moved to another."""
        self._read_cgroup()
        return self._kills

    def _read_cgroup(self) -> cgroup.Memory:
        memory = self._cgroup.read()
        self._kills = None if memory.oom_kills is None else memory.oom_kills + self._kills_before
        return memory

    def _follow_cgroup(self) -> None:
        """A tree can be moved: its old group's figures would be somebody else's, or nobody's."""
        groups = cgroup.read_text(f"/proc/{self._groups_pid}/cgroup")
        if groups is None or groups == self._groups:
            return
        self._groups = groups
        place = cgroup.find(self._groups_pid)
        if place.memory == self.place.memory:
            return
        known = self._kills or 0
        self._cgroup.close()
        self.place, self._cgroup = place, cgroup.Reader(place)
        self._kills_before = known - (self._cgroup.read().oom_kills or 0)

    def _drop_reused_roots(self) -> None:
        """A pid that is used again isn't the process that was meant."""
        for pid, ticks in list(self._roots.items()):
            process = read_process(pid)
            if process is None or process.state in ("Z", "X") or process.start_ticks != ticks:
                del self._roots[pid]

    def _read_dear(self, processes: list[Process], now_s: float) -> None:
        total = 0
        for process in processes:
            figures = memory_detail(process.pid)
            total += figures.get(self._dear_metric or "", process.rss_bytes or 0)
        cost_s = time.monotonic() - now_s
        self._dear_next_s = now_s + cost_s / _DEAR_SHARE
        self._dear = {self._dear_metric or "": total}


def swap_bytes(pid: int) -> int:
    """What of a process is swapped out; 0 where that can't be read."""
    for line in (cgroup.read_text(f"/proc/{pid}/status") or "").splitlines():
        name, _, rest = line.partition(":")
        if name == "VmSwap":
            return int(rest.split()[0]) * 1024
    return 0


def memory_detail(pid: int) -> dict[str, int]:
    """PSS, USS, swap and more of one process in bytes from smaps_rollup; empty when it can't be read.

    Dear: 40 to 100 ms for a process of 4 GiB.
    """
    figures: dict[str, int] = {}
    for line in (cgroup.read_text(f"/proc/{pid}/smaps_rollup") or "").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB" and words[0].isdigit():
            figures[name.lower()] = int(words[0]) * 1024
    if figures:
        figures["uss"] = figures.get("private_clean", 0) + figures.get("private_dirty", 0)
    return figures
