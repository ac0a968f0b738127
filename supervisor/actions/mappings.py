"""Where a process's resident memory lies: heap, stacks, libraries, files, shared and anonymous memory. Any language."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

MOST = 40
# The kernel walks page tables for smaps, about 10 ms a GiB.
_MOST_BYTES = 4 << 30
_MOST_THREADS = 64
_TRIES = 3
# The kernel's counters of resident pages lag behind, by the more the more processors there are.
_TOLERANCE_SHARE, _TOLERANCE_BYTES = 0.05, 4 << 20
_ARENA_BYTES = 64 << 20  # HEAP_MAX_SIZE of glibc's malloc on 64 bits: an arena is aligned to it and reserves it whole
_MAPPED_FROM = 1 << 46  # where the kernel maps what asks for no address; runtimes reserve their heaps below
_MOST_GUARD_BYTES = 1 << 20
_GO_HEAP = range(0xC0_0000_0000, 0x100_0000_0000)  # Go's arenas; goroutines have their stacks in them
_THREAD_STACKS = "thread stacks"
_ARENAS = "malloc arenas"
_GO_ARENAS = "Go heap"
_ANONYMOUS = "anonymous"
# What /proc/PID/status tells to everybody, when the mappings themselves are refused.
_STATUS = {"RssAnon": ("anonymous", "anonymous memory"), "RssFile": ("file", "files and libraries"),
           "RssShmem": ("shared", "shared memory")}  # fmt: skip

Sizes = dict[tuple[str, str], int]  # bytes by kind and name


class Region:
    """A range of addresses: its permissions (`rw-p`), the kernel's name for it, and what of it is in memory."""

    __slots__ = ("end", "name", "permissions", "rss_bytes", "start")

    def __init__(self, start: int, end: int, permissions: str, name: str, rss_bytes: int = 0) -> None:
        self.start = start
        self.end = end
        self.permissions = permissions
        self.name = name
        self.rss_bytes = rss_bytes

    @property
    def size_bytes(self) -> int:
        """Of addresses."""
        return self.end - self.start


def read(pid: int, rss_bytes: int | None = None) -> list[dict[str, Any]]:
    """Mappings of the same name together, largest first: kind, name, rss_bytes, size_bytes.

    `rss_bytes` of a mapping is None where the process (of `rss_bytes`) is too large to be walked while it waits.
    Empty when the process can't be read. Source: proc(5), /proc/PID/smaps and maps.
    """
    detailed = rss_bytes is None or rss_bytes <= _MOST_BYTES
    try:
        with open(f"/proc/{pid}/{'smaps' if detailed else 'maps'}", "rb") as file:
            found = regions(file)
    except (OSError, ValueError, IndexError):
        return []
    sizes: dict[tuple[str, str], list[int]] = {}
    for region, key in zip(found, labels(found, stack_pointers(pid)), strict=True):
        size = sizes.setdefault(key, [0, 0])
        size[0] += region.rss_bytes
        size[1] += region.size_bytes
    order = sorted(sizes.items(), key=lambda item: (-item[1][0], -item[1][1]))
    return [
        {"kind": kind, "name": name, "rss_bytes": rss if detailed else None, "size_bytes": size}
        for (kind, name), (rss, size) in order[:MOST]
        if rss or not detailed
    ]


def resident(pid: int) -> Sizes:
    """Resident bytes by (kind, name); where the mappings are refused by kind alone. Raises OSError when it is gone.

    The process runs on meanwhile, and what it moves may be seen where it was and where it is: a reading that is well
    over its RSS is read again, and of several such the least counts.
    """
    return _least([lambda: _once(pid)] * _TRIES, lambda: sum(by_kind(pid).values())) or by_kind(pid)


