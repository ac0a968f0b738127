"""`guard config`."""

from __future__ import annotations

from typing import Any

import typer

from supervisor.commands import options, shared


def add(app: typer.Typer) -> None:
    """Give the command to the app."""
    app.command("config", short_help="Show every setting and where it came from.")(
        options.with_settings(_config, options.argument("json_", shared.Json, False))
    )


def _config(**values: Any) -> None:
    """Show what was detected, every setting, its value and where it came from.

    Example: guard config --env production --json
    """
    from supervisor import inspect_config

    as_json = values.pop("json_")
    given = options.given_of(values)
    document = inspect_config.document(given, options.environment())
    shared.show(document) if as_json else shared.say(inspect_config.text(document))
