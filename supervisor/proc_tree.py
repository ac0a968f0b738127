"""The tree read from /proc by kept descriptors.

psutil costs 19 µs a process on kept objects and 98 for its recursive walk, a pread of a kept descriptor 3 to 6: so
where there is a /proc, it is read here, and psutil stays out of the watcher.
"""

from __future__ import annotations

import os
from dataclasses import replace

from supervisor import cgroup, libc
from supervisor.model import Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Children forked by other threads than the main one are listed per thread: that many are read at most this often.
_THREADS_EVERY_S = 1.0
_CHUNK = 16384
_SHARED_BYTES = 1 << 20  # two that share their memory are read within moments: so much may come between


class _Kept:
    """What is kept of a process between samples: descriptors, and children that other threads forked."""

    __slots__ = ("children_fd", "stat_fd", "thread_children", "threads_read_s")

    def __init__(self) -> None:
        self.stat_fd = -1
        self.children_fd = -1
        self.thread_children: tuple[int, ...] = ()
        self.threads_read_s = float("-inf")

    def close(self) -> None:
        for fd in (self.stat_fd, self.children_fd):
            if fd >= 0:
                os.close(fd)


class ProcTree:
    """The processes below some roots, read from /proc."""

    def __init__(self, most_descriptors: int | None = None) -> None:
        self._kept: dict[int, _Kept] = {}
        self._open = 0
        self._own_fd = -1
        self._most = _descriptor_room() if most_descriptors is None else most_descriptors
        self.missing: dict[str, str] = {}

    def close(self) -> None:
        """Close all descriptors."""
        for kept in self._kept.values():
            kept.close()
        self._kept.clear()
        self._open = 0
        if self._own_fd >= 0:
            os.close(self._own_fd)
            self._own_fd = -1

    def below_guard(self, excluded: Iterable[int], now_s: float) -> list[Process]:
        """Everything that descends from this process, but for `excluded` and what descends from them."""
        self.missing = {}
        return self._read(self._own_children(), excluded, now_s)

    def read(self, roots: Iterable[int], excluded: Iterable[int], now_s: float) -> list[Process]:
        """The roots and all that descends from them. Processes that vanish meanwhile are left out."""
        self.missing = {}
        return self._read(roots, excluded, now_s)

    def _own_children(self) -> list[int]:
        """By a descriptor kept from the first time: nothing that happens to /proc or to limits hides the tree."""
        path = f"/proc/self/task/{os.getpid()}/children"
        try:
            if self._own_fd < 0:
                self._own_fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            data = b""
            while len(chunk := os.pread(self._own_fd, _CHUNK, len(data))) > 0:
                data += chunk
            return [int(word) for word in data.split()]
        except OSError as error:
            self.missing[path] = os.strerror(error.errno or 0)
            return []

    def _read(self, roots: Iterable[int], excluded: Iterable[int], now_s: float) -> list[Process]:
        skip = set(excluded)
        seen: set[int] = set()
        queue = [pid for pid in roots if pid not in skip]
        found: list[Process] = []
        known: dict[int, Process] = {}
        while queue:
            pid = queue.pop()
            if pid in seen:
                continue
            seen.add(pid)
            kept = self._kept.get(pid)
            if kept is None:
                kept = self._kept[pid] = _Kept()
            process = self._stat(pid, kept)
            if process is None:
                self._forget(pid)
                continue
            found.append(self._once(process, known))
            known[pid] = process
            for child in self._children(pid, kept, process.threads, now_s):
                if child not in skip:
                    queue.append(child)
        for pid in [pid for pid in self._kept if pid not in seen]:
            self._forget(pid)
        return found

    @staticmethod
    def _once(process: Process, known: dict[int, Process]) -> Process:
        """A vfork's child has its parent's memory, not as much again."""
        parent, rss = known.get(process.ppid), process.rss_bytes or 0
        if parent is None or rss < _SHARED_BYTES or abs(rss - (parent.rss_bytes or 0)) > _SHARED_BYTES:
            return process
        return replace(process, rss_bytes=0) if libc.same_memory(process.pid, parent.pid) else process

    def _forget(self, pid: int) -> None:
        kept = self._kept.pop(pid, None)
        if kept is not None:
            self._open -= (kept.stat_fd >= 0) + (kept.children_fd >= 0)
            kept.close()

    def _stat(self, pid: int, kept: _Kept) -> Process | None:
        for _ in range(2):
            kept.stat_fd, data = self._pread(kept.stat_fd, f"/proc/{pid}/stat")
            if data:
                process = parse_stat(pid, data)
                return settled(process) if process is not None else None
            # The kept descriptor belongs to a process that is gone; the pid may already be another's.
            if kept.stat_fd < 0:
                return None
            self._forget(pid)
            kept.__init__()  # type: ignore[misc]
            self._kept[pid] = kept
        return None

    def _children(self, pid: int, kept: _Kept, threads: int, now_s: float) -> list[int]:
        path = f"/proc/{pid}/task/{pid}/children"
        kept.children_fd, data = self._pread(kept.children_fd, path)
        children = [int(word) for word in data.split()]
        if threads > 1:
            if now_s - kept.threads_read_s >= _THREADS_EVERY_S:
                kept.thread_children = tuple(_children(pid, pid, other_threads=True))
                kept.threads_read_s = now_s
            children += kept.thread_children
        return children

    def _pread(self, fd: int, path: str) -> tuple[int, bytes]:
        """The content of a /proc file by its kept descriptor, opened if need be; b"" when it is gone."""
        try:
            if fd < 0:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                if self._open >= self._most:
                    try:
                        return -1, os.read(fd, 65536)
                    finally:
                        os.close(fd)
                self._open += 1
            return fd, os.pread(fd, 65536, 0)
        except (FileNotFoundError, ProcessLookupError):
            return fd, b""
        except OSError as error:
            self.missing[path] = os.strerror(error.errno or 0)
            return fd, b""