def _least(tries: Iterable[Callable[[], Sizes]], rss_bytes: Callable[[], int]) -> Sizes:
    """The first reading that isn't well over the RSS before or after it, else the least of all."""
    least: Sizes = {}
    before = rss_bytes()
    for read_once in tries:
        sizes = read_once()
        after = rss_bytes()
        total = sum(sizes.values())
        if not least or total < sum(least.values()):
            least = sizes
        if total <= max(before, after) * (1 + _TOLERANCE_SHARE) + _TOLERANCE_BYTES:
            return sizes
        before = after
    return least


def _once(pid: int) -> Sizes:
    try:
        with open(f"/proc/{pid}/smaps", "rb") as file:
            found = regions(file)
    except (PermissionError, ValueError, IndexError):
        found = []
    sizes: Sizes = {}
    for region, key in zip(found, labels(found, stack_pointers(pid)), strict=True):
        if region.rss_bytes:
            sizes[key] = sizes.get(key, 0) + region.rss_bytes
    return sizes


def by_kind(pid: int) -> Sizes:
    """The three kinds that the kernel counts, without a walk and for everybody. Raises OSError when it is gone."""
    sizes: Sizes = {}
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        for line in file:
            name, _, rest = line.partition(":")
            words = rest.split()
            if name in _STATUS and words and words[0].isdigit():
                sizes[_STATUS[name]] = int(words[0]) * 1024
    if not any(sizes.values()):
        raise ProcessLookupError(pid)
    return sizes


def regions(lines: Iterable[bytes]) -> list[Region]:
    """What smaps or maps lists, in the order of addresses. Raises ValueError, IndexError for what isn't either.

    The kernel looks for the next mapping from the end of the last one on. One that grew between the two is found again,
    from its start to its new end (seen on 6.18, which walks without mmap_lock): the later one counts.
    """
    found: list[Region] = []
    for line in lines:
        first, _, rest = line.partition(b" ")
        if first.endswith(b":"):
            if first == b"Rss:" and found:
                found[-1].rss_bytes = int(rest.split()[0]) * 1024
            continue
        start, _, end = first.partition(b"-")
        words = rest.split(None, 4)
        name = os.fsdecode(words[4].rstrip(b"\n")) if len(words) > 4 else ""
        region = Region(int(start, 16), int(end, 16), words[0].decode("ascii", "replace"), name.strip())
        while found and region.start < found[-1].end:
            found.pop()
        found.append(region)
    return found


def labels(found: list[Region], pointers: Iterable[int] = ()) -> list[tuple[str, str]]:
    """(kind, name) of each region. Pure.

    The kernel has no name for anonymous memory. Whose it is shows by its place: a thread's stack has one of the stack
    `pointers` in it, or the size of one that has and a guard page below; an arena of malloc's lies at a multiple of
    64 MiB and reserves as much; what directly follows the data of a program or library is its zeroed data (.bss).
    """
    waiting = sorted(pointers)
    stacks = _stacks(found, waiting)
    named: list[tuple[str, str]] = []
    for index, region in enumerate(found):
        before = found[index - 1] if index else None
        after = found[index + 1] if index + 1 < len(found) else None
        if region.name:
            named.append((kind(region.name), _shown(region.name)))
        elif region.start in _GO_HEAP:
            named.append(("heap", _GO_ARENAS))
        elif index in stacks:
            named.append(("stack", _THREAD_STACKS))
        elif _is_arena(region, after):
            named.append(("heap", _ARENAS))
        elif before is not None and _is_data(before) and region.permissions == "rw-p" and region.start == before.end:
            named.append(("library", f".bss of {os.path.basename(_shown(before.name))}"))
        else:
            named.append(("anonymous", _ANONYMOUS))
    return named


