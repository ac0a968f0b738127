"""`guard watch`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from supervisor.commands import options, shared

_WITHOUT_TARGET = {"process", "life"}  # settings' groups that only `run` has


def add(app: typer.Typer) -> None:
    """Give the command to the app."""
    pids = Annotated[list[int] | None, typer.Argument(metavar="[PID]...", parser=shared.pid)]
    app.command("watch", short_help="Watch processes that already run.")(
        options.with_settings(_watch, options.argument("pids", pids), groups_left_out=_WITHOUT_TARGET)
    )


def _watch(**values: Any) -> None:
    """Watch processes that already run; without a PID and with a pipe as stdout, the other end of the pipe.

    Example: guard watch 4242    or    guard watch | python app.py
    """
    from supervisor import observe

    pids = list(values.pop("pids") or [])
    raise typer.Exit(observe.watch(options.given_of(values), options.environment(), pids))
