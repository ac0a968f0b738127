"""Where memory lies, told from smaps as the kernel writes it."""

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.actions import mappings
from supervisor.actions.mapped import Gained
from supervisor.actions.mappings import Region

MIB = 1 << 20
ARENA = 0x7F00_0000_0000

SMAPS = b"""\
555555554000-555555556000 r-xp 00000000 08:01 1234                       /usr/bin/my server
Size:                  8 kB
KernelPageSize:        4 kB
Rss:                   8 kB
VmFlags: rd ex mr mw me
555555556000-555555557000 rw-p 00002000 08:01 1234                       /usr/bin/my server
Rss:                   4 kB
555555557000-555555657000 rw-p 00000000 00:00 0
Rss:                1024 kB
555555700000-555555900000 rw-p 00000000 00:00 0                          [heap]
Rss:                2000 kB
7f0000000000-7f0000800000 rw-s 00000000 00:01 77                         /dev/zero (deleted)
Rss:                 512 kB
"""


def test_smaps_is_read() -> None:
    found = mappings.regions(SMAPS.splitlines(keepends=True))
    assert [(region.permissions, region.name, region.rss_bytes // 1024) for region in found] == [
        ("r-xp", "/usr/bin/my server", 8),
        ("rw-p", "/usr/bin/my server", 4),
        ("rw-p", "", 1024),
        ("rw-p", "[heap]", 2000),
        ("rw-s", "/dev/zero (deleted)", 512),
    ]
    assert mappings.labels(found) == [
        ("file", "/usr/bin/my server"),
        ("file", "/usr/bin/my server"),
        ("library", ".bss of my server"),
        ("heap", "[heap]"),
        ("shared", "shared anonymous memory"),
    ]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("/usr/lib/libfoo.so.3 (deleted)", ("library", "libfoo.so.3")),
        ("/usr/lib/libjvm.so", ("library", "libjvm.so")),
        ("/var/lib/db/data", ("file", "/var/lib/db/data")),
        ("/dev/shm/queue", ("shared", "/dev/shm/queue")),
        ("/memfd:pool (deleted)", ("shared", "/memfd:pool")),
        ("/SYSV00000000 (deleted)", ("shared", "/SYSV00000000")),
        ("[anon:scudo]", ("anonymous", "[anon:scudo]")),
        ("[anon_shmem:pool]", ("shared", "[anon_shmem:pool]")),
        ("[stack]", ("stack", "[stack]")),
        ("[vdso]", ("kernel", "[vdso]")),
        ("/lib.so/", ("file", "/lib.so/")),
    ],
)
def test_what_the_kernel_names(name: str, label: tuple[str, str]) -> None:
    assert mappings.labels([Region(0, 4096, "rw-p", name)]) == [label]


def _stack(start: int, size: int = 8 * MIB) -> list[Region]:
    return [Region(start - 4096, start, "---p", ""), Region(start, start + size, "rw-p", "")]


def test_a_waiting_thread_shows_its_stack_and_those_like_it() -> None:
    other = Region(ARENA, ARENA + MIB, "rw-p", "")
    found = [*_stack(0x10000), *_stack(0x2000000), *_stack(0x4000000, 3 * MIB), other]
    assert [name for _, name in mappings.labels(found, [0x10000 + 100])] == [
        "anonymous", "thread stacks", "anonymous", "thread stacks", "anonymous", "anonymous", "anonymous",
    ]  # fmt: skip
    # No pointer may be read: what has a guard page below is most likely one.
    assert [name for _, name in mappings.labels(found)][1::2] == ["thread stacks"] * 3


def test_an_arena_of_malloc() -> None:
    used = 5 * MIB
    rest = Region(ARENA + used, ARENA + 64 * MIB, "---p", "")
    assert mappings.labels([Region(ARENA, ARENA + used, "rw-p", ""), rest])[0] == ("heap", "malloc arenas")
    assert mappings.labels([Region(ARENA, ARENA + 64 * MIB, "rw-p", "")])[0] == ("heap", "malloc arenas")
    off = Region(ARENA + 4096, ARENA + used, "rw-p", "")
    assert mappings.labels([off, rest])[0] == ("anonymous", "anonymous")
    assert mappings.labels([Region(ARENA, ARENA + used, "rw-p", "")])[0] == ("anonymous", "anonymous")


GROWING = b"""\
555555700000-555555900000 rw-p 00000000 00:00 0                          [heap]
Rss:                2000 kB
555555700000-555555b00000 rw-p 00000000 00:00 0                          [heap]
Rss:                4000 kB
7f0000000000-7f0000800000 rw-p 00000000 00:00 0
Rss:                 512 kB
"""