def _stacks(found: list[Region], pointers: list[int]) -> set[int]:
    """Which regions are stacks of threads: those with a pointer, and what looks the same (or any, without pointers)."""
    certain: set[int] = set()
    at = 0
    for index, region in enumerate(found):
        while at < len(pointers) and pointers[at] < region.start:
            at += 1
        if at < len(pointers) and pointers[at] < region.end and not region.name:
            certain.add(index)
    sizes = {found[index].size_bytes for index in certain}
    likely = set(certain)
    for index, (below, region) in enumerate(pairwise(found), 1):
        guarded = below.permissions.startswith("---") and not below.name and below.end == region.start
        if (
            guarded
            and below.size_bytes <= _MOST_GUARD_BYTES
            and not region.name
            and region.permissions == "rw-p"
            and (region.size_bytes in sizes or not pointers)
        ):
            likely.add(index)
    return likely


def _is_arena(region: Region, after: Region | None) -> bool:
    if region.permissions != "rw-p" or region.start % _ARENA_BYTES or region.start < _MAPPED_FROM:
        return False
    if region.size_bytes % _ARENA_BYTES == 0:
        return True
    return (
        after is not None
        and not after.name
        and after.permissions.startswith("---")
        and after.start == region.end
        and (after.end - region.start) % _ARENA_BYTES == 0
    )


def _is_data(region: Region) -> bool:
    return region.name.startswith("/") and region.permissions == "rw-p"


def _shown(name: str) -> str:
    """The kernel's name as people know it."""
    name = name.removesuffix(" (deleted)")
    if name.startswith("/dev/zero"):
        return "shared anonymous memory"
    base = os.path.basename(name)
    return base if kind(name) == "library" and base else name


def kind(name: str) -> str:
    """heap, stack, anonymous, shared, library, kernel or file."""
    if not name or name.startswith("[anon:"):
        return "anonymous"
    if name == "[heap]":
        return "heap"
    if name.startswith("[stack"):
        return "stack"
    if name.startswith(("/dev/shm/", "/SYSV", "/memfd:", "/dev/zero", "[anon_shmem")):
        return "shared"
    if name.startswith("["):
        return "kernel"
    base = name.removesuffix(" (deleted)").rpartition("/")[2]
    return "library" if base.endswith(".so") or ".so." in base else "file"


def stack_pointers(pid: int) -> list[int]:
    """Where the stacks of some waiting threads stand, without the first one's, whose stack has a name. syscall(2)s
    show it to who may attach; empty for others. Source: proc(5), /proc/PID/syscall.
    """
    found: list[int] = []
    try:
        tasks = [name for name in os.listdir(f"/proc/{pid}/task") if name != str(pid)]
    except OSError:
        return []
    for name in tasks[:: max(1, -(-len(tasks) // _MOST_THREADS))]:
        try:
            with open(f"/proc/{pid}/task/{name}/syscall", encoding="ascii", errors="replace") as file:
                words = file.read(512).split()
            if len(words) >= 3:  # `running` when it isn't waiting
                found.append(int(words[-2], 16))
        except PermissionError:
            return []
        except (OSError, ValueError):
            continue
    return found


def grown(before: Mapping[tuple[str, str], int], now: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """What each gained, where it gained."""
    return {key: size - before.get(key, 0) for key, size in now.items() if size > before.get(key, 0)}


def holder(sizes: Mapping[tuple[str, str], int]) -> tuple[str, int] | None:
    """The name that most of it is in, with its bytes: a mapping, or a kind where no single one stands out."""
    if not sizes:
        return None
    kinds: dict[str, int] = {}
    for (each, _), size in sizes.items():
        kinds[each] = kinds.get(each, 0) + size
    first = max(kinds, key=lambda each: kinds[each])
    of_kind = {name: size for (each, name), size in sizes.items() if each == first}
    name = max(of_kind, key=lambda each: of_kind[each])
    if 2 * of_kind[name] >= kinds[first]:
        return name, of_kind[name]
    return f"{_PLURALS.get(first, first)} ({len(of_kind)} mappings)", kinds[first]


_PLURALS = {"library": "libraries", "file": "files", "shared": "shared memory", "stack": "stacks"}
