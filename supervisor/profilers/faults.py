"""Stopping a thread exactly where its process takes new memory.

A stack taken some time after RSS grew names whatever runs then, which is the busy code again. So the thread is caught
in the act: a perf software event counts its page faults, and on the n-th the kernel sends the thread a signal, which
this tracer sees before the thread does and swallows. The thread stays stopped at the very instruction that touched
new memory while its stack is read, and goes on as if nothing had been. When this process dies, the kernel detaches
it: no thread is ever left stopped.

Sources: perf_event_open(2), ptrace(2) (PTRACE_SEIZE), fcntl(2) (F_SETSIG, F_SETOWN_EX).
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

_SEIZE, _INTERRUPT, _LISTEN, _DETACH, _CONT = 0x4206, 0x4207, 0x4208, 17, 7
_SYSCALL, _TRACESYSGOOD = 24, 1
_TRACECLONE, _EVENT_CLONE = 8, 3
_GETEVENTMSG, _GETSIGINFO = 0x4201, 0x4202
SYSCALL_STOP = int(signal.SIGTRAP) | 0x80
_WALL = 0x40000000
_EVENT_STOP = 128
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
_TYPE_SOFTWARE, _PAGE_FAULTS = 1, 2
_SAMPLE_ADDRESS, _RECORD_SAMPLE = 1 << 3, 9
_DATA_HEAD, _DATA_TAIL = 1024, 1032  # in the first page of an event's ring
_DISABLED, _EXCLUDE_KERNEL, _EXCLUDE_HV = 1, 1 << 5, 1 << 6
_ENABLE, _DISABLE = 0x2400, 0x2401
_F_SETSIG, _F_SETOWN_EX, _F_OWNER_TID = 10, 15, 0
# Its default action is to ignore it, so that one which slips through does nothing.
_MARK = int(signal.SIGURG)
MOST_THREADS = 256
_FRAME = (1 << 55) - 1
_BLOCK_BITS = 16
_MOST_BLOCKS = 256
_MOST_PASSED = 1000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.syscall.restype = ctypes.c_long


def _ptrace(request: int, tid: int, data: int = 0) -> None:
    """ptrace(2). Raises OSError."""
    if libc.ptrace(request, tid, None, data or None) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _sent_by_kernel(tid: int) -> bool:
    """Whether the signal that a stopped thread is about to take comes from an event; Go sends itself the same one."""
    place = ctypes.create_string_buffer(128)
    if libc.ptrace(_GETSIGINFO, tid, None, ctypes.addressof(place)) < 0:
        return True
    return int(struct.unpack_from("=iii", place)[2]) > 0  # si_code: SI_TKILL and the like are negative or 0


def threads(pid: int) -> list[int]:
    """Thread ids of a process; empty when it is gone."""
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


class Tracer:
    """Seizes threads (they run on), sees their stops, and always lets them go again."""

    def __init__(self, *, syscalls: bool = False, born: bool = False) -> None:
        """`syscalls`: a thread that was stopped once stops at its system calls, too (signal SYSCALL_STOP).

        `born`: threads that seized ones start are seized as well; the first stop of each, signal 0, shows in `poll`.
        """
        self._seized: dict[int, int] = {}  # tid -> signal to deliver on release, -1 while it runs
        self._options = (_TRACESYSGOOD if syscalls else 0) | (_TRACECLONE if born else 0)
        self._resume = _SYSCALL if syscalls else _CONT

    def seize(self, tid: int) -> None:
        """Become the tracer of a thread without stopping it. Raises OSError (EPERM, ESRCH)."""
        _ptrace(_SEIZE, tid, self._options)
        self._seized[tid] = -1

    def poll(self) -> tuple[int, int] | None:
        """(tid, signal) of a thread that stopped to take a signal, or None. Other stops are passed on."""
        waiting = list(self._seized)
        while waiting:
            tid = waiting.pop()
            if self._seized[tid] >= 0:
                continue
            try:
                pid, status = os.waitpid(tid, os.WNOHANG | _WALL)
            except ChildProcessError:
                self._seized.pop(tid, None)
                continue
            if pid == 0:
                continue
            if not os.WIFSTOPPED(status):
                self._seized.pop(tid, None)
                continue
            number, event = os.WSTOPSIG(status), status >> 16
            if event == _EVENT_STOP and number != signal.SIGTRAP:
                self._try(_LISTEN, tid)  # job control stopped it: it stays so
            elif event == _EVENT_CLONE:
                waiting += self._take_child(tid)  # its own stop may be there already
                self._try(self._resume, tid)
            elif event:
                self._seized[tid] = 0
                return tid, 0
            elif number == SYSCALL_STOP:
                self._seized[tid] = 0
                return tid, number
            else:
                self._seized[tid] = number
                return tid, number
        return None

    def next(self, deadline_s: float) -> tuple[int, int] | None:
        """What `poll` gives, waited for until the deadline; for SIGCHLD, which the caller has blocked."""
        while (stopped := self.poll()) is None:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return None
            signal.sigtimedwait((signal.SIGCHLD,), left_s)
        return stopped

    def go_on(self, tid: int, number: int) -> None:
        """Let a stopped thread run on, with this signal delivered (0: none)."""
        self._seized[tid] = -1
        self._try(self._resume, tid, number)

    def interrupt(self, tid: int) -> None:
        """Stop a seized thread; the stop shows in `poll`."""
        self._try(_INTERRUPT, tid)

    def release(self, swallow: int = 0) -> None:
        """Detach from every thread; signals that wait at a stop are delivered, but for `swallow`."""
        while self._seized:  # one that is just starting another adds to it
            tid, known = self._seized.popitem()
            waiting: int | None = known
            if known < 0:
                self._try(_INTERRUPT, tid)
                waiting = self._settle(tid)
            if waiting is not None:
                self._try(_DETACH, tid, 0 if waiting == swallow else waiting)

    def _settle(self, tid: int) -> int | None:
        """Wait for the stop asked for; the signal to deliver, or None when the thread is gone."""
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            try:
                pid, status = os.waitpid(tid, os.WNOHANG | _WALL)
            except ChildProcessError:
                return None
            if pid:
                if not os.WIFSTOPPED(status):
                    return None
                if status >> 16 == _EVENT_CLONE:
                    self._take_child(tid)
                number = os.WSTOPSIG(status)
                return 0 if status >> 16 or number == SYSCALL_STOP else number
            time.sleep(0.0002)
        return None

    def _take_child(self, tid: int) -> list[int]:
        """The thread that this one has just started: the kernel seized it already."""
        child = ctypes.c_ulong()
        if libc.ptrace(_GETEVENTMSG, tid, None, ctypes.addressof(child)) < 0 or child.value in self._seized:
            return []
        self._seized[child.value] = -1
        return [child.value]

    def _try(self, request: int, tid: int, data: int = 0) -> None:
        try:
            _ptrace(request, tid, data)
        except OSError:
            pass


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
        self._tracer = Tracer(born=True)
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
        """Seize the threads and count their faults from 0; the `period`-th of one of them stops it."""
        self._period = period
        self._arm_events(period)
        for tid, (fd, _) in list(self._events.items()):
            try:
                self._tracer.seize(tid)
            except ProcessLookupError:
                continue
            fcntl.ioctl(fd, _ENABLE, 0)

    def wait(self, timeout_s: float) -> int | None:
        """The thread that was stopped at a fault, or None. Signals of others' making are delivered as they come."""
        deadline_s = time.monotonic() + timeout_s
        passed = 0
        self._caught = 0
        while (stopped := self._tracer.next(deadline_s)) is not None:
            tid, number = stopped
            if number == _MARK and _sent_by_kernel(tid):
                address = self._address(tid)
                if address >> _BLOCK_BITS not in self._temporary or passed >= _MOST_PASSED:
                    there, self._frame = self._page(address)
                    self._caught = address if there else 0
                    return tid
                passed += 1
                number = 0
            elif number == 0 and tid not in self._events and len(self._events) < MOST_THREADS:
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
        living = threads(self._pid)[:MOST_THREADS]
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
            fd = int(libc.syscall(number, buffer, tid, -1, -1, 8))  # 8: close on exec
            if fd >= 0:
                self._flags = flags
                return fd
            error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
