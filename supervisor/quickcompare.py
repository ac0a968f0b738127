"""A plain `guard compare` line, parsed and run without typer, whose import takes longer than comparing does.

As in `quickparse`, what it isn't sure of (help, an unknown option, a missing value) is left to typer.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from supervisor.comparing import Wish

_VALUES = {
    "--output": "output",
    "-o": "output",
    "--fail-on": "fail_on",
    "--per": "per",
    "--profiles-dir": "profiles_dir",
}


def plain(arguments: Sequence[str]) -> Wish | None:
    """The line behind `guard compare`, or None for what only typer should look at (help, an unknown option)."""
    words: list[str] = []
    sides: dict[str, list[str]] = {"--baseline": [], "--current": []}
    values: dict[str, str] = {}
    as_json = False
    position = 0
    while position < len(arguments):
        word = arguments[position]
        position += 1
        if word == "--json":
            as_json = True
            continue
        if not word.startswith("-"):
            words.append(word)
            continue
        option, equals, value = word.partition("=")
        if (option not in sides and option not in _VALUES) or (equals and not option.startswith("--")):
            return None
        if not equals:
            if position >= len(arguments) or arguments[position].startswith("-"):
                return None
            value = arguments[position]
            position += 1
        if option in sides:
            sides[option].append(value)
        else:
            values[_VALUES[option]] = value
    from supervisor.comparing import Wish

    return Wish(sides["--baseline"], sides["--current"], words=words, as_json=as_json, **values)


def start(arguments: Sequence[str], mask: Iterable[int]) -> None:
    """Run a plain line and exit; returns where typer should look at it. `mask`: signals blocked by guard's caller."""
    import _signal
    import gc
    import os

    from supervisor import errors

    try:
        wish = plain(arguments)
        if wish is None:
            return
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
        gc.disable()  # millions of short-lived sets and no cycles: looking for those takes a tenth of the time
        from supervisor import comparing

        code = comparing.execute(wish, os.environ)
    except errors.GuardError as error:
        errors.fail(error)
    except KeyboardInterrupt:
        code = 130
    os._exit(code)  # everything is written; there is nothing to tidy up
