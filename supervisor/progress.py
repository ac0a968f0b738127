"""A progress line on stderr when that is a terminal, nothing when it isn't."""

from __future__ import annotations

import os
from typing import IO, Any, cast

from supervisor.log import Stream


class Progress:
    """One bar: of a known duration, or just the time that has gone. rich draws it, without a thread of its own."""

    def __init__(self, quiet: bool = False) -> None:
        self._wanted = not quiet and _is_terminal(2)
        self._bar: Any = None
        self._file: _Unwaiting | None = None
        self._task: Any = None

    @property
    def shown(self) -> bool:
        """Whether there is a bar now."""
        return self._bar is not None

    def begin(self, total: float | None, words: str) -> None:
        """Show it. `total` None: nobody knows how long it takes."""
        if not self._wanted:
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[more]}"),
        )
        self._file = _Unwaiting()
        console = Console(file=cast(IO[str], self._file), force_terminal=True, force_interactive=True)
        self._bar = Progress(*columns, console=console, auto_refresh=False, transient=True)
        self._bar.start()
        self._task = self._bar.add_task(words, total=total, more="")

    def show(self, completed: float, samples: int | None = None, words: str = "") -> None:
        """Move it on."""
        if self._bar is None:
            return
        more = words or (f"{samples:,} samples" if samples is not None else "")
        self._bar.update(self._task, completed=completed, more=more)
        self._bar.refresh()

    def end(self) -> None:
        """Take it away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._file is not None:
            self._file.close()
            self._file = None


class _Unwaiting:
    """stderr for rich, written without waiting: a terminal that was stopped (Ctrl-S) must not stop guard."""

    def __init__(self) -> None:
        self._stream = Stream(2)

    def write(self, text: str) -> int:
        self._stream.write(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        return True

    def close(self) -> None:
        self._stream.close()


def _is_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False
