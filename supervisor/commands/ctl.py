"""`guard ctl`."""

from __future__ import annotations

from typing import Annotated

import typer

from supervisor.commands import shared


def add(app: typer.Typer) -> None:
    """Give the command to the app."""
    app.command("ctl", short_help="Ask a running guard: its state, a profile, a restart, a stop.")(_ctl)


def _ctl(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[RUN] state|profile|stacks|snapshot|heap|restart|stop",
            show_default=False,
            help="RUN: a run's id, a part of one, or its path; without it (or with last) the only one that lives.",
        ),
    ],
    pid: Annotated[
        int | None,
        typer.Option(
            "--pid",
            metavar="PID",
            parser=shared.pid,
            help="This process of the tree, instead of the one that grows most.",
        ),
    ] = None,
    duration: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long to profile: 5s, 500ms; up to 10min.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until it is done, and print what it left.")
    ] = True,
    profiles_dir: shared.ProfilesDir = None,
    json_: shared.Json = False,
) -> None:
    """Ask a running guard, from another terminal or through docker exec; only its user and root may.

    state shows memory and what runs; profile, stacks, snapshot and heap look at a process now and print the files;
    restart begins another life (of a run with --restart or --reload); stop ends the run for good.

    Example: guard ctl state    or    docker exec CONTAINER guard ctl profile --duration 5s
    """
    from supervisor.ctl import client, wording

    verb, run = wording.verb_and_run(words)
    request = wording.request(verb, pid, duration, wait)
    found = client.find(shared.root(profiles_dir), run, verb)
    try:
        answer = client.ask(found, request)
    except client.Refused as error:
        if not json_:
            raise
        shared.show(error.answer or {"ok": False, "error": error.what, "hint": error.hint})
        raise typer.Exit(error.code) from None
    shared.show(answer) if json_ else shared.say(wording.text(verb, answer))
