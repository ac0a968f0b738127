"""`guard prune`."""

from __future__ import annotations

from typing import Annotated

import typer

from supervisor.commands import shared


def add(app: typer.Typer) -> None:
    """Give the command to the app."""
    app.command("prune", short_help="Remove old runs.")(_prune)


def _prune(
    keep_runs: Annotated[str | None, typer.Option(metavar="N", help="Runs kept, and as many profiles.")] = None,
    keep_age: Annotated[str | None, typer.Option(metavar="TIME", help="Age of runs kept: 7d, 12h.")] = None,
    keep_bytes: Annotated[str | None, typer.Option(metavar="SIZE", help="Bytes kept: 500MB, 1GiB.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would be removed.")] = False,
    profiles_dir: shared.ProfilesDir = None,
    json_: shared.Json = False,
) -> None:
    """Remove old runs with all their evidence, by count, age and bytes; never one that lives.

    Without options what guard run applies by itself holds (see guard config). Profiles that belong to no run, such as
    profiles/baseline.md, stay.

    Example: guard prune --keep-age 7d --dry-run
    """
    import os

    from supervisor import evidence, pruning

    given = {"keep-runs": keep_runs, "keep-age": keep_age, "keep-bytes": keep_bytes}
    runs, age_s, size = (evidence.setting(name, text, os.environ) for name, text in given.items())
    root = shared.root(profiles_dir)
    done = pruning.prune(root, runs, age_s, size, dry_run=dry_run, may_be_absent=profiles_dir is None)
    shared.show(pruning.document(done)) if json_ else shared.say(pruning.text(done))
    if done.not_removed:
        raise typer.Exit(1)
