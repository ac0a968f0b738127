"""Shipping into a directory: another disk, a share."""

from __future__ import annotations

import os
from typing import BinaryIO

from supervisor import files, output
from supervisor.shipping.failure import Undelivered

_CHUNK = 1 << 20


class Folder:
    """A directory that is there already: one that a mount should have brought must not be made in its place."""

    def __init__(self, path: str, mode: int) -> None:
        """Raises Undelivered."""
        self._path = path
        self._mode = mode
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Undelivered("no-directory", _why(error), f"mkdir -p {path}; ls -ld {path}") from None

    def send(self, key: tuple[str, ...], file: BinaryIO, size: int, left_s: float) -> None:
        """Write the first `size` bytes of the file below the directory, whole or not at all. Raises Undelivered."""
        try:
            folder = files.open_below(self._fd, key[:-1], create=True)
            try:
                self._write(folder, key[-1], file, size)
            finally:
                os.close(folder)
        except OSError as error:
            hint = f"df -h {self._path}; ls -ld {self._path}"
            raise Undelivered("not-written", _why(error), hint) from None

    def _write(self, folder: int, name: str, file: BinaryIO, size: int) -> None:
        # One name whoever writes: what a killed worker left is replaced by the next one.
        part = f".{name}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(part, flags, self._mode, dir_fd=folder)
        try:
            os.fchmod(fd, self._mode)
            while size > 0 and (chunk := file.read(min(size, _CHUNK))):
                output.write_all(fd, chunk)
                size -= len(chunk)
            os.fsync(fd)
        except BaseException:
            os.unlink(part, dir_fd=folder)  # half a file on a full disk would only make it fuller
            raise
        finally:
            os.close(fd)
        os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)

    def close(self) -> None:
        """Let it go."""
        os.close(self._fd)


def _why(error: OSError) -> str:
    return error.strerror or str(error)
