"""Unix sockets to be called on: handed over by systemd or made, and who is at the other end."""

from __future__ import annotations

import os
import pwd
import socket
import stat
import struct
from collections.abc import Callable
from typing import Any

from supervisor.errors import UsageError

SOCKET = "/run/systemd/oomd.prekill.hook/guard"  # systemd 260: VARLINK_DIR_OOMD_PREKILL_HOOK
OOMD_USER = "systemd-oom"  # systemd-oomd.service has User=systemd-oom, and CAP_DAC_OVERRIDE to connect
_FIRST_FD = 3  # sd_listen_fds(3)
_BACKLOG = 64


def peer(end: socket.socket) -> int:
    """The user id that connected, as the kernel knows it (unix(7), SO_PEERCRED); -1 when it doesn't."""
    try:
        data = end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    except OSError:
        return -1
    return int(struct.unpack("iii", data)[1])


def may_call(user: int, lookup: Callable[[str], Any] = pwd.getpwnam) -> bool:
    """Root, guard's own user, and oomd's: they may kill, or do what guard does, without it."""
    if user in (0, os.geteuid()):
        return True
    try:
        return bool(lookup(OOMD_USER).pw_uid == user)
    except KeyError:
        return False


def inherited(environ: dict[str, str]) -> list[socket.socket]:
    """The sockets that systemd hands over (sd_listen_fds(3)); none when it was not systemd that started this.

    Raises UsageError for what is no listening unix socket.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = environ.get("LISTEN_FDS", "")
    number = int(count) if count.isascii() and count.isdigit() and len(count) < 4 else 0
    found = []
    for fd in range(_FIRST_FD, _FIRST_FD + number):
        os.set_inheritable(fd, False)
        listener = socket.socket(fileno=fd)
        listens = listener.family == socket.AF_UNIX and listener.type == socket.SOCK_STREAM
        if not listens or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise UsageError(f"descriptor {fd} from systemd is no listening unix socket", hint="guard init --oomd")
        listener.setblocking(False)
        found.append(listener)
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    return found


def listen(path: str) -> socket.socket:
    """A socket of guard's own, for root and oomd alone. Raises UsageError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        _make_room(path)
        before = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        why = error.strerror or str(error)
        raise UsageError(f"--socket {path!r}: can't listen there", why=why, hint="ls -l " + path) from None
    listener.setblocking(False)
    return listener


def _make_room(path: str) -> None:
    """Remove a socket that nobody listens on any more. Raises OSError."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.setblocking(False)
        try:
            trial.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except BlockingIOError:
            pass  # it lives, and has much to do
