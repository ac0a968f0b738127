"""`guard runs`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from supervisor.commands import shared


def add(app: typer.Typer) -> None:
    """Give the command to the app."""
    app.command("runs", short_help="List the runs, or the limit they need.")(_runs)


def _runs(
    outcome: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WORD",
            help="Only these: running, exited, signalled, oom-killed, stopped, guard-killed, replaced (repeatable).",
        ),
    ] = None,
    state: Annotated[str, typer.Option(metavar="STATE", help="Only runs that reached it or a higher one.")] = "",
    command: Annotated[str, typer.Option(metavar="TEXT", help="Only runs whose command or id has this in it.")] = "",
    since: Annotated[str, typer.Option(metavar="WHEN", help="Only runs begun since: 2h, 7d or 2026-11-24.")] = "",
    last: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the newest N of those.")] = None,
    limits: Annotated[
        bool, typer.Option("--limits", help="The memory limit these runs need, as a Kubernetes resources block.")
    ] = False,
    profiles_dir: shared.ProfilesDir = None,
    json_: shared.Json = False,
) -> None:
    """List the runs, newest first: when, how they ended, peak, highest state, evidence.

    Example: guard runs --outcome oom-killed --since 7d    or    guard runs --command web --limits
    """
    import shutil
    import sys
    import time

    from supervisor import evidence, listing

    wanted = listing.filter_of(outcome or (), state, command, since, time.time())
    root = shared.root(profiles_dir)
    total = 0
    found = []
    for run in evidence.runs(root):
        total += 1
        row = listing.row_of(run)
        if wanted.passes(row):
            found.append((run, row))
        if last is not None and len(found) == last:
            break
    if limits:
        _limits([run for run, _ in found], root, json_)
        return
    rows = [row for _, row in found]
    if json_:
        shared.show(listing.document(root, rows))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    shared.say(listing.table(root, rows, total, width))


def _limits(runs: list[Any], root: str, json_: bool) -> None:
    from supervisor import limits, listing

    documents = [limits.document(each) for each in limits.by_command(runs)]
    if json_:
        shared.show({"schema_version": listing.SCHEMA_VERSION, "root": root, "limits": documents})
    else:
        shared.say(listing.limits_text(documents))
