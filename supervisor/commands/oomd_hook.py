"""`guard oomd-hook`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from supervisor.commands import shared


def add(app: typer.Typer) -> None:
    """Give the command to the app."""
    app.command("oomd-hook", short_help="Take evidence of what systemd-oomd is about to kill.")(_oomd_hook)


def _oomd_hook(
    socket: Annotated[
        str | None, typer.Option("--socket", metavar="PATH", help="Where to listen, when systemd hands over no socket.")
    ] = None,
    deadline: Annotated[
        str,
        typer.Option(metavar="TIME", help="The longest wait for an answer; less than oomd's PrekillHookTimeoutSec=."),
    ] = "3s",
    growth: Annotated[str, typer.Option(metavar="TIME", help="Of it, for who takes the memory; 0 for none.")] = "1s",
    profiles_dir: shared.ProfilesDir = None,
) -> None:
    """Answer systemd-oomd before it kills a group, with evidence of its Python processes taken by then.

    Evidence goes to --profiles-dir, else to the unit's $STATE_DIRECTORY, else to /var/log/guard. Needs systemd 260 and
    PrekillHookTimeoutSec= in oomd.conf: see guard init --oomd.

    Example: guard oomd-hook --deadline 3s --profiles-dir /var/log/guard
    """
    from supervisor import quantities
    from supervisor.errors import UsageError
    from supervisor.oomd import hook, listening

    times = {}
    for name, text in (("deadline", deadline), ("growth", growth)):
        try:
            times[name] = quantities.parse_duration(text, 1.0, zero=name == "growth")
        except quantities.BadValue as error:
            raise UsageError(f"--{name} {text[:80]!r}: not accepted", why=f"it takes {error}") from None
    hook.serve(
        os.path.abspath(socket or listening.SOCKET), profiles_dir, times["deadline"], times["growth"], dict(os.environ)
    )
