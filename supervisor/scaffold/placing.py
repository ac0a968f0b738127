"""Files compared with what is there, shown as a diff, and put in place: whole, never through a link, all or none."""

from __future__ import annotations

import difflib
import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from supervisor import files
from supervisor.analysis.text import visible
from supervisor.errors import UsageError

MOST_BYTES = 1 << 20
_COLOURS = {"+": "\033[32m", "-": "\033[31m", "@": "\033[36m"}
_BOLD, _PLAIN = "\033[1m", "\033[0m"


@dataclass(frozen=True)
class Planned:
    """One file: its path below the directory, its text, and what is there now (None: nothing)."""

    path: str
    text: str
    present: bytes | None
    mode: int

    @property
    def status(self) -> str:
        """`new`, `same` or `differs`."""
        if self.present is None:
            return "new"
        return "same" if self.present == self.text.encode() else "differs"


def open_directory(path: str) -> int:
    """A descriptor of the directory files go to. Raises UsageError."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(
            f"--directory {visible(path)} can't be used",
            why=os.strerror(error.errno or 0),
            hint="name a directory that exists",
        ) from None


def plan(directory_fd: int, path: str, text: str) -> Planned:
    """What is to become of a file. Raises UsageError for a link, a directory and the like in its place."""
    found = present(directory_fd, path)
    return Planned(path, text, *found)


def present(directory_fd: int, path: str) -> tuple[bytes | None, int]:
    """A file's content and mode; None and the mode of a new one where there is none. Raises UsageError."""
    *parts, name = path.split("/")
    try:
        fd = files.open_below(directory_fd, tuple(parts))
    except FileNotFoundError:
        return None, _new_mode()
    except OSError as error:
        raise _refused(path, error) from None
    try:
        found = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)
    except FileNotFoundError:
        return None, _new_mode()
    except OSError as error:
        raise _refused(path, error) from None
    finally:
        os.close(fd)
    try:
        about = os.fstat(found)
        if not stat.S_ISREG(about.st_mode):
            raise UsageError(f"{path} is there and is no file", hint="move it away, or guard init --directory DIR")
        if about.st_size > MOST_BYTES:
            raise UsageError(
                f"{path} is there and larger than 1 MiB",
                why="that isn't one of guard's",
                hint="move it away, or guard init --directory DIR",
            )
        return os.pread(found, MOST_BYTES, 0), stat.S_IMODE(about.st_mode)
    except OSError as error:
        raise _refused(path, error) from None
    finally:
        os.close(found)


def _refused(path: str, error: OSError) -> UsageError:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return UsageError(
            f"{path} is a link, or lies below one or below a file",
            why="guard init writes through none",
            hint="guard init --stdout prints it",
        )
    return UsageError(f"{path} can't be read", why=os.strerror(error.errno or 0), hint="guard init --stdout prints it")


def _new_mode() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return 0o666 & ~umask


def put(directory_fd: int, planned: Iterable[Planned]) -> None:
    """Write the files. Raises UsageError."""
    for each in planned:
        *parts, name = each.path.split("/")
        try:
            fd = files.open_below(directory_fd, tuple(parts), create=True, directory_mode=0o777)
            try:
                files.put(fd, name, each.text.encode(), each.mode, replace=each.present is not None)
            finally:
                os.close(fd)
        except OSError as error:
            raise UsageError(
                f"{each.path} can't be written",
                why=os.strerror(error.errno or 0),
                hint="guard init --stdout prints it, guard init --directory DIR writes it elsewhere",
            ) from None


def diff(planned: Planned, *, colour: bool, terminal: bool) -> str:
    """A unified diff from what is there to what is to be; for a terminal, nothing in it moves the cursor."""
    there = (planned.present or b"").decode("utf-8", "backslashreplace")
    old, new = f"a/{planned.path}" if planned.present is not None else "/dev/null", f"b/{planned.path}"
    lines: list[str] = []
    for line in difflib.unified_diff(_lines(there), _lines(planned.text), old, new):
        body = line.rstrip("\n")
        if terminal:
            body = "\t".join(map(visible, body.split("\t")))
        if colour:
            paint = _BOLD if line.startswith(("--- ", "+++ ")) and len(lines) < 2 else _COLOURS.get(line[0], "")
            body = f"{paint}{body}{_PLAIN}" if paint else body
        lines.append(body)
        if not line.endswith("\n"):
            lines.append("\\ No newline at end of file")
    return "\n".join(lines)


def _lines(text: str) -> list[str]:
    """Lines with their ends, parted at line feeds alone: a file's other separators are none in a patch."""
    return [f"{line}\n" for line in text.split("\n")[:-1]] + ([rest] if (rest := text.rpartition("\n")[2]) else [])