def _descriptor_room() -> int:
    """Raise this process's own soft limit of descriptors (the target has its own already), and leave some room."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(hard, 4096)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (OSError, ValueError):
            pass
    return max(0, min(soft if soft != resource.RLIM_INFINITY else wanted, 4096) - 64)


def _children(pid: int | str, main: int, *, other_threads: bool = False) -> list[int]:
    found: list[int] = []
    tasks: list[str] = [str(main)]
    if other_threads:
        try:
            tasks = [task for task in os.listdir(f"/proc/{pid}/task") if task != str(main)]
        except OSError:
            return []
    for task in tasks:
        text = cgroup.read_text(f"/proc/{pid}/task/{task}/children", 1 << 20)
        if text:
            found += [int(word) for word in text.split()]
    return found


def parse_stat(pid: int, data: bytes) -> Process | None:
    """A process from /proc/PID/stat (proc(5)). The name may hold anything, so fields count from its last bracket."""
    start, end = data.find(b"("), data.rfind(b")")
    fields = data[end + 2 :].split()
    if start < 0 or end < start or len(fields) < 22:
        return None
    return Process(
        pid=pid,
        ppid=int(fields[1]),
        start_ticks=int(fields[19]),
        name=data[start + 1 : end].decode("utf-8", "backslashreplace"),
        state=fields[0].decode("ascii", "replace"),
        rss_bytes=max(0, int(fields[21])) * PAGE_BYTES,
        threads=int(fields[17]),
        cpu_ticks=int(fields[11]) + int(fields[12]),
        waited_ticks=int(fields[13]) + int(fields[14]),
    )


def settled(process: Process) -> Process:
    """With the name and the memory that its stat alone doesn't tell."""
    return _by_its_threads(process) if process.state == "Z" else _named(process)


def _named(process: Process) -> Process:
    """Node 24 and others call their first thread so, which says nothing of the program: its file does."""
    if process.name != "MainThread":
        return process
    try:
        program = os.path.basename(os.readlink(f"/proc/{process.pid}/exe"))
    except OSError:
        return process
    return replace(process, name=program or process.name)


def _by_its_threads(leader: Process) -> Process:
    """A zombie leader whose other threads live on: they have the memory, and the leader's own figure is 0."""
    if leader.threads < 2:
        return leader
    try:
        tasks = os.listdir(f"/proc/{leader.pid}/task")
    except OSError:
        return leader
    for task in tasks:
        text = cgroup.read_text(f"/proc/{leader.pid}/task/{task}/stat")
        thread = parse_stat(leader.pid, text.encode("utf-8", "surrogateescape")) if text else None
        if thread is not None and thread.state not in ("Z", "X"):
            return replace(leader, state=thread.state, rss_bytes=thread.rss_bytes)
    return leader
