"""Threads of a process traced: they run on, their stops are seen, and they always go on again.

When this process dies, the kernel detaches them: no thread is ever left stopped. One that can't stop yet when it is to
be let go, because it waits in the kernel (D), is let go by `sweep` once it can.

Sources: ptrace(2) (PTRACE_SEIZE).
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import time

_SEIZE, _INTERRUPT, _LISTEN, _DETACH, _CONT = 0x4206, 0x4207, 0x4208, 17, 7
_SYSCALL, _TRACESYSGOOD = 24, 1
_TRACECLONE, _EVENT_CLONE = 8, 3
_GETEVENTMSG, _GETSIGINFO = 0x4201, 0x4202
SYSCALL_STOP = int(signal.SIGTRAP) | 0x80
_WALL = 0x40000000
_EVENT_STOP = 128
MOST_THREADS = 256
_SETTLE_S, _DEEP_S = 1.0, 0.05  # for how long a stop is waited for; of a thread that is in D state
_GONE, _LATE = -1, -2

# Threads, of any tracer here, that were to be let go and hadn't stopped by then: tid -> the signal to swallow.
_late: dict[int, int] = {}

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def _ptrace(request: int, tid: int, data: int = 0) -> None:
    """ptrace(2). Raises OSError."""
    if libc.ptrace(request, tid, None, data or None) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def sent_by_kernel(tid: int) -> bool:
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


def sweep() -> int:
    """Let go the threads that were late and have stopped by now; how many still haven't. To be called often."""
    if not _late:
        return 0
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))  # a stop that was seen must not be forgotten
    try:
        for tid in list(_late):
            _sweep(tid)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return len(_late)


def _sweep(tid: int) -> None:
    try:
        pid, status = os.waitpid(tid, os.WNOHANG | _WALL)
    except ChildProcessError:
        del _late[tid]
        return
    if not pid:
        return
    swallow = _late.pop(tid)
    if os.WIFSTOPPED(status):
        if status >> 16 == _EVENT_CLONE and (child := _started_by(tid)):
            _late[child] = swallow
        _detach(tid, _signal_of(status), swallow)


def is_late(tid: int) -> bool:
    """Whether a thread is still ours because it hasn't stopped since it was to be let go."""
    return tid in _late


def _signal_of(status: int) -> int:
    """The signal that a stopped thread is about to take, 0 for another stop."""
    number = os.WSTOPSIG(status)
    return 0 if status >> 16 or number == SYSCALL_STOP else number


def _started_by(tid: int) -> int:
    """The thread that this one, stopped for that, has just started; 0 when it isn't told."""
    child = ctypes.c_ulong()
    return 0 if libc.ptrace(_GETEVENTMSG, tid, None, ctypes.addressof(child)) < 0 else child.value


def _detach(tid: int, number: int, swallow: int) -> None:
    try:
        _ptrace(_DETACH, tid, 0 if number == swallow else number)
    except OSError:
        pass


def _is_deep(tid: int) -> bool:
    """Whether a thread waits in the kernel and stops for nothing (D)."""
    try:
        with open(f"/proc/{tid}/stat", "rb") as file:
            return file.read(512).rpartition(b") ")[2][:1] == b"D"
    except OSError:
        return False


class Tracer:
    """Seizes threads (they run on), sees their stops, and always lets them go again."""

    def __init__(self, *, syscalls: bool = False, born: bool = False) -> None:
        """`syscalls`: a thread that was stopped once stops at its system calls, too (signal SYSCALL_STOP).

        `born`: threads that seized ones start are seized as well; the first stop of each, signal 0, shows in `poll`.
        """
        self._seized: dict[int, int] = {}  # tid -> signal to deliver on release, -1 while it runs
        self._served = 0  # the thread whose stop was told last
        self._options = (_TRACESYSGOOD if syscalls else 0) | (_TRACECLONE if born else 0)
        self._resume = _SYSCALL if syscalls else _CONT

    def seize(self, tid: int) -> None:
        """Become the tracer of a thread without stopping it. Raises OSError (EPERM, ESRCH)."""
        _ptrace(_SEIZE, tid, self._options)
        self._seized[tid] = -1

    def poll(self) -> tuple[int, int] | None:
        """(tid, signal) of a thread that stopped to take a signal, or None. Other stops are passed on.

        Each in its turn: the one after that which was told last comes first.
        """
        sweep()
        waiting = list(self._seized)
        if self._served in self._seized:
            turn = waiting.index(self._served) + 1
            waiting = waiting[turn:] + waiting[:turn]
        for tid in waiting:
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
            else:
                self._seized[tid] = _signal_of(status)
                self._served = tid
                return tid, 0 if event else number
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
        """Detach from every thread; signals that wait at a stop are delivered, but for `swallow`.

        Who is in the middle of a wait in the kernel can't stop now: `sweep` detaches from it when it does.
        """
        deadline_s = time.monotonic() + _SETTLE_S
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
        try:
            for tid in [tid for tid, number in self._seized.items() if number >= 0]:
                self._let_go(tid, swallow, deadline_s)
            while self._seized:  # one that is just starting another adds to it
                self._let_go(next(iter(self._seized)), swallow, deadline_s)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        sweep()

    def _let_go(self, tid: int, swallow: int, deadline_s: float) -> None:
        """A thread stays known until it is let go, or late."""
        number = self._seized[tid]
        if number < 0:
            self._try(_INTERRUPT, tid)
            number = self._settle(tid, deadline_s)
        if number >= 0:
            self._seized[tid] = number
            _detach(tid, number, swallow)
        elif number == _LATE:
            _late[tid] = swallow
        del self._seized[tid]

    def _settle(self, tid: int, deadline_s: float) -> int:
        """Wait for the stop asked for; the signal to deliver, or `_GONE`, or `_LATE`."""
        deep_s = time.monotonic() + _DEEP_S
        while True:
            try:
                pid, status = os.waitpid(tid, os.WNOHANG | _WALL)
            except ChildProcessError:
                return _GONE
            if pid:
                if not os.WIFSTOPPED(status):
                    return _GONE
                if status >> 16 == _EVENT_CLONE:
                    self._take_child(tid)
                return _signal_of(status)
            now_s = time.monotonic()
            if now_s >= deadline_s or (now_s >= deep_s and _is_deep(tid)):
                return _LATE
            time.sleep(0.0002)

    def _take_child(self, tid: int) -> list[int]:
        """The thread that this one has just started: the kernel seized it already."""
        child = _started_by(tid)
        if not child or child in self._seized:
            return []
        self._seized[child] = -1
        return [child]

    def _try(self, request: int, tid: int, data: int = 0) -> None:
        try:
            _ptrace(request, tid, data)
        except OSError:
            pass
