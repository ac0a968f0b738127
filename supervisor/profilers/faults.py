"""Stopping a thread exactly where its process takes new memory.

A stack taken some time after RSS grew names whatever runs then, which is the busy code again. So the thread is caught
in the act: a perf software event counts its page faults, and on the n-th the kernel sends the thread a signal, which
this tracer sees before the thread does and swallows. The thread stays stopped at the very instruction that touched
new memory while its stack is read, and goes on as if nothing had been.

Sources: perf_event_open(2), fcntl(2) (F_SETSIG, F_SETOWN_EX).
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import platform
import signal
import struct
import sys
import time

from supervisor.profilers import tracing

_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
_TYPE_SOFTWARE, _PAGE_FAULTS = 1, 2
_SAMPLE_ADDRESS, _RECORD_SAMPLE = 1 << 3, 9
_DATA_HEAD, _DATA_TAIL = 1024, 1032  # in the first page of an event's ring
_DISABLED, _EXCLUDE_KERNEL, _EXCLUDE_HV = 1, 1 << 5, 1 << 6
_ENABLE, _DISABLE = 0x2400, 0x2401
_F_SETSIG, _F_SETOWN_EX, _F_OWNER_TID = 10, 15, 0
# Its default action is to ignore it, so that one which slips through does nothing.
_MARK = int(signal.SIGURG)
_FRAME = (1 << 55) - 1
_BLOCK_BITS = 16
_MOST_BLOCKS = 256
_MOST_PASSED = 1000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class FaultTrap:
    """Catches a thread of a process at a page fault. Raises OSError where perf events or ptrace are refused.

    Code that takes a small buffer and gives it back, again and again, faults more often than code that keeps what it
    takes. So the page is looked at after the catch, and a block of memory that was given back isn't stopped at again.
    """

    cost_share = 0.0

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._pagemap = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        self._caught = self._frame = 0  # the address, 0 when none is known; which page of the machine's is there
        self._temporary: dict[int, None] = {}  # blocks, oldest first
        self._events: dict[int, tuple[int, mmap.mmap]] = {}
        self._tracer = tracing.Tracer(born=True)
        self._period = 1
        self._flags = _DISABLED | _EXCLUDE_HV
        try:
            self._arm_events(1)
        except OSError:
            os.close(self._pagemap)
            raise
        for fd, _ in self._events.values():
            fcntl.ioctl(fd, _DISABLE, 0)

    def close(self) -> None:
        """Give everything back."""
        self.release()
        for fd, ring in self._events.values():
            ring.close()
            os.close(fd)
        self._events.clear()
        if self._pagemap >= 0:
            os.close(self._pagemap)
            self._pagemap = -1

    def arm(self, period: int) -> None:
        """Seize the threads and count their faults from 0; the `period`-th of one of them stops it.

        A thread that is late, or that somebody else traces, is left out; with no other that is an OSError.
        """
        tracing.sweep()
        self._period = period
        self._arm_events(period)
        failure: OSError | None = None
        seized = False
        for tid, (fd, _) in list(self._events.items()):
            if tracing.is_late(tid):
                continue
            try:
                self._tracer.seize(tid)
            except ProcessLookupError:
                continue
            except OSError as error:
                failure = error
                continue
            seized = True
            fcntl.ioctl(fd, _ENABLE, 0)
        if not seized and failure is not None:
            raise failure

    def wait(self, timeout_s: float) -> int | None:
        """The thread that was stopped at a fault, or None. Signals of others' making are delivered as they come."""
        deadline_s = time.monotonic() + timeout_s
        passed = 0
        self._caught = 0
        while (stopped := self._tracer.next(deadline_s)) is not None:
            tid, number = stopped
            if number == _MARK and tracing.sent_by_kernel(tid):
                address = self._address(tid)
                if address >> _BLOCK_BITS not in self._temporary or passed >= _MOST_PASSED:
                    there, self._frame = self._page(address)
                    self._caught = address if there else 0
                    return tid
                passed += 1
                number = 0
            elif number == 0 and tid not in self._events and len(self._events) < tracing.MOST_THREADS:
                self._count(tid)
            self._tracer.go_on(tid, number)
        return None

    def stays(self) -> bool | None:
        """Whether the page that was caught is still there: the same, where the kernel tells that (CAP_SYS_ADMIN)."""
        if not self._caught:
            return None
        there, frame = self._page(self._caught)
        if there and frame == self._frame:
            return True
        self._temporary[self._caught >> _BLOCK_BITS] = None
        if len(self._temporary) > _MOST_BLOCKS:
            del self._temporary[next(iter(self._temporary))]
        return False

    def _page(self, address: int) -> tuple[bool, int]:
        """Whether a page is in memory or swapped out, and its frame, 0 when that isn't told. proc_pid_pagemap(5)."""
        try:
            data = os.pread(self._pagemap, 8, address // mmap.PAGESIZE * 8)
        except OSError:
            return True, self._frame
        entry = int.from_bytes(data, sys.byteorder)
        return bool(entry >> 62) or len(data) < 8, entry & _FRAME if entry >> 63 else 0

    def _address(self, tid: int) -> int:
        """Where the thread's last fault was; 0 when the kernel didn't tell."""
        event = self._events.get(tid)
        if event is None:
            return 0
        ring = event[1]
        address = 0
        (head, tail) = struct.unpack_from("=QQ", ring, _DATA_HEAD)
        while head - tail >= 8:
            record = bytes(ring[mmap.PAGESIZE + (tail + each) % mmap.PAGESIZE] for each in range(min(16, head - tail)))
            kind, _, size = struct.unpack_from("=IHH", record)
            if kind == _RECORD_SAMPLE and len(record) == 16:
                (address,) = struct.unpack_from("=Q", record, 8)
            tail += max(size, 8)
        struct.pack_into("=Q", ring, _DATA_TAIL, head)
        return int(address)

    def release(self) -> None:
        """Let all threads go."""
        for fd, _ in self._events.values():
            fcntl.ioctl(fd, _DISABLE, 0)
        self._tracer.release(swallow=_MARK)

    def _arm_events(self, period: int) -> None:
        living = tracing.threads(self._pid)[: tracing.MOST_THREADS]
        for tid in [tid for tid in self._events if tid not in living]:
            fd, ring = self._events.pop(tid)
            ring.close()
            os.close(fd)
        for tid in living:
            if tid in self._events:
                fcntl.ioctl(self._events[tid][0], 0x40082404, struct.pack("=Q", period))  # PERF_EVENT_IOC_PERIOD
                continue
            try:
                self._add(tid, period)
            except ProcessLookupError:
                continue

    def _count(self, tid: int) -> None:
        """A thread that was born while the trap is set has a count of its own."""
        try:
            self._add(tid, self._period)
        except OSError:
            return
        fcntl.ioctl(self._events[tid][0], _ENABLE, 0)

    def _add(self, tid: int, period: int) -> None:
        fd = self._open(tid, period)
        try:
            ring = mmap.mmap(fd, 2 * mmap.PAGESIZE)
            fcntl.fcntl(fd, _F_SETOWN_EX, struct.pack("=ii", _F_OWNER_TID, tid))
            fcntl.fcntl(fd, _F_SETSIG, _MARK)
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
        except OSError:
            os.close(fd)
            raise
        self._events[tid] = (fd, ring)

    def _open(self, tid: int, period: int) -> int:
        number = _PERF_EVENT_OPEN.get(platform.machine())
        if number is None:
            raise OSError(38, os.strerror(38))
        # Faults that the kernel takes for the process (a read into a new buffer) count where that is allowed.
        for flags in dict.fromkeys((self._flags, _DISABLED | _EXCLUDE_HV | _EXCLUDE_KERNEL)):
            attributes = bytearray(128)
            struct.pack_into(
                "=IIQQQQQ", attributes, 0, _TYPE_SOFTWARE, 128, _PAGE_FAULTS, period, _SAMPLE_ADDRESS, 0, flags
            )
            struct.pack_into("=I", attributes, 48, 1)  # wake up at every event
            buffer = (ctypes.c_char * 128).from_buffer(attributes)
            fd = int(_libc.syscall(number, buffer, tid, -1, -1, 8))  # 8: close on exec
            if fd >= 0:
                self._flags = flags
                return fd
            error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
