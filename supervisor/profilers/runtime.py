"""The runtime of a running CPython 3.14+, found in its memory: where a script can be left for it to run (PEP 768).

CPython says itself where its fields are: `_PyRuntime`, in the program's or libpython's data, begins with a table of
offsets. Which field has which place in that table changes with the minor version; those known are below. Nothing is
believed unchecked: the thread that is found must be the process's main thread and belong to the interpreter found.

Sources: PEP 768, CPython's howto/remote_debugging and Include/internal/pycore_debug_offsets.h of 3.14 and 3.15,
proc_pid_mem(5).
"""

from __future__ import annotations

import os
import struct

from supervisor import sample
from supervisor.profilers import agent, lent
from supervisor.profilers.failure import Failure, gone

_COOKIE = b"xdebugpy"
_HEAD = struct.Struct("=8sQQ")  # cookie, PY_VERSION_HEX, free-threaded
_FINAL = 0xF  # the release level of a version that isn't a pre-release
_MOST_MAPPING = 16 << 20
_MOST_INTERPRETERS = 64
_PLEASE_STOP = 1 << 5
# What might be set in the moment between reading and writing comes true without cause instead of being lost: signals,
# pending calls and an asynchronous exception are looked for, and there are none.
_ASK_ALL = 1 << 1 | 1 << 2 | 1 << 3
_FINALIZING, _INTERPRETERS, _ID, _NEXT, _MAIN_THREAD = 4, 5, 7, 8, 10  # words of the table, in every version known
# By minor version: the words of a thread's interpreter, of its native id and of what a debugger needs.
_WORDS = {14: (25, 28, 89), 15: (25, 31, 105)}
NEWEST = max(_WORDS)


