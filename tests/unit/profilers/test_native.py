"""ELF files and call frames: of what runs here, and of files that are anything."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.profilers import faults, native, tracing
from supervisor.profilers.elf import ELFError, Image

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="native stacks are read on x86-64 only")


def libc() -> Path:
    """The C library that this process maps."""
    for mapping in native.code_mappings(Path("/proc/self/maps").read_text()):
        if os.path.basename(mapping.path).startswith("libc.so"):
            return Path(mapping.path)
    pytest.skip("no libc.so is mapped")


def image(data: bytes) -> Image:
    fd = os.memfd_create("image")
    try:
        os.write(fd, data)
        return Image(fd)
    finally:
        os.close(fd)


@pytest.fixture(scope="module")
def library() -> Image:
    return image(libc().read_bytes())


def test_functions_have_names_and_call_frames(library: Image) -> None:
    """Where a function begins, the frame lies right above the stack pointer, and the return address below that."""
    checked = usual = 0
    for start in list(library._starts)[::7]:
        row = library.row(start)
        assert library.symbol(start)
        if row is not None and row.start == start:
            checked += 1
            usual += (row.cfa_register, row.cfa_offset, row.rules.get(16)) == (7, 8, ("offset", -8))
    assert checked > 100 and usual > 0.98 * checked
    assert library.symbol(0) is None and library.symbol(1 << 40) is None and library.row(1 << 40) is None


def test_addresses_of_what_is_not_there(library: Image) -> None:
    with pytest.raises(ELFError):
        library.address(1 << 40)
    for data in (b"", b"\x7fELF", b"\x7fELF\x01\x01" + bytes(100), bytes(64)):
        with pytest.raises(ELFError):
            image(data)


def _true() -> bytes:
    return Path("/bin/true").read_bytes()


@given(
    st.lists(st.tuples(st.integers(0, 1 << 30), st.binary(min_size=1, max_size=8)), min_size=1, max_size=30), st.data()
)
def test_a_spoiled_file_is_refused_or_read(changes: list[tuple[int, bytes]], data: st.DataObject) -> None:
    """No error but ELFError, and no walk without an end."""
    spoiled = bytearray(_true())
    for place, value in changes:
        at = place % (len(spoiled) if place % 2 else 4096)  # half of it in the headers
        spoiled[at : at + len(value)] = value
    try:
        found = image(bytes(spoiled))
    except ELFError:
        return
    for _ in range(5):
        address = data.draw(st.integers(0, len(spoiled)))
        try:
            found.symbol(address)
            found.row(address)
            found.address(address)
        except ELFError:
            pass


def test_maps_are_read() -> None:
    text = (
        "55d0-55e0 r-xp 00002000 08:01 1234                       /usr/bin/my server (deleted)\n"
        "55e0-55f0 rw-p 00002000 08:01 1234                       /usr/bin/my server\n"
        "7f00-7f10 r-xp 00000000 00:00 0                          [vdso]\n"
        "7f10-7f20 r-xp 00000000 00:00 0 \n"
    )
    (mapping,) = native.code_mappings(text)
    assert (mapping.start, mapping.end, mapping.offset, mapping.inode) == (0x55D0, 0x55E0, 0x2000, 1234)
    assert mapping.path == "/usr/bin/my server"


def test_names_of_c_plus_plus_and_rust() -> None:
    demangle = native.demangler()
    assert demangle("main") == "main" and demangle("_Znope") == "_Znope"
    if demangle("_ZN3foo3barEi") != "_ZN3foo3barEi":  # with the C++ library
        assert demangle("_ZN3foo3barEi") == "foo::bar(int)"
        assert demangle("_ZN5cache4keep17h0123456789abcdefE.llvm.123") == "cache::keep"
    for name in (
        "std::vector<int, std::allocator<int> >::_M_fill_insert(int*, unsigned long, int const&)",
        "void std::vector<app::Row>::_M_realloc_insert<app::Row>(app::Row*, app::Row&&)",
        "operator new(unsigned long)", "alloc::raw_vec::finish_grow", "hashbrown::raw::RawTable<T,A>::reserve_rehash",
        "<alloc::vec::Vec<T,A> as core::ops::drop::Drop>::drop", "_RNvNtCsjrHSEGnQ3l9_3std2rt19lang_start_internal",
        "_$LT$alloc..vec..Vec$LT$T$GT$", "runtime.mallocgc", "internal/bytealg.Clone", "__rust_alloc", "_int_malloc",
        "__libc_malloc", "memset", "memmove_avx", "sysmalloc",
    ):  # fmt: skip
        assert native.is_runtime(name), name
    for name in ("main", "app::Cache::keep(int, std::string)", "standard::keep()", "main.keepRows", "runtimes_of",
                 "mallocate", "cache::keep", "memset_all(int)", "<app::Cache as core::fmt::Debug>::fmt"):  # fmt: skip
        assert not native.is_runtime(name), name
    assert native.is_named("keep_records") and not native.is_named("sh+0x1234")


@pytest.fixture
def blocked() -> Iterator[None]:
    """SIGCHLD as in a worker."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.usefixtures("blocked")
def test_the_stack_of_a_process_that_waits() -> None:
    """Through the C library, which has no frame pointers, to where the program began."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"x")
        process.stdin.flush()
        assert os.read(process.stdout.fileno(), 1) == b"x"
        tracer = tracing.Tracer()
        try:
            tracer.seize(process.pid)
        except OSError as error:
            pytest.skip(f"ptrace: {error.strerror}")
        reader = native.Reader(process.pid)
        try:
            tracer.interrupt(process.pid)
            assert tracer.next(time.monotonic() + 30) is not None
            frames = reader.stack(process.pid).split(";")
        finally:
            tracer.release()
            reader.close()
        assert len(frames) >= 3, frames
        assert frames[-1].partition(" ")[0] in ("read", "write"), frames
        assert any("/cat" in frame for frame in frames[:-1])
        process.stdin.close()


SIGNALS_ITSELF = """
import os, signal, sys
taken = 0
def take(number, frame):
    global taken
    taken += 1
signal.signal(signal.SIGURG, take)
print("ready", flush=True)
while taken < 20000:
    signal.pthread_kill(__import__("threading").get_ident(), signal.SIGURG)
print(taken, flush=True)
"""


@pytest.mark.usefixtures("blocked")
def test_a_signal_of_its_own_is_not_the_mark_of_a_page_fault() -> None:
    """Go sends its threads SIGURG all the time: they get it, and aren't taken for threads that took memory."""
    with subprocess.Popen([sys.executable, "-c", SIGNALS_ITSELF], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        try:
            trap = faults.FaultTrap(process.pid)
            trap.arm(1 << 30)
        except OSError as error:
            process.kill()
            pytest.skip(f"page-fault trap: {error.strerror}")
        try:
            assert trap.wait(0.2) is None
        finally:
            trap.close()
        assert process.stdout.readline() == b"20000\n"
