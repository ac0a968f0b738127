"""Evidence on disk: private, whole or absent, no link followed.

Used by the watcher and its workers alike, so it imports only `os` and what that has imported.
"""

from __future__ import annotations

import errno
import os
import stat

from supervisor import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

DIRECTORY_MODE = 0o700


def open_directory(path: str, *, create: bool = False) -> int:
    """A descriptor of a directory that isn't a link. Raises OSError (ELOOP or ENOTDIR for a link)."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        if not create:
            raise
    parent = os.path.dirname(path)
    if parent and parent != path and not os.path.isdir(parent):
        os.makedirs(parent, DIRECTORY_MODE, exist_ok=True)
    try:
        os.mkdir(path, DIRECTORY_MODE)
    except FileExistsError:
        pass
    return os.open(path, flags)


def identity(status: os.stat_result) -> list[int]:
    """What tells a file from another one that has its name by now: device and inode."""
    return [status.st_dev, status.st_ino]


def open_below(
    base_fd: int, parts: tuple[str, ...], *, create: bool = False, directory_mode: int = DIRECTORY_MODE
) -> int:
    """A descriptor of base/parts..., no component a link; directories are made 0700 unless said. Raises OSError."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    current = os.dup(base_fd)
    try:
        for part in parts:
            if create:
                try:
                    os.mkdir(part, directory_mode, dir_fd=current)
                except FileExistsError:
                    pass
            following = os.open(part, flags, dir_fd=current)
            os.close(current)
            current = following
    except BaseException:
        os.close(current)
        raise
    return current


def open_regular(name: str, directory_fd: int | None = None) -> int:
    """A descriptor to read a regular file from, which is no link. `name` is a path where no directory is given.

    Raises OSError: ELOOP for a link, EINVAL for a folder, a FIFO, a device. It never waits for the other end of a FIFO.
    """
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory_fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", name)
    return fd


def put(
    directory_fd: int, name: str, data: bytes | Iterable[bytes], mode: int = 0o600, *, replace: bool = True
) -> None:
    """Write a file whole or not at all: to a temporary name, then renamed into place. Raises OSError.

    `data` may come in pieces; what their source raises leaves no file. Without `replace` a file that is there by then
    is left alone: FileExistsError.
    """
    temporary = f".{name}.{os.getpid()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, mode, dir_fd=directory_fd)
    try:
        try:
            os.fchmod(fd, mode)  # whatever the umask
            for piece in (data,) if isinstance(data, bytes) else data:
                output.write_all(fd, piece)
        finally:
            os.close(fd)
        if replace:
            os.rename(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
        else:
            _move_to_new(temporary, name, directory_fd)
    except BaseException:
        _unlink(temporary, directory_fd)
        raise


def put_at(directory: str, name: str, data: bytes, mode: int = 0o600, *, create: bool = False) -> None:
    """`put` into a directory that is no link; with `create` it is made if need be. Raises OSError."""
    fd = open_directory(directory, create=create)
    try:
        put(fd, name, data, mode)
    finally:
        os.close(fd)


def _move_to_new(temporary: str, name: str, directory_fd: int) -> None:
    try:
        os.link(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if _is_there(name, directory_fd):
            raise FileExistsError(17, "File exists") from None
        os.rename(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
    else:
        _unlink(temporary, directory_fd)


def _is_there(name: str, directory_fd: int) -> bool:
    try:
        os.lstat(name, dir_fd=directory_fd)
    except FileNotFoundError:
        return False
    return True


def sweep(directory_fd: int) -> None:
    """Remove what a process that was killed between write and rename left in a run's folder: hidden names."""
    for name in os.listdir(directory_fd):
        if name.startswith("."):
            _unlink(name, directory_fd)


def _unlink(name: str, directory_fd: int) -> None:
    try:
        os.unlink(name, dir_fd=directory_fd)
    except OSError:
        pass


class Lines:
    """A file of whole lines, written unbuffered, kept under `most_bytes`.

    `ring` drops the oldest half when full; otherwise further lines are refused and counted in `dropped`. A line that
    could not be written whole is taken back, so that no reader trips over half of one.
    """

    def __init__(self, directory_fd: int, name: str, most_bytes: int, *, ring: bool, mode: int = 0o600) -> None:
        self._directory_fd = directory_fd
        self._name = name
        self._most = most_bytes
        self._ring = ring
        self._mode = mode
        self.dropped = 0
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(name, flags, mode, dir_fd=directory_fd)
        os.fchmod(self._fd, mode)
        self._size = os.fstat(self._fd).st_size

    def add(self, line: bytes) -> None:
        """Append a line (its end included). Raises OSError."""
        if self._size + len(line) > self._most:
            if not self._ring:
                self.dropped += 1
                return
            self._halve()
        try:
            output.write_all(self._fd, line)
        except OSError:
            self.dropped += 1
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(line)

    def _halve(self) -> None:
        """Keep the newer half, from a line's start; copied by the kernel, without the data in memory."""
        start = self._size // 2
        window = os.pread(self._fd, 65536, start)
        start += window.find(b"\n") + 1
        temporary = f".{self._name}.tmp"
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, self._mode, dir_fd=self._directory_fd)
        try:
            position = start
            while position < self._size:
                chunk = os.pread(self._fd, 65536, position)
                if not chunk:
                    break
                output.write_all(fd, chunk)
                position += len(chunk)
            os.rename(temporary, self._name, src_dir_fd=self._directory_fd, dst_dir_fd=self._directory_fd)
        except BaseException:
            os.close(fd)
            _unlink(temporary, self._directory_fd)
            raise
        os.close(self._fd)
        self._fd = fd
        self._size -= start

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
