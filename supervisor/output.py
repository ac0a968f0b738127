"""Writing that never kills: a broken pipe or a file size limit is an error value here, not a signal.

guard forwards SIGPIPE and SIGXFSZ like any other signal, so those that its own writes raise must be taken back
before anyone mistakes them for one from outside.
"""

from __future__ import annotations

import _signal
import os

_RAISED = (_signal.SIGPIPE, _signal.SIGXFSZ)


def write(fd: int, data: bytes) -> int:
    """Bytes written by one write(2). Raises OSError (EPIPE, EFBIG, EAGAIN, ...) without leaving a signal behind."""
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _RAISED)
    try:
        return os.write(fd, data)
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.errno == 27:  # EFBIG
            _signal.sigtimedwait(_RAISED, 0)
        raise
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data` to a file. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[write(fd, bytes(view)) :]
