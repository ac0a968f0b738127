"""`guard doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from supervisor.commands import options, shared


def add(app: typer.Typer) -> None:
    """Give the command to the app."""
    app.command("doctor", short_help="Try what works on this machine.")(_doctor)


def _doctor(
    pid: Annotated[
        int | None, typer.Option("--pid", metavar="PID", parser=shared.pid, help="Try it on this process, too.")
    ] = None,
    json_: shared.Json = False,
    words: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
) -> None:
    """Try every capability for real, on a throw-away process and on --pid; say how to get what is refused.

    Example: guard doctor --pid 4242
    """
    from supervisor import settling
    from supervisor.doctor import examine
    from supervisor.errors import UsageError

    if words:
        hint = f"guard doctor --pid {shared.pid(words[0])}" if words[0].isdigit() else "guard doctor --pid PID"
        raise UsageError(f"guard doctor takes no {words[0][:80]!r}", hint=hint)
    config = settling.settle({}, options.environment())
    report = examine.examine(pid, config.profiles_dir)
    shared.show(examine.document(report)) if json_ else shared.say(examine.text(report))
