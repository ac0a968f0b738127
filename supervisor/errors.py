"""The one family of errors that guard explains to people.

Each says what failed, why, and what to type next. It is caught in one place (the command line) and printed as
those lines; anything else that escapes is a bug and shows its traceback.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

EXIT_USAGE = 2
EXIT_GUARD_FAILED = 125
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127

teller = -1  # the descriptor on which a program that started guard waits to hear of the start


def tell(**told: object) -> bool:
    """Say how the start went, once, to whoever waits for that; whether somebody did."""
    global teller
    fd, teller = teller, -1
    if fd < 0:
        return False
    import json

    try:
        os.write(fd, json.dumps(told).encode() + b"\n")
        os.close(fd)
    except OSError:
        return False  # nobody waits any more
    return True


class GuardError(Exception):
    """What failed, why, and the next thing to type.

    `code` is the exit code guard ends with: 2 for bad input, 125 for a failure of its own before the target
    started, 126 and 127 for a command that can't be run.
    """

    def __init__(self, what: str, *, why: str = "", hint: str = "", code: int = EXIT_GUARD_FAILED) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint
        self.code = code

    def lines(self) -> list[str]:
        """The message as printed, one string a line, without line ends."""
        from supervisor.analysis.text import visible  # a file's name moves no cursor

        text = f"guard: {self.what}"
        if self.why:
            text += f": {self.why}"
        return [visible(line) for line in ([text, f"  try: {self.hint}"] if self.hint else [text])]


class UsageError(GuardError):
    """Bad input: an option, a setting or a file that guard refuses to start on (exit code 2)."""

    def __init__(self, what: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(what, why=why, hint=hint, code=EXIT_USAGE)


def fail(error: GuardError) -> NoReturn:
    """Print an explained failure on stderr and exit with its code."""
    if tell(what=error.what, why=error.why, hint=error.hint, code=error.code):
        os._exit(error.code)
    text = "\n".join(error.lines()) + "\n"
    try:
        os.write(2, text.encode("utf-8", "backslashreplace"))
    except OSError:
        pass
    os._exit(error.code)


def tell_fault() -> None:
    """The fault's traceback on stderr, as far as anybody reads it."""
    try:
        import traceback

        say("guard: a fault of guard's own; the target runs on unwatched\n" + traceback.format_exc())
    except Exception:
        pass


def say(text: str) -> None:
    """Lines on stderr without a log, as far as anybody reads them."""
    try:
        from supervisor.log import Stream

        Stream(2).write(text.rstrip("\n").encode("utf-8", "backslashreplace")[:4096] + b"\n")
    except Exception:
        pass
