"""`guard overhead`: what watching and profiling cost a command."""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
from typing import Annotated

import typer

from supervisor.commands import options, shared

OVERHEAD_EXAMPLE = "guard overhead -- python app.py"


def add(app: typer.Typer) -> None:
    """Give the command to the app."""
    app.command(
        "overhead",
        context_settings={"allow_interspersed_args": False},
        short_help="Measure what watching and profiling cost a command.",
    )(_overhead)


def _overhead(
    command: options.Command = None,
    modes: Annotated[
        str, typer.Option("--modes", metavar="LIST", help="Of watch, dev, prod, ci, critical; parted by commas.")
    ] = "watch,dev,prod,ci,critical",
    runs: Annotated[int, typer.Option("--runs", min=1, help="Blocks: each runs every way once.")] = 10,
    warmup: Annotated[int, typer.Option("--warmup", min=0, help="Blocks before those that count.")] = 1,
    ignore_failure: Annotated[bool, typer.Option("--ignore-failure", help="The command may end with a code.")] = False,
    json_: shared.Json = False,
) -> None:
    """Run a command with and without guard, in turn and in random order, and tell what watching and each mode cost.

    Example: guard overhead --modes watch,prod -- python job.py
    """
    from supervisor import overhead
    from supervisor.errors import UsageError
    from supervisor.progress import Progress

    if not command:
        raise UsageError("there is no command to run", hint=OVERHEAD_EXAMPLE)
    asked = [word.strip() for word in modes.split(",") if word.strip()]
    known = overhead.WAYS[1:]
    for word in asked:
        if word not in known:
            raise UsageError(f"--modes {word!r}: not accepted", why=f"it takes {', '.join(known)}")
    if not asked:
        raise UsageError("--modes names none", why=f"it takes {', '.join(known)}")
    ways = (overhead.NONE, *(way for way in known if way in asked))
    guard = [sys.executable, "-IS", os.path.abspath(sys.argv[0])]
    progress = Progress()
    done = 0

    def tell(way: str) -> None:
        nonlocal done
        progress.show(done, words=way)
        done += 1

    found: list[overhead.Block] = []
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, overhead.end_by)
    with tempfile.TemporaryDirectory(prefix="guard-overhead-") as scratch:
        executor = overhead.Processes(command, guard, scratch, failing=ignore_failure)
        progress.begin((runs + warmup) * len(ways), "overhead")
        try:
            for block in overhead.blocks(executor, ways, runs, warmup, random.getrandbits(32), tell):
                found.append(block)
        except KeyboardInterrupt:
            if not found:
                raise typer.Exit(130) from None
        finally:
            progress.end()
    rows = overhead.summarise(found, ways)
    if json_:
        shared.show(overhead.document(rows, command))
        return
    typer.echo("\n".join([*overhead.table(rows), "", *overhead.remarks(rows)]))
