"""`guard profile`: profile a command, a running process or a demo, now."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from supervisor.commands import options, shared

PROFILE_EXAMPLE = "guard profile -- python app.py"
_LEFT_OUT = {
    "thresholds",
    "triggers",
    "actions",
    "retention",
    "metrics",
    "log-format",
    "log-level",
    "log-file",
    "watch",
    "heap-interval",
}
_FLAGS = {
    "subprocesses": "Profile the Python processes it starts, too.",
    "native": "Stacks of C, C++ and Rust code as well (it costs more).",
    "gil": "Only the thread that holds the GIL.",
    "idle": "Idle threads as well.",
    "threads": "Tell threads apart.",
    "snapshot": "With --heap, of a Node: a heap snapshot as well, where there is room for it.",
}


def add(app: typer.Typer) -> None:
    """Give the command to the app."""

    def flag(help: str, name: str) -> Any:
        return Annotated[bool, typer.Option(name, help=help, rich_help_panel="Profile")]

    def text(metavar: str, help: str, name: str) -> Any:
        return Annotated[str | None, typer.Option(name, metavar=metavar, help=help, rich_help_panel="Profile")]

    argument = options.argument
    own = [
        argument(
            "pid",
            Annotated[
                int | None, typer.Option("--pid", metavar="PID", parser=shared.pid, help="A process that runs already.")
            ],
        ),
        argument("demo", flag("Profile a small program that is part of guard and show the result.", "--demo"), False),
        argument("cpu", flag("A CPU profile: what is busy.", "--cpu"), False),
        argument("heap", flag("A heap profile: what holds memory. Without --cpu and --heap: both.", "--heap"), False),
        argument("mode", text("MODE", "smart (by environment), dev, prod, ci or critical.", "--mode")),
        argument("adaptive", flag("The same as --mode smart.", "--adaptive"), False),
        argument("duration", text("TIME", "10s for --pid; a command's whole life.", "--duration")),
        argument("output", text("FILE", "Put the profile there, too; the name's end is the format.", "--output")),
        *(argument(name, flag(help, f"--{name}"), False) for name, help in _FLAGS.items()),
        argument("json_", shared.Json, False),
        argument("command", options.Command),
    ]
    app.command(
        "profile",
        context_settings={"allow_interspersed_args": False},
        short_help="Profile a command or a process now.",
    )(options.with_settings(_profile, *own, groups_left_out=_LEFT_OUT))


def _profile(**values: Any) -> None:
    """Profile a command's whole life, or a while of a running process, inside the environment's overhead budget.

    Example: guard profile --output profiles/baseline.md -- python app.py    or    guard profile --pid 4242
    """
    from supervisor import profiled, profiling
    from supervisor.errors import UsageError

    pid, demo, as_json = values.pop("pid"), values.pop("demo"), values.pop("json_")
    mode, adaptive = values.pop("mode"), values.pop("adaptive")
    if adaptive and mode not in (None, "smart"):
        raise UsageError(f"--adaptive and --mode {mode} say different things", hint=f"guard profile --mode {mode} ...")
    cpu, heap = values.pop("cpu"), values.pop("heap")
    wish = profiling.Wish(
        cpu=cpu or (demo and not heap),
        heap=heap,
        mode=mode or "smart",
        duration_s=_duration(values.pop("duration")),
        output=values.pop("output"),
        flags={name: values.pop(name) for name in _FLAGS},
        as_json=as_json,
    )
    wanted = [name for name, is_set in (("--pid", pid is not None), ("--demo", demo)) if is_set]
    if values["command"]:
        wanted.append("a command")
    if len(wanted) != 1:
        what = f"{' and '.join(wanted)} can't go together" if wanted else "there is nothing to profile"
        raise UsageError(what, hint=f"{PROFILE_EXAMPLE}   or   guard profile --pid PID   or   guard profile --demo")
    mask, environ = options.started_with()
    quiet = bool(values.get("quiet"))
    if pid is not None:
        given, _ = options.parse_run({**values, "command": ["-"]}, "profile", PROFILE_EXAMPLE)
        profiling.of_process(given, wish, pid, environ, lambda outcome: profiled.tell(outcome, 1, as_json, quiet))
        return
    stdout = -1
    if demo:
        from supervisor import demo as program

        values["command"] = [sys.executable, "-IS", os.path.abspath(program.__file__)]
        stdout = os.dup(1)

    def tell(outcome: Any) -> None:
        if demo:
            if not (cpu or heap):
                outcome.absent["heap-profile"] = f"not in the demo; of a program of yours: {PROFILE_EXAMPLE}"
            profiled.show(outcome, stdout, as_json)
        profiled.tell(outcome, 2, as_json and not demo, quiet)
        profiled.tell_failures(outcome)

    given, command = options.parse_run(values, "profile", PROFILE_EXAMPLE)
    raise typer.Exit(profiling.of_command(given, wish, command, mask, environ, tell, (stdout,) if demo else ()))


def _duration(text: str | None) -> float | None:
    from supervisor import quantities
    from supervisor.errors import UsageError

    if text is None:
        return None
    try:
        return quantities.parse_duration(text, 1.0)
    except quantities.BadValue as error:
        raise UsageError(f"--duration {text[:80]!r}: not accepted", why=f"it takes {error}") from None
