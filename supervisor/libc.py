"""The few calls of libc that Python doesn't wrap.

`_ctypes` alone costs a tenth of importing `ctypes` (0.3 ms against 3), which counts before the target starts.
"""

from __future__ import annotations

import os
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)
PR_SET_CHILD_SUBREAPER = 36
PR_SET_PTRACER = 0x59616D61  # Documentation/admin-guide/LSM/Yama.rst
_KCMP = {"x86_64": 312, "aarch64": 272}  # kcmp(2)


def prctl(option: int, argument: int) -> bool:
    """Call prctl(2); whether it succeeded. False where there is no such call."""
    try:
        import _ctypes

        return bool(_ctypes.call_function(_address("prctl"), (option, argument, 0, 0, 0)) == 0)
    except (ImportError, OSError):
        return _prctl_by_ctypes(option, argument)


def create_timer(clock: int, number: int) -> int:
    """A POSIX timer on a clock that sends this signal to the caller's process. Raises OSError."""
    import _ctypes

    # struct sigevent: value, signo, notify (0: SIGEV_SIGNAL), padding to 64 bytes.
    event = bytes(8) + number.to_bytes(4, sys.byteorder) + bytes(52)
    timer = bytes(bytearray(8))  # an object of its own, which the call writes to: that keeps ctypes out
    if _ctypes.call_function(_address("timer_create"), (clock, event, timer)) != 0:
        raise OSError(11, os.strerror(11))
    return int.from_bytes(timer, sys.byteorder)


def set_timer(timer: int, seconds: float) -> None:
    """Let a timer fire once, after this long by its own clock; 0 disarms it."""
    import _ctypes

    whole, rest = divmod(int(seconds * 1e9), 1_000_000_000)
    value = bytes(16) + whole.to_bytes(8, sys.byteorder) + rest.to_bytes(8, sys.byteorder)
    if _ctypes.call_function(_address("timer_settime"), (timer, 0, value, 0)) != 0:
        raise OSError(22, os.strerror(22))


def delete_timer(timer: int) -> None:
    """Give a timer back."""
    import _ctypes

    _ctypes.call_function(_address("timer_delete"), (timer,))


def same_memory(pid: int, other: int) -> bool:
    """Whether two processes share their address space, as a vfork's child does until its exec: kcmp(2), KCMP_VM."""
    try:
        import _ctypes

        number = _KCMP.get(os.uname().machine)
        return number is not None and _ctypes.call_function(_address("syscall"), (number, pid, other, 1, 0, 0)) == 0
    except (ImportError, OSError):
        return False


def setns(fd: int, kind: int) -> None:
    """Go into a namespace: setns(2), which Python has from 3.12 on. Raises OSError."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).setns(fd, kind) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _address(name: str) -> int:
    import _ctypes

    try:
        return int(_ctypes.dlsym(_ctypes.dlopen(None, 0), name))  # type: ignore[arg-type]  # None: this program itself
    except (AttributeError, OSError):
        raise OSError(38, os.strerror(38)) from None


def name_process(name: bytes) -> None:
    """Name this process for ps and top (PR_SET_NAME, 15 bytes), and so that a guard below knows it."""
    try:
        with open("/proc/self/comm", "wb", buffering=0) as file:
            file.write(name[:15])
    except OSError:
        pass


def _prctl_by_ctypes(option: int, argument: int) -> bool:
    try:
        import ctypes

        return bool(ctypes.CDLL(None).prctl(option, ctypes.c_ulong(argument), 0, 0, 0) == 0)
    except (ImportError, AttributeError, OSError):
        return False
