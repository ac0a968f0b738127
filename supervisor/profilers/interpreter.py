"""Which Python a process runs, from its program and what it has mapped: nothing is attached."""

from __future__ import annotations

import os

REMOTE_EXEC = (3, 14)  # the first that runs a script for others


class Interpreter:
    """A Python interpreter: the path of its `program`, its (major, minor) `version` where a name tells it."""

    __slots__ = ("free_threaded", "program", "version")

    def __init__(self, program: str, version: tuple[int, int] | None, free_threaded: bool) -> None:
        self.program = program
        self.version = version
        self.free_threaded = free_threaded

    def __str__(self) -> str:
        if self.version is None:
            return os.path.basename(self.program)
        return f"Python {self.version[0]}.{self.version[1]}{'t' if self.free_threaded else ''}"


def look(pid: int) -> Interpreter | None:
    """The interpreter of a process; None when nothing shows that it is Python, or it can't be read."""
    try:
        program = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return None
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
            mapped = {line.rstrip("\n").rpartition("/")[2] for line in file if "/libpython" in line}
    except OSError:
        mapped = set()
    return told_by(program, sorted(mapped))


def counts(pid: int) -> bool:
    """Whether a process is a Python that can be had to count its objects, as far as names tell."""
    found = look(pid)
    return found is not None and (found.version or (0, 0)) >= REMOTE_EXEC and not found.free_threaded


def told_by(program: str, libraries: list[str]) -> Interpreter | None:
    """The interpreter that these names tell of: `python3.13t`, or a libpython that an embedding program maps."""
    name = os.path.basename(program.removesuffix(" (deleted)"))
    words = [(library, library.partition("libpython")[2]) for library in libraries]
    if name.startswith(("python", "pypy")):
        words.insert(0, (name, name.removeprefix("python")))
    if not words:
        return None
    for _, rest in words:
        version, free_threaded = _version(rest)
        if version is not None:
            return Interpreter(program, version, free_threaded)
    return Interpreter(program, None, False)


def _version(text: str) -> tuple[tuple[int, int] | None, bool]:
    """(3, 13) and True of `3.13t.so.1.0`."""
    major, dot, rest = text.partition(".")
    digits = ""
    for letter in rest:
        if not (letter.isascii() and letter.isdigit()):
            break
        digits += letter
    if not (dot and major.isascii() and major.isdigit() and digits) or len(major) > 2 or len(digits) > 3:
        return None, False
    return (int(major), int(digits)), rest[len(digits) : len(digits) + 1] == "t"
