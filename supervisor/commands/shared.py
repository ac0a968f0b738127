"""What commands on past and present runs share: their options, where runs are, how output is written."""

from __future__ import annotations

import json
import os
import shlex
from typing import Annotated, Any

import typer

RUN_HELP = "A run's id, the start or a part of one, the path of its folder or of a place with runs, or latest."

Json = Annotated[bool, typer.Option("--json", help="For programs.")]
ProfilesDir = Annotated[
    str | None,
    typer.Option(
        "--profiles-dir", metavar="DIR", help="Where evidence is, instead of where guard run here would put it."
    ),
]


def root(given: str | None) -> str:
    """The profiles directory. Raises UsageError."""
    from supervisor import evidence

    return evidence.profiles_root(given, os.environ)


def show(document: Any) -> None:
    """A document for programs. In ASCII: what a program reads should not depend on the terminal's encoding."""
    typer.echo(json.dumps(document, indent=1))


def say(text: str) -> None:
    """Text for people; what the terminal's encoding doesn't have is escaped."""
    typer.echo(text.encode("utf-8", "backslashreplace"))


def pid(text: str) -> int:
    """A process's number. Raises UsageError, with guard's own words instead of the parser's."""
    from supervisor.errors import UsageError

    if text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) > 0:
        return int(text)
    shown = text if len(text) <= 80 else text[:77] + "..."
    hint = f"pgrep -af {shlex.quote(text)}" if 0 < len(text) <= 80 and text[0].isalpha() else "ps -e"
    raise UsageError(f"{shown!r} is no PID", why="it takes the number of a process that runs", hint=hint)
