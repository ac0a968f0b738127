"""The socket that `guard ctl` comes to: `ctl.sock` in the run's folder, private, no link followed.

A socket's address has 108 bytes at most (unix(7)), a run's path may have more: the folder is held open, and the address
leads through /proc/self/fd. Some file systems have no sockets (shared folders, some network ones): then it stands in
guard's own private directory below $TMPDIR, and the run's record names it.
"""

from __future__ import annotations

import _socket
import os

from supervisor import files
from supervisor.disk import Disk
from supervisor.store import places, private_parent

NAME = "ctl.sock"
MODE = 0o600
_WAITING = 8


class Door:
    """A listening socket. `where` as the run's record has it: NAME in the run's folder, or an absolute path."""

    def __init__(self, listener: _socket.socket, directory_fd: int, name: str, where: str) -> None:
        self.listener = listener
        self.where = where
        self._directory_fd = directory_fd
        self._name = name

    def close(self) -> None:
        """Nobody comes any more; the name is gone."""
        self.listener.close()
        disk = Disk()
        try:
            disk.run(os.unlink, self._name, dir_fd=self._directory_fd)
        except OSError:
            pass  # removed, or the disk is gone or hangs: a name that nobody listens behind refuses by itself
        disk.end()
        os.close(self._directory_fd)


def open_door(folder_fd: int, run: str) -> Door:
    """The door of the run whose folder this is. Raises OSError: what the folder's file system said."""
    try:
        return _open(os.dup(folder_fd), NAME, NAME)
    except OSError as error:
        try:
            return _beside(run)
        except OSError:
            raise error from None


def _beside(run: str) -> Door:
    _, place = places("")
    private_parent(place, "")
    parent = os.path.dirname(place)
    name = f"{run}.sock"
    return _open(files.open_directory(parent), name, os.path.join(parent, name))


def _open(directory_fd: int, name: str, where: str) -> Door:
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        # Before it has a name: bind(2) gives the file the socket's own mode, so it is never open to others.
        os.fchmod(listener.fileno(), MODE)
        listener.bind(f"/proc/self/fd/{directory_fd}/{name}")  # EADDRINUSE for anything there, a link as well
        listener.listen(_WAITING)
    except BaseException:
        listener.close()
        os.close(directory_fd)
        raise
    return Door(listener, directory_fd, name, where)