class Runtime:
    """Where things are in a process's memory. `enabled`: it lets itself be debugged; `others`: its subinterpreters."""

    def __init__(self, pid: int, memory_fd: int) -> None:
        self.pid = pid
        self.left = False  # whether a script was left by this
        self._fd = memory_fd
        base = self._find()
        _, version, free_threaded = _HEAD.unpack(self._read(base, _HEAD.size))
        self.version = (version >> 24, version >> 16 & 0xFF)
        if free_threaded:
            said = f"a free-threaded Python {self.version[0]}.{self.version[1]} has no GIL that counting could rely on"
            raise Failure("free-threaded", said, "run it with a Python that has a GIL")
        words = _WORDS.get(self.version[1]) if self.version[0] == 3 else None
        if words is None or version >> 4 & 0xF != _FINAL:
            said = f"its runtime's layout (version {version:#x}) isn't known; final versions are, up to 3.{NEWEST}"
            raise Failure("runtime-unknown", said, agent.RUN_HINT)
        owner, native, support = words
        table = struct.unpack(f"={support + 6}Q", self._read(base, 8 * (support + 6)))
        breaker, place, enabled, pending, path, self.path_bytes = table[support:]
        if self._word(base + table[_FINALIZING]):
            raise Failure("target-ends", "its Python is shutting down", agent.RUN_HINT)
        interpreter, self.others = self._main(self._word(base + table[_INTERPRETERS]), table)
        thread = self._word(interpreter + table[_MAIN_THREAD])
        inner = agent.inner_pid(pid)
        if (
            not thread
            or self._word(thread + table[owner]) != interpreter
            or self._word(thread + table[native]) != inner
            or not 64 <= self.path_bytes <= 4096
        ):
            said = "its main interpreter has no main thread that could be found"
            raise Failure("runtime-unknown", said, agent.RUN_HINT)
        self.enabled = self._int(interpreter + enabled) == 1
        self._breaker = thread + breaker
        self._pending = thread + place + pending
        self._path = thread + place + path

    def _find(self) -> int:
        """The address of `_PyRuntime`: by its cookie, in what the program and libpython have as data."""
        try:
            program = os.readlink(f"/proc/{self.pid}/exe").removesuffix(" (deleted)")
            with open(f"/proc/{self.pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
                lines = file.readlines()
        except OSError as error:
            raise gone(self.pid, f"process {self.pid}: {error.strerror}") from error
        for line in lines:
            span, rights, _, _, _, *name = line.split(maxsplit=5)
            path = name[0].rstrip("\n").removesuffix(" (deleted)") if name else ""
            if not rights.startswith("rw") or not (path == program or "/libpython" in path):
                continue
            start, end = (int(word, 16) for word in span.split("-"))
            data = self._read(start, min(end - start, _MOST_MAPPING))
            at = data.find(_COOKIE)
            while at >= 0:
                if at % 8 == 0 and at + _HEAD.size <= len(data):
                    _, version, free_threaded = _HEAD.unpack_from(data, at)
                    if version >> 24 == 3 and free_threaded in (0, 1):
                        return start + at
                at = data.find(_COOKIE, at + 1)
        raise Failure("runtime-unknown", "its memory shows no runtime of CPython 3.14 or newer", agent.RUN_HINT)

    def _main(self, head: int, table: tuple[int, ...]) -> tuple[int, int]:
        """The main interpreter (its id is 0) and how many others there are. The list begins with the newest."""
        address, others = head, 0
        while address and others < _MOST_INTERPRETERS:
            if self._word(address + table[_ID]) == 0:
                return address, others
            address = self._word(address + table[_NEXT])
            others += 1
        raise Failure("runtime-unknown", "its main interpreter wasn't found", agent.RUN_HINT)

    def leave(self, path: str) -> None:
        """Have the main thread run the script at `path` as soon as it gets to it. Raises Failure.

        Of the word that makes it look only the byte of its events is written: the rest is not a debugger's.
        """
        data = os.fsencode(path) + b"\0"
        if len(data) > self.path_bytes:
            raise Failure("path-too-long", f"{path} has more than {self.path_bytes} bytes", agent.RUN_HINT)
        if self.pending():
            raise Failure("debugged", "a debugger's script waits for its main thread already", "once more, later")
        self.left = True
        self._write(self._path, data)
        self._write(self._pending, struct.pack("=i", 1))
        events = self._read(self._breaker, 1)[0]
        self._write(self._breaker, bytes((events | _PLEASE_STOP | _ASK_ALL,)))

    def pending(self) -> bool:
        """Whether a script still waits to be run."""
        return self._int(self._pending) != 0

    def take_back(self) -> bool:
        """guard's script is to be run no more; whether it still waited. Raises Failure."""
        waited = self.left and self.pending()
        if waited:
            self._write(self._pending, struct.pack("=i", 0))
        return waited

    def _read(self, address: int, size: int) -> bytes:
        try:
            data = os.pread(self._fd, size, address)
        except (OSError, OverflowError) as error:
            raise Failure("runtime-unknown", f"its memory can't be read at {address:#x}: {error}", _DOCTOR) from error
        if len(data) < min(size, _HEAD.size):
            raise gone(self.pid)
        return data

    def _write(self, address: int, data: bytes) -> None:
        try:
            written = os.pwrite(self._fd, data, address)
        except (OSError, OverflowError) as error:
            raise Failure("memory-refused", f"its memory can't be written: {error}", _DOCTOR) from error
        if written < len(data):
            raise gone(self.pid)

    def _word(self, address: int) -> int:
        return int(struct.unpack("=Q", self._read(address, 8))[0])

    def _int(self, address: int) -> int:
        return int(struct.unpack("=i", self._read(address, 4))[0])

    def close(self) -> None:
        """Let go of the process's memory."""
        os.close(self._fd)


_DOCTOR = "guard doctor --pid PID"


def open_runtime(pid: int) -> Runtime:
    """The runtime of a process. Nothing is written. Raises Failure: why there is none that guard could use."""
    fd = sample.open_memory(pid, write=True)
    known = lent.of(pid)
    if fd is None and known is not None:
        fd = os.dup(known.memory_fd)
    if fd is None:
        raise Failure("ptrace-refused", "its memory may not be opened", "")
    try:
        return Runtime(pid, fd)
    except BaseException:
        os.close(fd)
        raise
