"""The command line: parse, one call, print. The only place that explains errors to people."""

from __future__ import annotations

import inspect
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Annotated, Any, NoReturn

import typer

from supervisor import meant, run
from supervisor.commands import ctl, init, mistaken, oomd_hook, postmortem, prune, report, runs, shared, top
from supervisor.errors import GuardError, UsageError
from supervisor.quickparse import switches
from supervisor.settings import BY_NAME, SETTINGS
from supervisor.version import VERSION

RUN_EXAMPLE = "guard run --warning 60% --critical 75% --profiling 85% -- python app.py"
_WITHOUT_TARGET = {"process", "life"}  # settings' groups that only `run` has

app = typer.Typer(
    name="guard",
    help="Run any command as if guard weren't there, and never lose it to memory without evidence of who held it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _Call:
    """What the entry point knows and commands need: how guard itself was started."""

    mask: Iterable[int] = ()
    environ: bytes | None = None


def main(arguments: list[str], mask: Iterable[int], environ: bytes | None) -> NoReturn:
    """Run a command line; exits."""
    _Call.mask, _Call.environ = mask, environ
    if arguments[:1] not in (["run"], ["profile"]):  # those two become a target's init
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        mistaken.check(arguments, [str(each.name) for each in app.registered_commands])
        app(args=arguments, prog_name="guard")
    except GuardError as error:
        run.fail(error)
    except BrokenPipeError:
        os._exit(1)
    sys.exit(0)


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


def _given(values: dict[str, Any]) -> dict[str, list[str]]:
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


def parse_run(
    values: dict[str, Any], verb: str = "run", example: str = RUN_EXAMPLE
) -> tuple[dict[str, list[str]], list[str]]:
    """Settings and command of a line of `run` or of another verb that runs a command. Raises UsageError."""
    command = list(values.pop("command") or [])
    given = _given(values)
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


def _run(**values: Any) -> None:
    """Run a command and watch its whole process tree.

    Example: guard run --warning 60% --critical 75% --profiling 85% -- python app.py
    """
    given, command = parse_run(values)
    run.execute(given, command, _Call.mask, _Call.environ)


def _config(**values: Any) -> None:
    """Show what was detected, every setting, its value and where it came from.

    Example: guard config --env production --json
    """
    from supervisor import inspect_config

    as_json = values.pop("json_")
    given = _given(values)
    document = inspect_config.document(given, _environ())
    typer.echo(json.dumps(document, indent=1) if as_json else inspect_config.text(document))


def _watch(**values: Any) -> None:
    """Watch processes that already run; without a PID and with a pipe as stdout, the other end of the pipe.

    Example: guard watch 4242    or    guard watch | python app.py
    """
    from supervisor import observe

    pids = list(values.pop("pids") or [])
    raise typer.Exit(observe.watch(_given(values), _environ(), pids))


def _environ() -> dict[str, str]:
    from supervisor import launch

    raw = _Call.environ
    return run.text_environment(launch.original_environment() if raw is None else launch.split_environment(raw))


def started_with() -> tuple[Iterable[int], bytes | None]:
    """The signals that guard's caller had blocked and the environment it gave, as `boot.main` got them."""
    return _Call.mask, _Call.environ


app.command(
    "run", context_settings={"allow_interspersed_args": False}, short_help="Run a command and watch its memory."
)(
    with_settings(
        _run,
        argument("command", Annotated[list[str] | None, typer.Argument(metavar="-- COMMAND [ARG]...")]),
    )
)
app.command("config", short_help="Show every setting and where it came from.")(
    with_settings(_config, argument("json_", shared.Json, False))
)
app.command("watch", short_help="Watch processes that already run.")(
    with_settings(
        _watch,
        argument("pids", Annotated[list[int] | None, typer.Argument(metavar="[PID]...", parser=shared.pid)]),
        groups_left_out=_WITHOUT_TARGET,
    )
)


@app.command("doctor", short_help="Try what works on this machine.")
def _doctor(
    pid: Annotated[
        int | None, typer.Option("--pid", metavar="PID", parser=shared.pid, help="Try it on this process, too.")
    ] = None,
    json_: shared.Json = False,
    words: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
) -> None:
    """Try every capability for real, on a throw-away process and on --pid; say how to get what is refused.

    Example: guard doctor --pid 4242
    """
    from supervisor.doctor import examine

    if words:
        hint = f"guard doctor --pid {shared.pid(words[0])}" if words[0].isdigit() else "guard doctor --pid PID"
        raise UsageError(f"guard doctor takes no {words[0][:80]!r}", hint=hint)
    config = run.settle({}, _environ())
    report = examine.examine(pid, config.profiles_dir)
    typer.echo(json.dumps(examine.document(report), indent=1) if json_ else examine.text(report))


for command in (ctl, init, oomd_hook, postmortem, prune, report, runs, top):
    command.add(app)


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


from supervisor.commands import compare, overhead, profile  # noqa: E402 - each takes what is above

for _command in (
    compare,
    profile,
    overhead,
):
    _command.add(app)
