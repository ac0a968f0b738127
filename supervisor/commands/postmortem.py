"""`guard postmortem`."""

from __future__ import annotations

from typing import Annotated

import typer

from supervisor.commands import shared


def add(app: typer.Typer) -> None:
    """Give the command to the app."""
    app.command("postmortem", short_help="Tell what ended a run and who held the memory.")(_postmortem)


def _postmortem(
    run: Annotated[str, typer.Argument(metavar="[RUN]", show_default=False, help=shared.RUN_HELP)] = "latest",
    profiles_dir: shared.ProfilesDir = None,
    json_: shared.Json = False,
) -> None:
    """Tell what ended a run and how sure that is, who held the memory, and what to do next.

    Works from what is on disk, also after guard itself was killed, and on a folder copied from another machine.

    Example: guard postmortem    or    guard postmortem 20261124T1116 --json
    """
    from supervisor import evidence, postmortem

    found = postmortem.examine(evidence.find(shared.root(profiles_dir), run))
    shared.show(found) if json_ else shared.say(postmortem.text(found))
