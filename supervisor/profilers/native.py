"""The native stack of a stopped thread: registers by ptrace, memory by /proc, call frames from the files it maps.

Needs a tracer that holds the thread (`faults`, `syscalls`). What has no call frame information (Go, code made at run
time) is followed by frame pointers. Only for x86-64. Sources: ptrace(2) (PTRACE_GETREGSET), the x86-64 psABI, proc(5).
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import struct
import time
from collections.abc import Callable
from typing import Any

from supervisor.analysis import folded
from supervisor.profilers import kernel, tracing
from supervisor.profilers.elf import ELFError, Image

MOST_FRAMES = 64
RUNTIME = "[runtime]"  # instead of a file: see `is_runtime`
_TRIES, _HELD_S = 8, 0.04
_STOP_S = 0.2  # one that waits for a device stops when that answers
_GETREGSET, _PRSTATUS = 0x4204, 1
_NO_STACK_BYTES = 64 << 20  # further away, it is no caller's frame
# DWARF's number of each register in user_regs_struct; 16 is the return address.
_ORDER = (15, 14, 13, 12, 6, 3, 11, 10, 9, 8, 0, 2, 1, 4, 5, None, 16, None, None, 7)
_FRAME_POINTER, _STACK_POINTER, _RETURN = 6, 7, 16
_KEPT = (3, 6, 12, 13, 14, 15)  # a callee leaves them as they were
_MOST_MAPS = 65_536
_NAMELESS = "+0x"
_RUST_HASH = re.compile(r"::h[0-9a-f]{16}$")


def possible() -> bool:
    """Whether it is written for this processor."""
    return platform.machine() == "x86_64"


class Mapping:
    """Code of a file: addresses, where in the file they begin, its path and inode."""

    __slots__ = ("end", "inode", "offset", "path", "start")

    def __init__(self, start: int, end: int, offset: int, inode: int, path: str) -> None:
        self.start, self.end, self.offset, self.inode, self.path = start, end, offset, inode, path


def code_mappings(text: str) -> list[Mapping]:
    """What /proc/PID/maps tells of executable files."""
    found = []
    for line in text.splitlines()[:_MOST_MAPS]:
        words = line.split(None, 5)
        if len(words) == 6 and "x" in words[1] and words[5].startswith("/"):
            start, _, end = words[0].partition("-")
            path = words[5].removesuffix(" (deleted)")
            found.append(Mapping(int(start, 16), int(end, 16), int(words[2], 16), int(words[4]), path))
    return found


class Reader:
    """Native stacks of one process. Raises OSError when its memory can't be read.

    `ahead`: files are read now, and not while a thread stands still.
    """

    def __init__(self, pid: int, *, ahead: bool = True) -> None:
        self._pid = pid
        self._memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        self._images: dict[tuple[str, int], Image | None] = {}
        self._mappings: list[Mapping] = []
        self._demangle = demangler()
        self._named: dict[int, str] = {}
        self._refresh()
        for each in self._mappings if ahead else ():
            self._image(each)

    def close(self) -> None:
        """Give everything back."""
        os.close(self._memory)

    def stack(self, tid: int) -> str:
        """The folded stack of a thread that this process's tracer holds; "" when there is none. Raises OSError."""
        addresses = self.addresses(registers(tid))
        return ";".join(
            self._name(address, caller=index > 0) for index, address in reversed(list(enumerate(addresses)))
        )

    def addresses(self, known: dict[int, int]) -> list[int]:
        """From registers by DWARF's numbers to the addresses of code, innermost first."""
        found: list[int] = []
        signal_frame = True  # the first is where it stands, not where a call returns to
        while len(found) < MOST_FRAMES:
            address = known[_RETURN]
            found.append(address)
            caller, signal_frame = self._caller(known, address if signal_frame else address - 1)
            if caller is None or caller[_STACK_POINTER] <= known[_STACK_POINTER] or not caller[_RETURN]:
                break
            known = caller
        return found

    def _caller(self, known: dict[int, int], address: int) -> tuple[dict[int, int] | None, bool]:
        row = None
        try:
            mapping = self._mapping(address)
            image = self._image(mapping) if mapping is not None else None
            if image is not None and mapping is not None:
                row = image.row(image.address(address - mapping.start + mapping.offset))
        except ELFError:
            pass
        if row is None:
            return self._by_frame_pointer(known), False
        if row.cfa_register not in known or row.rules.get(row.return_register, ("", 0))[0] != "offset":
            return None, False
        frame = known[row.cfa_register] + row.cfa_offset
        caller = {number: known[number] for number in _KEPT if number in known}
        for number, (how, where) in row.rules.items():
            value = known.get(where) if how == "register" else None
            if how == "offset":
                value = self._word(frame + where)
            if value is not None:
                caller[number] = value
            else:
                caller.pop(number, None)
        if row.return_register not in caller:
            return None, False
        caller[_RETURN] = caller[row.return_register]
        caller.setdefault(_STACK_POINTER, frame)
        return caller, row.signal_frame

    def _by_frame_pointer(self, known: dict[int, int]) -> dict[int, int] | None:
        pointer = known.get(_FRAME_POINTER, 0)
        if not 0 <= pointer - known[_STACK_POINTER] < _NO_STACK_BYTES:
            return None
        before, back = self._word(pointer), self._word(pointer + 8)
        if before is None or back is None:
            return None
        return {_FRAME_POINTER: before, _RETURN: back, _STACK_POINTER: pointer + 16}

    def _word(self, address: int) -> int | None:
        try:
            data = os.pread(self._memory, 8, address)
        except (OSError, OverflowError):
            return None
        return int.from_bytes(data, "little") if len(data) == 8 else None

    def _refresh(self) -> None:
        with open(f"/proc/{self._pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
            self._mappings = code_mappings(file.read())

    def _mapping(self, address: int) -> Mapping | None:
        return next((each for each in self._mappings if each.start <= address < each.end), None)

    def _image(self, mapping: Mapping) -> Image | None:
        key = mapping.path, mapping.inode
        if key not in self._images:
            self._images[key] = self._open(mapping)
        return self._images[key]

    def _open(self, mapping: Mapping) -> Image | None:
        """The very file that is mapped, also one that was replaced since, where the kernel lets us."""
        ways = (f"/proc/{self._pid}/map_files/{mapping.start:x}-{mapping.end:x}", f"/proc/{self._pid}/exe",
                f"/proc/{self._pid}/root{mapping.path}")  # fmt: skip
        for path in ways:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:
                continue
            try:
                if os.fstat(fd).st_ino == mapping.inode:
                    return Image(fd)
            except (OSError, ELFError):
                pass
            finally:
                os.close(fd)
        return None

    def _name(self, address: int, *, caller: bool) -> str:
        """The frame of an address, `function (file)`."""
        at = address - 1 if caller else address
        name = self._named.get(at)
        if name is None:
            name = self._named[at] = self._resolved(at)
        return name

    def _resolved(self, at: int) -> str:
        mapping = self._mapping(at)
        if mapping is None:
            return folded.frame("(code without a file)", None)
        image = self._image(mapping)
        symbol, start = None, at - mapping.start + mapping.offset
        if image is not None:
            try:
                address = image.address(start)
                symbol = image.symbol(address)
                row = image.row(address) if symbol is None else None
                start = row.start if row is not None else address
            except ELFError:
                pass
        name = self._demangle(symbol) if symbol else f"{os.path.basename(mapping.path)}{_NAMELESS}{start:x}"
        return folded.frame(name, RUNTIME if is_runtime(name) else mapping.path)


def threads(pid: int) -> list[dict[str, Any]]:
    """All threads as `kernel.threads` tells, with their native stacks: each stands still for a fraction of a
    millisecond. For a process that isn't stopped. Raises OSError where it may not be traced, or is gone.
    """
    found = kernel.threads(pid)
    reader = Reader(pid)
    refused: OSError | None = None
    left = found
    try:
        for attempt in range(_TRIES):
            held = []
            for thread in left:
                try:
                    _add_frames(reader, thread)
                except ProcessLookupError:
                    continue
                except OSError as error:  # `growth` holds it at this moment, or nobody may
                    refused = error
                    held.append(thread)
            if not held or (attempt == 1 and len(held) == len(found)):
                break
            left = held
            time.sleep(_HELD_S)
    finally:
        reader.close()
    if len(left) == len(found) and held and refused is not None:
        raise refused
    return found


def _add_frames(reader: Reader, thread: dict[str, Any]) -> None:
    """Raises OSError (ESRCH, EPERM)."""
    tracer = tracing.Tracer()
    tid = thread["os_thread_id"]
    tracer.seize(tid)
    try:
        tracer.interrupt(tid)
        if tracer.next(time.monotonic() + _STOP_S) is not None:
            for text in reversed(reader.stack(tid).split(";")):
                function, file, _ = folded.split_frame(text)
                thread["frames"].append(kernel.frame(function, file or ""))
    finally:
        tracer.release()


_GO = (  # the packages of Go's library
    "archive|bufio|bytes|cmp|compress|container|context|crypto|database|debug|embed|encoding|errors|expvar|flag|fmt|go|"
    "hash|html|image|index|io|iter|log|maps|math|mime|net|os|path|plugin|regexp|slices|sort|strconv|strings|syscall|"
    "testing|text|time|unicode|unique|vendor|weak"
)
# Compiled into the program itself: whoever calls these takes the memory.
_RUNTIME = re.compile(
    r"(?:(?!<)[\w:<>*& ]+ )?(?:std|core|alloc|hashbrown|__gnu_cxx|__cxxabiv1)::|operator (?:new|delete)"
    r"|_?(?:<|\$LT\$)(?:std|core|alloc|hashbrown)|_R\w*?Cs\w+?_(?:3std|4core|5alloc|9hashbrown)"
    r"|(?:runtime|internal|reflect|sync)[./]|__r(?:ust|dl|g)_\w+$|(?:"
    + _GO
    + r")(?:/[^.]*)?\.(?!part|cold|const|isra|lto)"
    r"|(?:_?_?libc_|_int_|__)?(?:malloc|calloc|realloc|memset|memcpy|memmove)(?:_\w+)?$|sysmalloc$"
)


def is_runtime(function: str) -> bool:
    """Whether a function of a program belongs to its language: templates of C++, Rust's and Go's libraries."""
    return _RUNTIME.match(function) is not None


def is_named(function: str) -> bool:
    """Whether a frame's function was found in a table of symbols."""
    return _NAMELESS not in function and not function.startswith("(code")


def registers(tid: int) -> dict[int, int]:
    """A stopped thread's registers by DWARF's numbers. Raises OSError."""
    buffer = ctypes.create_string_buffer(27 * 8)
    vector = struct.pack("@PN", ctypes.addressof(buffer), len(buffer))
    place = ctypes.create_string_buffer(vector, len(vector))
    if tracing.libc.ptrace(_GETREGSET, tid, _PRSTATUS, ctypes.addressof(place)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    values = struct.unpack_from("<20Q", buffer)
    return {number: value for number, value in zip(_ORDER, values, strict=True) if number is not None}


Demangle = Callable[[str], str]


def demangler() -> Demangle:
    """C++ and Rust names as people write them, by the C++ library's own function where there is one."""
    try:
        function = ctypes.CDLL("libstdc++.so.6").__cxa_demangle
    except (OSError, AttributeError):
        return lambda name: name
    function.restype = ctypes.c_void_p
    function.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]

    def demangle(name: str) -> str:
        if not name.startswith("_Z"):
            return name
        plain = name.partition(".llvm.")[0]  # what link-time optimisation adds
        found = function(plain.encode("utf-8", "replace"), None, None, None)
        if not found:
            return name
        text = ctypes.string_at(found).decode("utf-8", "backslashreplace")
        tracing.libc.free(ctypes.c_void_p(found))
        return _RUST_HASH.sub("", text)

    return demangle
