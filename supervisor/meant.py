"""What a command line that can't be run most likely means: the line to type next.

Imported only once something failed, so it may import what it needs. The words are quoted for a shell.
"""

from __future__ import annotations

import os
import shlex
import sys

_SHELL = set("|&;<>()$`*\n")  # what a shell understands and guard doesn't
_BUILTINS = frozenset(
    ("cd", "export", "alias", "ulimit", "umask", "set", "unset", "eval", "exec", "trap", "wait", "if", "for", "while",
     "until", "case", "{", ".", ":", "read", "shift")
)  # fmt: skip
_BASH = frozenset(("source", "[[", "shopt", "declare", "pushd", "popd"))
_INTERPRETERS = {
    ".py": ("python", "python3"),
    ".js": ("node", "bun"),
    ".mjs": ("node", "bun"),
    ".cjs": ("node", "bun"),
    ".ts": ("bun", "node"),
    ".rb": ("ruby",),
    ".pl": ("perl",),
    ".sh": ("sh",),
}


class Around:
    """What is there: programs on `path`, files below `directory`."""

    def __init__(self, path: str, directory: str) -> None:
        self.path = path
        self.directory = directory

    def on_path(self, name: str) -> bool:
        """Whether a shell would find a program of this name on PATH."""
        return "/" not in name and any(self._runs(os.path.join(place or ".", name)) for place in self.path.split(":"))

    def is_file(self, name: str) -> bool:
        """Whether a file of this name is there."""
        return os.path.isfile(os.path.join(self.directory, name))

    def runs(self, name: str) -> bool:
        """Whether it is a file that may be executed."""
        return self._runs(name)

    def _runs(self, name: str) -> bool:
        full = os.path.join(self.directory, name)
        return os.path.isfile(full) and os.access(full, os.X_OK)


def words(command: list[str], around: Around) -> list[str] | None:
    """The command that was meant, where a command can't be found; None: it can't be guessed."""
    name, rest = command[0], command[1:]
    if around.is_file(name):
        return _of_file(name, rest, around)
    if set(name) & _SHELL:
        return ["sh", "-c", " ".join([name, *map(shlex.quote, rest)])]
    if len(name.split()) > 1:
        return _of_line(name, rest, around)
    if _is_assignment(name):
        return ["env", *command] if rest else None
    if name in _BUILTINS or name in _BASH:
        return ["bash" if name in _BASH else "sh", "-c", shlex.join(command)]
    return None


def _of_file(name: str, rest: list[str], around: Around) -> list[str] | None:
    """It lies there and isn't on PATH, or nobody made it executable."""
    suffix = os.path.splitext(name)[1]
    if around.runs(name) and "/" not in name:
        return ["./" + name, *rest]
    known = _INTERPRETERS.get(suffix, ())
    program = next((each for each in known if around.on_path(each)), known[0] if known else None)
    return [program, name, *rest] if program else None


def _of_line(name: str, rest: list[str], around: Around) -> list[str] | None:
    """A whole line in quotes."""
    try:
        parts = shlex.split(name)
    except ValueError:
        return ["sh", "-c", " ".join([name, *map(shlex.quote, rest)])]
    if not parts or parts[0] == name or ("/" in parts[0] and not around.is_file(parts[0])):
        return None  # a path with a space in it, more likely
    return words([*parts, *rest], around) or [*parts, *rest]


def _is_assignment(word: str) -> bool:
    variable, equals, _ = word.partition("=")
    return bool(equals) and variable.isidentifier() and variable.isascii()


def verb() -> str:
    """The command of guard's that is being carried out: `run`, or `profile`."""
    return "profile" if sys.argv[1:2] == ["profile"] else "run"


def instead_of(command: list[str], path: str, directory: str) -> str | None:
    """The line of guard's that was meant, or None. `path`: the target's PATH; `directory`: where it starts."""
    name = command[0]
    if name.isascii() and name.isdigit() and len(command) == 1:
        return f"guard profile --pid {name}" if verb() == "profile" else f"guard watch {name}"
    found = words(command, Around(path, directory))
    return f"guard {verb()} -- {shlex.join(found)}" if found else None


def look_at(name: str) -> str:
    """Where to look for a program that isn't there."""
    return f"ls -l {shlex.quote(name)}" if "/" in name else f"command -v {shlex.quote(name)}"


def executable(name: str) -> str:
    """What makes a file a program."""
    return f"chmod +x {shlex.quote(name)}"


def in_a_shell(left: list[str], right: list[str]) -> str:
    """A pipe's two commands as one that `sh` runs."""
    return shlex.join(["sh", "-c", f"{shlex.join(left)} | {shlex.join(right) or 'OTHER'}"])


def operators(text: str) -> bool:
    """Whether a line has something, outside quotes, that only a shell understands: a pipe, a redirection, `&&`, `;`."""
    import re

    bare = re.sub(r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.""", "x", text, flags=re.DOTALL)
    return bool(set(bare) & set("|;<>")) or "&&" in bare or "&" in bare.split()
