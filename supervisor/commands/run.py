"""`guard run`, as far as `quickparse` leaves it to typer."""

from __future__ import annotations

from typing import Any

import typer

from supervisor.commands import options


def add(app: typer.Typer) -> None:
    """Give the command to the app."""
    app.command(
        "run", context_settings={"allow_interspersed_args": False}, short_help="Run a command and watch its memory."
    )(options.with_settings(_run, options.argument("command", options.Command)))


def _run(**values: Any) -> None:
    """Run a command and watch its whole process tree.

    Example: guard run --warning 60% --critical 75% --profiling 85% -- python app.py
    """
    from supervisor import run

    given, command = options.parse_run(values)
    run.execute(given, command, *options.started_with())
