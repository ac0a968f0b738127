"""Stopping a thread where its process asks the kernel for memory, when page faults can't be counted.

Most containers refuse perf events and allow ptrace. New memory comes by mmap, mremap and brk: an arena of 1 MiB for
Python's small objects, or one large object; what malloc has for other threads than the main one grows by mprotect. So
for a moment the threads stop at their system calls, and the one that asks for memory is held where it asks. What it got
is looked for again a moment later: a mapping that is gone by then was temporary, and its stack gets no weight. Each
system call costs the process some 10 µs while a trap is armed.

Sources: ptrace(2) (PTRACE_GET_SYSCALL_INFO), syscall(2), mmap(2).
"""

from __future__ import annotations

import ctypes
import platform
import struct
import time

from supervisor.profilers import tracing

_GET_SYSCALL_INFO = 0x420E
_ENTRY, _EXIT = 1, 2
_INFO_BYTES = 88
# mmap, mremap, brk, mprotect
_NUMBERS = {"x86_64": (9, 25, 12, 10), "aarch64": (222, 216, 214, 226)}
_MOST_STACKS = 64
_PROT_WRITE, _MAP_ANONYMOUS, _MAP_STACK = 2, 0x20, 0x20000
_LEAST_BYTES = 64 << 10  # less is no arena and no large object


class SyscallTrap:
    """Catches a thread at a call that takes memory. Raises OSError where ptrace is refused."""

    cost_share = 0.5
    PATIENCE_S = 0.05

    def __init__(self, pid: int) -> None:
        self._pid = pid
        numbers = _NUMBERS.get(platform.machine())
        if numbers is None:
            raise OSError(38, "not written for this processor")
        self._numbers = numbers
        self._tracer = tracing.Tracer(syscalls=True, born=True)
        # By tid, until the call returns: the bytes that it asks for, and where, if it names a place.
        self._asked: dict[int, tuple[int, int | None]] = {}
        self._got: tuple[int, int] | None = None
        self._starting: dict[int, int] = {}  # tid -> bytes of a new thread's stack, until the call returns
        self._stacks: dict[int, int] = {}  # start -> end; what is opened there by mprotect is no heap

    def close(self) -> None:
        """Give everything back."""
        self.release()

    def arm(self, period: int) -> None:
        """Have the threads stop at their next system calls."""
        tracing.sweep()
        self._asked.clear()
        self._starting.clear()
        self._got = None
        failure: OSError | None = None
        seized = 0
        for tid in tracing.threads(self._pid)[: tracing.MOST_THREADS]:
            if tracing.is_late(tid):
                continue
            try:
                self._tracer.seize(tid)
            except OSError as error:
                failure = error
                continue
            seized += 1
            self._tracer.interrupt(tid)
        if not seized and failure is not None:
            raise failure

    def wait(self, timeout_s: float) -> int | None:
        """The thread that got memory, stopped as its call returns; or None."""
        deadline_s = time.monotonic() + min(timeout_s, self.PATIENCE_S)
        while (stopped := self._tracer.next(deadline_s)) is not None:
            tid, number = stopped
            if number == tracing.SYSCALL_STOP:
                if self._takes_memory(tid):
                    return tid
                number = 0
            self._tracer.go_on(tid, number)
        return None

    def release(self) -> None:
        """Let all threads go."""
        self._tracer.release()

    def stays(self) -> bool | None:
        """False when the memory that was caught has been given back since; that it is mapped doesn't say it is used."""
        if self._got is None:
            return None
        start, size = self._got
        covered = 0
        try:
            with open(f"/proc/{self._pid}/maps", "rb") as file:
                for line in file:
                    low, _, high = line.split(None, 1)[0].partition(b"-")
                    covered += max(0, min(int(high, 16), start + size) - max(int(low, 16), start))
        except (OSError, ValueError):
            return None
        return None if covered >= size // 2 else False

    def _takes_memory(self, tid: int) -> bool:
        """At a call's entry: what it asks for is noted. At its return: whether it got that."""
        buffer = ctypes.create_string_buffer(_INFO_BYTES)
        if tracing.libc.ptrace(_GET_SYSCALL_INFO, tid, _INFO_BYTES, ctypes.addressof(buffer)) <= 0:
            return False
        return self._note(tid, buffer.raw)

    def _note(self, tid: int, info: bytes) -> bool:
        """`info`: struct ptrace_syscall_info. Whether the thread has got memory."""
        if info[0] not in (_ENTRY, _EXIT):
            return False
        # One that took a signal, or was let go in between, may not have been seen to return.
        asked, stack_bytes = self._asked.pop(tid, None), self._starting.pop(tid, 0)
        if info[0] == _ENTRY:
            call = struct.unpack_from("=7Q", info, 24)
            size = self._size(*call)
            if size >= _LEAST_BYTES:
                self._asked[tid] = size, (call[1] if call[0] == self._numbers[3] else None)
            elif call[0] == self._numbers[0] and call[4] & _MAP_STACK:
                self._starting[tid] = call[2]
            return False
        value, failed = struct.unpack_from("=QB", info, 24)
        if failed:
            return False
        if stack_bytes:
            self._note_stack(value, stack_bytes)
        elif asked is not None:
            size, place = asked
            # brk returns the new end and is never taken back in part by what follows: nothing to look for.
            self._got = None if size == _LEAST_BYTES else (value if place is None else place, size)
            return True
        return False

    def _size(self, number: int, *arguments: int) -> int:
        """Bytes that a call asks for; of brk, which names an end and no size, the least that counts."""
        mmap, mremap, brk, mprotect = self._numbers
        if number == mmap:
            wanted = arguments[2] & _PROT_WRITE and arguments[3] & _MAP_ANONYMOUS and not arguments[3] & _MAP_STACK
            return arguments[1] + 1 if wanted else 0
        if number == mremap:
            return arguments[2] + 1 if arguments[2] > arguments[1] else 0
        if number == mprotect:
            start, size, rights = arguments[:3]
            heap = rights & _PROT_WRITE and not any(low <= start < high for low, high in self._stacks.items())
            return size + 1 if heap else 0
        return _LEAST_BYTES if number == brk and arguments[0] else 0

    def _note_stack(self, start: int, size: int) -> None:
        self._stacks[start] = start + size
        if len(self._stacks) > _MOST_STACKS:
            del self._stacks[next(iter(self._stacks))]
