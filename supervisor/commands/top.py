"""`guard top`."""

from __future__ import annotations

from typing import Annotated

import typer

from supervisor.commands import shared


def add(app: typer.Typer) -> None:
    """Give the command to the app."""
    app.command("top", short_help="Look at a running guard from another terminal.")(_top)


def _top(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            show_default=False,
            help="A run's id, the start or a part of one, or its path; without it the newest that lives.",
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Show it once; so it is in a pipe, too.")] = False,
    interval: Annotated[str, typer.Option(metavar="TIME", help="How often to look: 1s, 500ms.")] = "1s",
    profiles_dir: shared.ProfilesDir = None,
    json_: Annotated[bool, typer.Option("--json", help="Once, for programs.")] = False,
) -> None:
    """Look at a running guard: state, headroom, time to the limit, processes, actions.

    It reads the run's files and nothing else: neither guard nor the target notices. Ctrl-C ends it.

    Example: guard top    or    guard top --once | head
    """
    import sys

    from supervisor import live
    from supervisor.errors import UsageError
    from supervisor.quantities import BadValue, parse_duration

    try:
        interval_s = max(0.1, parse_duration(interval, 1.0))
    except BadValue as error:
        raise UsageError(f"--interval {interval[:80]!r}: not accepted", why=f"it takes {error}") from None
    view = live.View(shared.root(profiles_dir), run)
    if json_:
        shared.show(view.look())
    elif once or not sys.stdout.isatty():
        shared.say(live.text(view.look()))
    else:
        live.follow(view, interval_s)
