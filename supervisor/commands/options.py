"""What commands that take the table's settings share: their options, the line's check, how guard was started."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer

from supervisor import meant
from supervisor.errors import UsageError
from supervisor.quickparse import switches
from supervisor.settings import BY_NAME, SETTINGS

RUN_EXAMPLE = "guard run --warning 60% --critical 75% --profiling 85% -- python app.py"

Command = Annotated[list[str] | None, typer.Argument(metavar="-- COMMAND [ARG]...")]


class _Call:
    """What the entry point knows and commands need: how guard itself was started."""

    mask: Iterable[int] = ()
    environ: bytes | None = None


def start_with(mask: Iterable[int], environ: bytes | None) -> None:
    """Keep how guard was started, as `boot.main` got it, for `started_with`."""
    _Call.mask, _Call.environ = mask, environ


def started_with() -> tuple[Iterable[int], bytes | None]:
    """The signals that guard's caller had blocked and the environment it gave, as `boot.main` got them."""
    return _Call.mask, _Call.environ


def environment() -> dict[str, str]:
    """The environment that guard's caller gave, as text."""
    from supervisor import launch, settling

    raw = _Call.environ
    return settling.text_environment(launch.original_environment() if raw is None else launch.split_environment(raw))


def with_settings(
    function: Callable[..., None], *more: inspect.Parameter, groups_left_out: set[str] | None = None
) -> Callable[..., None]:
    """Give a function the table's options (it takes them as keyword arguments) besides its own parameters."""

    def command(**values: Any) -> None:
        function(**values)

    parameters = [*_options(groups_left_out or set()), *more]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = function.__doc__
    command.__name__ = function.__name__
    return command


def argument(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    """A parameter of a command's own, beside the table's options."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _options(groups_left_out: set[str]) -> list[inspect.Parameter]:
    """The table's settings as typer options."""
    parameters = []
    for setting in SETTINGS:
        if setting.group in groups_left_out or setting.name in groups_left_out:
            continue
        declarations = list(switches(setting)) if setting.kind == "switch" else [f"--{setting.name}"]
        if setting.kind == "switch":
            kind: Any = bool | None
            declarations = ["/".join(declarations)]
        else:
            kind = list[str] | None if setting.repeat else str | None
        option = typer.Option(
            *declarations,
            metavar=setting.metavar or None,
            help=setting.help,
            rich_help_panel=setting.group.capitalize(),
            show_default=False,
        )
        annotation = Annotated[kind, option]
        parameters.append(
            inspect.Parameter(setting.key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        )
    return parameters


def given_of(values: dict[str, Any]) -> dict[str, list[str]]:
    """Option values by setting name, as texts."""
    given: dict[str, list[str]] = {}
    for name, setting in BY_NAME.items():
        value = values.get(setting.key)
        if value is None or value == []:
            continue
        if isinstance(value, bool):
            given[name] = ["1" if value else "0"]
        else:
            given[name] = list(value) if setting.repeat else [value]
    return given


def parse_run(
    values: dict[str, Any], verb: str = "run", example: str = RUN_EXAMPLE
) -> tuple[dict[str, list[str]], list[str]]:
    """Settings and command of a line of `run` or of another verb that runs a command. Raises UsageError."""
    command = list(values.pop("command") or [])
    given = given_of(values)
    for name, texts in given.items():
        for text in texts:
            _check(name, text, verb)
    if not command:
        raise UsageError("there is no command to run", hint=example)
    if "|" in command:
        where = command.index("|")
        left, right = command[:where], command[where + 1 :]
        raise UsageError(
            "a | stands among the target's arguments",
            why="guard starts one command and no shell",
            hint=f"guard {verb} -- {meant.in_a_shell(left, right)}   "
            f"(or, to watch a pipe's other end: guard watch | {shlex.join(right) or 'OTHER'})",
        )
    return given, command


def _check(name: str, text: str, verb: str = "run") -> None:
    from supervisor.quantities import BadValue

    try:
        BY_NAME[name].parse(text)
    except BadValue as error:
        shown = text if len(text) <= 80 else text[:77] + "..."
        raise UsageError(
            f"--{name} {shown!r} on the command line: not accepted",
            why=f"it takes {error}",
            hint=f"guard {verb} --help",
        ) from None
