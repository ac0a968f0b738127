"""Reading a process that only the watcher may read: Yama 1 and forked workers.

Under Yama's ptrace_scope 1 a process may be read by its ancestors and by whom it named itself (PR_SET_PTRACER). The
target names guard before its exec, but what it forks names nobody: of a server's workers nothing could be read, though
the watcher is an ancestor of them all. So the watcher lends its right: it opens the process's /proc/PID/mem, where the
kernel asks for permission at open(2) alone, and gives the descriptor to its worker. The worker starts py-spy under a
seccomp filter that passes one system call, process_vm_readv, to it, and answers it from that descriptor. Nobody is
stopped for it.

Sources: kernel documentation admin-guide/LSM/Yama.rst, seccomp_unotify(2), process_vm_readv(2), proc_pid_mem(5).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import select
import signal
import struct
import subprocess
import threading
from collections.abc import Callable
from typing import Any

from supervisor import libc, sample

# (AUDIT_ARCH, process_vm_readv, seccomp)
_CALLS = {"x86_64": (0xC000003E, 310, 317), "aarch64": (0xC00000B7, 270, 277)}
_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _NEW_LISTENER = 1, 8
_RET_ALLOW, _RET_USER_NOTIF = 0x7FFF0000, 0x7FC00000
_LOAD_WORD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")  # seccomp_notif: id, pid, flags, seccomp_data
_ANSWER = struct.Struct("=QqiI")  # seccomp_notif_resp: id, val, error, flags
_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV and _SEND
_FLAG_CONTINUE = 1
_MOST_VECTORS = 64
_MOST_BYTES = 64 << 20


class Lent:
    """A process's memory by a descriptor that the watcher lent. `reads` counts what was answered."""

    def __init__(self, pid: int, memory_fd: int) -> None:
        self.pid = pid
        self.reads = 0
        self.memory_fd = memory_fd
        self._thread: threading.Thread | None = None

    def start(self, argv: list[str], before_exec: Callable[[], None], **options: Any) -> subprocess.Popen[bytes]:
        """Start a reader whose reads are answered until it ends. Raises OSError, also where seccomp is refused."""
        import socket

        self.finish()
        ours, theirs = socket.socketpair()

        def prepare() -> None:
            before_exec()
            listener = _listen()
            socket.send_fds(theirs, [b"l"], [listener])
            os.close(listener)

        with ours, theirs:
            try:
                reader = subprocess.Popen(argv, preexec_fn=prepare, **options)  # noqa: PLW1509 - one thread now
            except subprocess.SubprocessError as error:
                raise OSError(errno.EACCES, f"{os.strerror(errno.EACCES)}: seccomp") from error
            _, (listener, *_), _, _ = socket.recv_fds(ours, 1, 1)
        self._thread = threading.Thread(target=self._answer, args=(reader.pid, listener), daemon=True)
        # A signal is the main thread's: taken here, it wouldn't wake that from its waiting.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self._thread.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return reader

    def finish(self) -> None:
        """Wait until the end of the reader, which is gone, was seen: a process with threads can't fork safely."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _answer(self, reader: int, listener: int) -> None:
        poller = select.poll()
        poller.register(listener, select.POLLIN)
        own_fd = -1
        try:
            while True:
                ((_, ready),) = poller.poll()
                if not ready & select.POLLIN:
                    return  # the reader is gone
                notification = bytearray(_NOTIFICATION.size)
                try:
                    fcntl.ioctl(listener, _RECEIVE, notification)
                    number, _, _, _, _, _, *arguments = _NOTIFICATION.unpack(notification)
                    if own_fd < 0:
                        own_fd = os.open(f"/proc/{reader}/mem", os.O_RDWR | os.O_CLOEXEC)
                    answer = self._read(number, arguments, own_fd)
                    fcntl.ioctl(listener, _SEND, answer)
                    self.reads += 1
                except (FileNotFoundError, ProcessLookupError):
                    continue  # interrupted by a signal, or gone: ENOENT
        except OSError:
            pass  # what waits for an answer gets ENOSYS with the listener's end
        finally:
            os.close(listener)
            if own_fd >= 0:
                os.close(own_fd)

    def _read(self, number: int, arguments: list[int], own_fd: int) -> bytes:
        pid, local, locals_, remote, remotes, _ = arguments
        if pid != self.pid:
            return _ANSWER.pack(number, 0, 0, _FLAG_CONTINUE)
        if max(locals_, remotes) > _MOST_VECTORS:
            return _ANSWER.pack(number, 0, -errno.EFAULT, 0)
        try:
            data = b"".join(self._piece(*vector) for vector in _vectors(own_fd, remote, remotes))
            done = 0
            for base, size in _vectors(own_fd, local, locals_):
                done += os.pwrite(own_fd, data[done : done + size], base) if done < len(data) else 0
        except (OSError, OverflowError, ValueError):
            return _ANSWER.pack(number, 0, -errno.EFAULT, 0)
        return _ANSWER.pack(number, done, 0, 0) if done else _ANSWER.pack(number, 0, -errno.EFAULT, 0)

    def _piece(self, base: int, size: int) -> bytes:
        if size > _MOST_BYTES:
            raise ValueError("too much at once")
        return os.pread(self.memory_fd, size, base)


def _vectors(fd: int, address: int, count: int) -> list[tuple[int, int]]:
    data = os.pread(fd, 16 * count, address)
    return [(base, size) for base, size in struct.iter_unpack("=QQ", data) if size]


_known: dict[int, Lent] = {}


def keep(pid: int, memory_fd: int) -> None:
    """A worker got this descriptor of the process's memory: for use where its own right isn't enough.

    The kernel asks the same of who opens the memory as of who traces.
    """
    own_fd = sample.open_memory(pid)
    if own_fd is None:
        _known[pid] = Lent(pid, memory_fd)
    else:
        os.close(own_fd)
        os.close(memory_fd)


def of(pid: int) -> Lent | None:
    """What was lent of a process's memory; None when its own right does."""
    return _known.get(pid)


class _Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def _listen() -> int:
    """Install the filter for this process; its listener. Raises OSError."""
    calls = _CALLS.get(platform.machine())
    if calls is None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    architecture, readv, seccomp = calls
    steps = (
        (_LOAD_WORD, 0, 0, 4),
        (_JUMP_EQUAL, 0, 3, architecture),
        (_LOAD_WORD, 0, 0, 0),
        (_JUMP_EQUAL, 0, 1, readv),
        (_RETURN, 0, 0, _RET_USER_NOTIF),
        (_RETURN, 0, 0, _RET_ALLOW),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = _Program(len(steps), ctypes.cast(code, ctypes.c_void_p).value)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    listener = int(library.syscall(seccomp, _SET_MODE_FILTER, _NEW_LISTENER, ctypes.byref(program)))
    if listener < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return listener
