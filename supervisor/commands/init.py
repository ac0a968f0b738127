"""`guard init`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from supervisor.commands import shared
from supervisor.version import VERSION

_FILES = "Files"


def add(app: typer.Typer) -> None:
    """Give the command to the app."""
    app.command("init", short_help="Write .env.profiling and files for containers, CI and systemd.")(_init)


def _init(
    dockerfile: Annotated[
        bool, typer.Option("--dockerfile", help="Dockerfile.guard: your image with guard.", rich_help_panel=_FILES)
    ] = False,
    compose: Annotated[
        bool, typer.Option("--compose", help="compose.guard.yaml: a service.", rich_help_panel=_FILES)
    ] = False,
    kubernetes: Annotated[
        bool, typer.Option("--kubernetes", help="guard-deployment.yaml: a Deployment.", rich_help_panel=_FILES)
    ] = False,
    github_actions: Annotated[
        bool,
        typer.Option(
            "--github-actions", help=".github/workflows/guard.yml: profiles compared.", rich_help_panel=_FILES
        ),
    ] = False,
    gitlab: Annotated[
        bool, typer.Option("--gitlab", help=".gitlab-ci.guard.yml: profiles compared.", rich_help_panel=_FILES)
    ] = False,
    systemd: Annotated[
        bool, typer.Option("--systemd", help="guard-NAME.service: a unit.", rich_help_panel=_FILES)
    ] = False,
    oomd: Annotated[
        bool,
        typer.Option(
            "--oomd", help="guard-oomd.*: evidence of what systemd-oomd kills (systemd 260).", rich_help_panel=_FILES
        ),
    ] = False,
    command: Annotated[str, typer.Option(metavar="TEXT", help="What guard is to run.")] = "python app.py",
    name: Annotated[str, typer.Option(metavar="NAME", help="The service's.")] = "app",
    image: Annotated[str | None, typer.Option(metavar="IMAGE", help="The image with guard; NAME by default.")] = None,
    base: Annotated[
        str | None,
        typer.Option(metavar="IMAGE", help="An image that has the application; else it is copied onto Python's."),
    ] = None,
    memory: Annotated[str, typer.Option(metavar="SIZE", help="The service's memory limit.")] = "512MiB",
    package: Annotated[
        str, typer.Option(metavar="TEXT", help="What pip installs in CI: a name, a wheel, a git+https URL.")
    ] = f"guard-supervisor=={VERSION}",
    directory: Annotated[str, typer.Option(metavar="DIR", help="Where files go.")] = ".",
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace files that differ.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Show what would change, write nothing.")] = False,
    stdout: Annotated[bool, typer.Option("--stdout", help="Print what is asked for, write nothing.")] = False,
    json_: shared.Json = False,
) -> None:
    """Write .env.profiling, and on request files that put guard in front of your command elsewhere.

    A file that differs is never replaced without --force: its diff is shown, nothing is written, the exit code is 1.

    Example: guard init --dockerfile --compose --command "python app.py"
    """
    from supervisor.errors import UsageError
    from supervisor.scaffold import making, placing, wish

    if stdout and (dry_run or force or json_):
        raise UsageError("--stdout writes nothing", why="it goes with no --dry-run, --force or --json")
    one_file = dict(zip(making.KINDS, (dockerfile, compose, kubernetes, github_actions, gitlab, systemd), strict=False))
    kinds = [kind for kind, wanted in one_file.items() if wanted] + (list(making.OOMD) if oomd else [])
    place = placing.open_directory(directory)
    try:
        wanted = wish.Wish(
            directory=os.path.abspath(directory),
            name=wish.name_of(name),
            image=wish.reference("--image", image or name),
            base=wish.reference("--base", base) if base is not None else "",
            command=wish.command_of(command),
            memory_bytes=wish.memory_of(memory),
            package=wish.reference("--package", package),
            guard=making.guard_command(sys.argv[0]),
            requirements=making.has(place, "requirements.txt"),
            dockerfile=dockerfile or making.has(place, wish.DOCKERFILE),
        )
        if stdout:
            shared.say(making.printed(place, wanted, kinds).removesuffix("\n"))
            return
        outcome = making.carry_out(place, wanted, kinds, force=force, dry_run=dry_run)
    finally:
        os.close(place)
    terminal = sys.stdout.isatty()
    colour = terminal and not os.environ.get("NO_COLOR")
    if json_:
        shared.show(outcome.document())
    else:
        shared.say(making.text(outcome, diffs=dry_run, colour=colour, terminal=terminal))
    if outcome.refused:
        raise typer.Exit(1)
