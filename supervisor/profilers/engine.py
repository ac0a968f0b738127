"""Which engine profiles a process: told by its program, its command and what it has mapped. Nothing is attached."""

from __future__ import annotations

import os

from supervisor.profilers import interpreter

PYTHON, NODE, BUN, JAVA, OTHER = "python", "node", "bun", "java", "other"
GO, RUBY, DOTNET = "go", "ruby", "dotnet"
# Their stacks are those of machine code where no tool of their own tells more.
MACHINE_CODE = (OTHER, GO, RUBY, DOTNET)
_TELLING = (b"/libpython", b"/libnode.so", b"/libjvm.so", b"/libcoreclr.so")
_MOST_WORD = 4096
# The name of a module that is frozen into every CPython, and that a program which only talks to Python doesn't hold.
_FROZEN = b"_frozen_importlib_external\0"
_MOST_PROGRAM_BYTES = 64 << 20
_PIECE_BYTES = 1 << 20


class Facts:
    """What tells: the path of the `program` ("" where it can't be read), the `command`, names of mapped `libraries`.

    Of the libraries only those that tell are needed: libpython, libnode, libjvm and libcoreclr. `go`: the program has
    what Go's linker writes; `holds_python`: CPython is linked into it; `readable`: what it maps may be read.
    """

    __slots__ = ("command", "go", "holds_python", "libraries", "program", "readable")

    def __init__(
        self,
        program: str,
        command: tuple[str, ...] = (),
        libraries: tuple[str, ...] = (),
        *,
        go: bool = False,
        holds_python: bool = False,
        readable: bool = True,
    ) -> None:
        self.program = program
        self.command = command
        self.libraries = libraries
        self.go = go
        self.holds_python = holds_python
        self.readable = readable


def choose(facts: Facts) -> str:
    """`python`, `node`, `bun`, `java`, `go`, `ruby`, `dotnet` or `other`. Pure.

    The program counts before the libraries: a Node that maps libpython (an add-on) is a Node. The command is only
    asked where the program can't be read (another user's process): anybody may write there what he likes.
    """
    by_program = _named(facts.program or (facts.command[0] if facts.command else ""))
    if by_program != OTHER:
        return by_program
    if any(name.startswith("libnode.so") for name in facts.libraries):
        return NODE
    if any(name.startswith("libjvm.so") for name in facts.libraries):
        return JAVA
    if any(name.startswith("libcoreclr.so") for name in facts.libraries):
        return DOTNET
    libraries = [name for name in facts.libraries if name.startswith("libpython")]
    if facts.holds_python or interpreter.told_by(facts.program, libraries) is not None:
        return PYTHON
    return GO if facts.go else OTHER


def of(pid: int) -> str:
    """The engine for a process as it is now; `other` for one that is gone or can't be read."""
    return choose(look(pid))


def look(pid: int) -> Facts:
    """The facts of a process; what can't be read is empty."""
    try:
        program = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        program = ""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(_MOST_WORD).split(b"\0")[:-1]
    except OSError:
        words = []
    readable, mapped = True, set()
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            mapped = {line.rstrip(b"\n").rpartition(b"/")[2] for line in file if any(word in line for word in _TELLING)}
    except PermissionError:
        readable = False
    except OSError:
        pass
    names = tuple(sorted(map(os.fsdecode, mapped)))
    go = not names and _named(program) == OTHER and _is_go(pid)
    found = Facts(program, tuple(map(os.fsdecode, words)), names, go=go, readable=readable)
    if program and choose(found) == OTHER:
        found.holds_python = _holds_python(pid)
    return found


_known: dict[tuple[int, int, int], bool] = {}


def _holds_python(pid: int) -> bool:
    """Whether the program's file has CPython in it: 3 ms a MiB, once for each file."""
    try:
        fd = os.open(f"/proc/{pid}/exe", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        about = os.fstat(fd)
        key = (about.st_dev, about.st_ino, about.st_mtime_ns)
        if key not in _known:
            _known[key] = about.st_size <= _MOST_PROGRAM_BYTES and _found(fd, about.st_size)
        return _known[key]
    except OSError:
        return False
    finally:
        os.close(fd)


def _found(fd: int, size: int) -> bool:
    step = _PIECE_BYTES - len(_FROZEN)
    return any(_FROZEN in os.pread(fd, _PIECE_BYTES, offset) for offset in range(0, size, step))


def _is_go(pid: int) -> bool:
    """Whether the program has the section of Go's linker, which stripping leaves (Go 1.13 and later)."""
    from supervisor.profilers import elf

    try:
        fd = os.open(f"/proc/{pid}/exe", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return b".go.buildinfo" in elf.sections(fd)
    except elf.ELFError:
        return False
    finally:
        os.close(fd)


def _named(program: str) -> str:
    """By the program's name alone: `python3.13t`, `nodejs`, `node-22`, npm's `bun.exe`."""
    name = os.path.basename(program.removesuffix(" (deleted)")).removesuffix(".exe")
    if interpreter.told_by(program, []) is not None:
        return PYTHON
    for engine, known in ((NODE, ("nodejs", "node")), (BUN, ("bunx", "bun")), (RUBY, ("ruby",))):
        for word in known:
            rest = name.removeprefix(word)
            if rest != name and rest.lstrip("-.0123456789") in ("", "debug", "profile", "baseline"):
                return engine
    return OTHER
