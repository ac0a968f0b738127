"""First words that are no command of guard's: which one was meant."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection

from supervisor import meant
from supervisor.errors import UsageError

_MEANT = {
    "help": "guard --help",
    "version": "guard --version",
    "status": "guard ctl state",
    "state": "guard ctl state",
    "ps": "guard runs",
    "ls": "guard runs",
    "list": "guard runs",
    "logs": "guard runs   or   guard postmortem RUN",
    "start": "guard run -- COMMAND",
    "exec": "guard run -- COMMAND",
    "stop": "guard ctl stop",
    "kill": "guard ctl stop",
    "restart": "guard ctl restart",
}


def check(arguments: list[str], known: Collection[str]) -> None:
    """Raises UsageError for a first word that is no command but plainly means something."""
    if not arguments or arguments[0].startswith("-") or arguments[0] in known:
        return
    word = arguments[0]
    hint = _MEANT.get(word) or _as_target(arguments)
    if hint:
        raise UsageError(f"{word[:80]!r} is no command of guard's", hint=hint)


def _as_target(arguments: list[str]) -> str:
    """The line that runs it, where it is a program, a file or a whole line in quotes."""
    path = os.environ.get("PATH", os.defpath)
    around = meant.Around(path, ".")
    name = arguments[0]
    if around.on_path(name) or ("/" in name and around.runs(name)):
        return f"guard run -- {shlex.join(arguments)}"
    if name.isascii() and name.isdigit():
        return f"guard watch {name}"
    words = meant.words(arguments, around)
    return f"guard run -- {shlex.join(words)}" if words else ""
