"""The command's first module: a plain `guard run` starts its target from here, all else goes to typer.

`bin/guard` has blocked all signals before this is imported.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NoReturn


def main(mask: Iterable[int], environ: bytes | None = None) -> NoReturn:
    """Run the command line in sys.argv and exit. `mask`: the signals that the caller of guard had blocked.

    `environ` is the environment guard was given (NAME=value entries parted by NUL bytes) where the way here has
    changed the process's own.
    """
    hold_closed_streams()
    arguments = sys.argv[1:]
    if arguments[:1] == ["run"]:
        from supervisor import quickparse

        line = quickparse.parse(arguments[1:])
        if line is not None:
            from supervisor import run

            run.execute(line.given, line.command, mask, environ)
    if arguments[:1] == ["compare"]:
        from supervisor import quickcompare

        quickcompare.start(arguments[1:], mask)
    from supervisor import cli

    cli.main(arguments, mask, environ)


def hold_closed_streams() -> None:
    """Take the places of standard streams that the caller closed, so that no pipe of guard's own gets one.

    It would be overwritten by `launch.let_go`, or be taken for stderr and get log lines as signals. Close-on-exec
    gives the target its streams as closed as they came; a directory refuses writes, so what is logged is counted.
    """
    try:
        while (fd := os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) <= 2:
            pass
        os.close(fd)
    except OSError:
        pass
