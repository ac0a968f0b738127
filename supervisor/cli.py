"""The command line: parse, one call, print. The only place that explains errors to people."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from typing import Annotated, NoReturn

import typer

from supervisor import errors
from supervisor.commands import (
    compare,
    config,
    ctl,
    doctor,
    init,
    mistaken,
    oomd_hook,
    options,
    overhead,
    postmortem,
    profile,
    prune,
    report,
    run,
    runs,
    top,
    watch,
)
from supervisor.version import VERSION

app = typer.Typer(
    name="guard",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (  # in the order of `guard --help`
    run,
    config,
    watch,
    doctor,
    ctl,
    init,
    oomd_hook,
    postmortem,
    prune,
    report,
    runs,
    top,
    compare,
    profile,
    overhead,
):
    command.add(app)


def main(arguments: list[str], mask: Iterable[int], environ: bytes | None) -> NoReturn:
    """Run a command line; exits."""
    options.start_with(mask, environ)
    if arguments[:1] not in (["run"], ["profile"]):  # those two become a target's init
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        mistaken.check(arguments, [str(each.name) for each in app.registered_commands])
        app(args=arguments, prog_name="guard")
    except errors.GuardError as error:
        errors.fail(error)
    except BrokenPipeError:
        os._exit(1)
    sys.exit(0)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"guard {VERSION}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run any command as if guard weren't there, and never lose it to memory without evidence of who held it."""
