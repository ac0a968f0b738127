"""`guard report`."""

from __future__ import annotations

from typing import Annotated

import typer

from supervisor.commands import shared


def add(app: typer.Typer) -> None:
    """Give the command to the app."""
    app.command("report", short_help="Show a run as one HTML page.")(_report)


def _report(
    run: Annotated[str, typer.Argument(metavar="[RUN]", show_default=False, help=shared.RUN_HELP)] = "latest",
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write it there, instead of report.html in the run's folder."
        ),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    profiles_dir: shared.ProfilesDir = None,
    json_: shared.Json = False,
) -> None:
    """Show a run as one HTML page: memory, states and actions over time, evidence, flame graphs, events.

    The page needs no network and no file beside it; it can be mailed or kept as an artifact of a CI job. It holds the
    run's command lines and names, as the evidence does, and is written for its owner only (0600).

    Example: guard report --open    or    guard report 20261124T1116 --output report.html
    """
    from supervisor import evidence, report, reporting

    found = evidence.find(shared.root(profiles_dir), run)
    written = reporting.write(found, report.render(report.material(found)), output)
    if json_:
        shared.show({"schema_version": 1, "run": found.id, "path": written.path, "bytes": written.size_bytes})
    else:
        shared.say(written.path)
    if open_:
        reporting.show(written.path)
