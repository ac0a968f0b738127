"""Where a report goes, and the browser that shows it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from supervisor import files
from supervisor.errors import GuardError, UsageError
from supervisor.evidence import Run

_NAME = "report.html"


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written."""

    path: str
    size_bytes: int


def write(run: Run, page: str, output: str | None) -> Written:
    """Write the page, whole and for its owner only: into the run's folder, or where it is wanted. Raises GuardError."""
    path = os.path.abspath(output) if output is not None else os.path.join(run.path, _NAME)
    folder, name = os.path.split(path)
    data = page.encode("utf-8", "backslashreplace")
    if output is not None and (not output.strip("/") or output.endswith("/") or os.path.isdir(path)):
        raise UsageError(f"--output {output[:200]!r} names no file", hint=f"guard report --output {_NAME}")
    try:
        files.put_at(folder if output is None else os.path.realpath(folder), name, data)
    except (OSError, ValueError) as error:
        why = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
        if output is not None:
            raise UsageError(f"--output {output[:200]!r} can't be written", why=why) from None
        raise UsageError(
            f"the report can't be written to {path}", why=why, hint=f"guard report {run.id} --output {_NAME}"
        ) from None
    return Written(path, len(data))


def show(path: str) -> None:
    """Open a file in the browser. Raises GuardError where there is none."""
    import webbrowser

    try:
        opened = webbrowser.open(Path(path).as_uri())
    except webbrowser.Error:
        opened = False
    if not opened:
        sys.stdout.flush()
        raise GuardError(
            "no browser was found",
            why="the report itself is written",
            hint=f"open {path} in one, or set BROWSER",
            code=1,
        )