def test_a_mapping_that_grew_while_it_was_read_counts_once() -> None:
    found = mappings.regions(GROWING.splitlines(keepends=True))
    assert [(region.name, region.size_bytes, region.rss_bytes // 1024) for region in found] == [
        ("[heap]", 4 * MIB, 4000),
        ("", 8 * MIB, 512),
    ]
    assert mappings.labels(found) == [("heap", "[heap]"), ("anonymous", "anonymous")]


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9), st.lists(st.integers(1, 9), max_size=3)), max_size=12))
def test_each_mapping_counts_once_as_it_was_last(shapes: list[tuple[int, int, list[int]]]) -> None:
    """The kernel goes on from the end of what it told last: what grew since is told again, with its old start."""
    lines, expected, at = [], [], 0
    for pages, gap, growths in shapes:
        start, at = at, at + pages * 4096
        ends = [at]
        for more in growths:
            at += more * 4096
            ends.append(at)
        for end in ends:
            lines += [b"%x-%x rw-p 00000000 00:00 0 \n" % (start, end), b"Rss: %d kB\n" % ((end - start) // 1024)]
        expected.append((start, at, at - start))
        at += gap * 4096
    found = mappings.regions(lines)
    assert [(region.start, region.end, region.rss_bytes) for region in found] == expected


def test_a_reading_over_the_resident_size_is_read_again() -> None:
    """What was moved in memory meanwhile was seen twice."""
    heap, array = ("heap", "[heap]"), ("anonymous", "anonymous")
    right, twice, more = {heap: 50 * MIB}, {heap: 50 * MIB, array: 60 * MIB}, {heap: 50 * MIB, array: 90 * MIB}

    def least(*readings: dict[tuple[str, str], int]) -> tuple[dict[tuple[str, str], int], int]:
        left = list(readings)
        found = mappings._least([lambda: left.pop(0)] * len(readings), lambda: 50 * MIB)
        return found, len(left)

    assert least(right, twice) == (right, 1)
    assert least(twice, right, twice) == (right, 1)
    assert least(more, twice, more) == (twice, 0)
    assert least({}, right) == ({}, 1)  # refused


@given(st.binary(max_size=400))
def test_what_is_not_smaps_is_refused_or_read(data: bytes) -> None:
    try:
        found = mappings.regions(data.splitlines(keepends=True))
    except (ValueError, IndexError):
        return
    assert len(mappings.labels(found, [0, 1 << 40])) == len(found)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 50), st.sampled_from(["rw-p", "---p", "r-xp"]),
                          st.sampled_from(["", "[heap]", "/a", "/lib/b.so"])), max_size=12),
       st.lists(st.integers(0, 1 << 21), max_size=5))  # fmt: skip
def test_each_region_gets_one_label(shapes: list[tuple[int, int, str, str]], pointers: list[int]) -> None:
    at, found = 0, []
    for gap, pages, permissions, name in shapes:
        at += gap * 4096
        found.append(Region(at, at + pages * 4096, permissions, name))
        at += pages * 4096
    named = mappings.labels(found, pointers)
    assert len(named) == len(found)
    for region, (kind, name) in zip(found, named, strict=True):
        assert kind == mappings.kind(region.name) or not region.name
        assert name
        if any(region.start <= pointer < region.end for pointer in pointers) and not region.name:
            assert name == "thread stacks"


def test_this_process() -> None:
    """Its own threads' stacks, a library and the heap; what the kernel counts without a walk is about the same."""
    ready, done = threading.Event(), threading.Event()

    def wait() -> None:
        ready.set()
        done.wait(60)

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        ready.wait(60)
        sizes = mappings.resident(os.getpid())
    finally:
        done.set()
        thread.join()
    kinds = {kind for kind, _ in sizes}
    assert {"heap", "stack", "library", "anonymous"} <= kinds
    assert sizes["stack", "thread stacks"] > 0
    rough = mappings.by_kind(os.getpid())
    assert abs(sum(rough.values()) - sum(sizes.values())) < 8 * MIB
    rows = mappings.read(os.getpid())
    assert rows == sorted(rows, key=lambda row: -row["rss_bytes"]) and rows[0]["rss_bytes"] > 0


def test_a_process_that_is_gone() -> None:
    pid = os.spawnlp(os.P_NOWAIT, "true", "true")
    os.waitpid(pid, 0)
    with pytest.raises(OSError):
        mappings.resident(pid)
    assert mappings.read(pid) == [] and mappings.stack_pointers(pid) == []


def test_the_holder_is_a_mapping_or_a_kind() -> None:
    heap, many = ("heap", "[heap]"), {("shared", f"/dev/shm/{number}"): 10 for number in range(6)}
    assert mappings.holder({}) is None
    assert mappings.holder({heap: 70, **many}) == ("[heap]", 70)
    assert mappings.holder({heap: 50, **many}) == ("shared memory (6 mappings)", 60)


def test_what_grew_counts_at_the_highest_reading() -> None:
    heap, file = ("heap", "[heap]"), ("file", "/data")
    ledger = Gained({heap: 10 * MIB, file: 5 * MIB})
    assert ledger.grown == {} and not ledger.enough
    ledger.add({heap: 40 * MIB, file: 4 * MIB})
    ledger.add({heap: 11 * MIB})
    assert ledger.grown == {heap: 30 * MIB} and ledger.enough and ledger.readings == 3
