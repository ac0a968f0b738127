"""`guard compare`: two profiles, or two sets of them, held against each other and against chance."""

from __future__ import annotations

from typing import Annotated

import typer

from supervisor.commands import shared

_SIDE = "a file, a directory, a glob, a run's id or latest; may be given several times"


def add(app: typer.Typer) -> None:
    """Give the command to the app."""

    @app.command("compare", short_help="Compare two profiles: what became slower, what faster.")
    def _compare(
        words: Annotated[
            list[str] | None,
            typer.Argument(
                metavar="[BASELINE] CURRENT",
                show_default=False,
                help="The same, without options: two profiles, or one against the default baseline.",
            ),
        ] = None,
        baseline: Annotated[
            list[str] | None,
            typer.Option("--baseline", metavar="PROFILE", help=f"What it was: {_SIDE}. Default: profiles/baseline.md."),
        ] = None,
        current: Annotated[
            list[str] | None,
            typer.Option("--current", metavar="PROFILE", help=f"What it is: {_SIDE}. Default: the newest profile."),
        ] = None,
        output: Annotated[
            str | None,
            typer.Option("--output", "-o", metavar="FILE", help="Write the report there: .md, .html or .json."),
        ] = None,
        fail_on: Annotated[
            str | None, typer.Option("--fail-on", metavar="PERCENT", help="Exit 1 on a regression past this: 5%.")
        ] = None,
        per: Annotated[
            str,
            typer.Option(
                "--per",
                metavar="auto|run|second|share",
                help="Compare the time of a run, time per second of recording, or shares of the whole.",
            ),
        ] = "auto",
        profiles_dir: Annotated[
            str | None, typer.Option("--profiles-dir", metavar="DIR", help="Where profiles are.")
        ] = None,
        json_: shared.Json = False,
    ) -> None:
        """Compare profiles function by function: what became slower or faster, a score from 0 to 100.

        Example: guard compare profiles/baseline.md latest --output reports/comparison.md
        """
        import os

        from supervisor import comparing

        wish = comparing.Wish(
            baseline or [],
            current or [],
            words=words or (),
            output=output,
            as_json=json_,
            fail_on=fail_on,
            per=per,
            profiles_dir=profiles_dir,
        )
        raise typer.Exit(comparing.execute(wish, os.environ))
