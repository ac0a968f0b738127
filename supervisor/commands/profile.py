"""`guard profile`: profile a command, a running process or a demo, now."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, Any

import typer

from supervisor.commands import shared

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
    from supervisor import cli

    def flag(help: str, name: str) -> Any:
        return Annotated[bool, typer.Option(name, help=help, rich_help_panel="Profile")]

    def text(metavar: str, help: str, name: str) -> Any:
        return Annotated[str | None, typer.Option(name, metavar=metavar, help=help, rich_help_panel="Profile")]

    argument = cli.argument
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
        argument("command", Annotated[list[str] | None, typer.Argument(metavar="-- COMMAND [ARG]...")]),
    ]
    app.command(
        "profile",
        context_settings={"allow_interspersed_args": False},
        short_help="Profile a command or a process now.",
    )(cli.with_settings(_profile, *own, groups_left_out=_LEFT_OUT))


def _profile(**values: Any) -> None:
    """Profile a command's whole life, or a while of a running process, inside the environment's overhead budget.

    Example: guard profile --output profiles/baseline.md -- python app.py    or    guard profile --pid 4242
    """
    from supervisor import cli, profiling
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
    mask, environ = cli.started_with()
    quiet = bool(values.get("quiet"))
    if pid is not None:
        given, _ = cli.parse_run({**values, "command": ["-"]}, "profile", PROFILE_EXAMPLE)
        profiling.of_process(given, wish, pid, environ, lambda outcome: _tell(outcome, 1, as_json, quiet))
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
            _show(outcome, stdout, as_json)
        _tell(outcome, 2, as_json and not demo, quiet)
        for error in outcome.failures:
            _write(2, "\n".join(error.lines()) + "\n")

    given, command = cli.parse_run(values, "profile", PROFILE_EXAMPLE)
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


def _show(outcome: Any, stdout: int, as_json: bool) -> None:
    """The demo's Markdown, or its document, on what stdout was."""
    found = next((path for path in outcome.files if path.endswith(".md")), None)
    if as_json:
        _write(stdout, json.dumps(_document(outcome), indent=1) + "\n")
    elif found is not None:
        with open(found, encoding="utf-8") as file:
            _write(stdout, file.read())


def _tell(outcome: Any, fd: int, as_json: bool, quiet: bool) -> None:
    if as_json:
        _write(fd, json.dumps(_document(outcome)) + "\n")
    elif not quiet or fd == 1:
        _write(fd, _text(outcome))


def _document(outcome: Any) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "run": outcome.run,
        "pid": outcome.pid,
        "command": outcome.command,
        "directory": outcome.directory,
        "files": outcome.files,
        "moved": outcome.moved or None,
        "output": outcome.output,
        "profiles": {
            kind: {key: value for key, value in result.items() if key != "paths"}
            for kind, result in outcome.results.items()
        },
        "absent": outcome.absent,
    }


def _text(outcome: Any) -> str:
    """What came out, for people: a few lines."""
    from supervisor.analysis.text import counted, visible
    from supervisor.quantities import human_duration

    lines = []
    for kind, result in outcome.results.items():
        if result.get("outcome") != "ok":
            continue
        samples = result.get("samples", 0)
        if kind == "heap-profile":
            lines.append(_heap(outcome.pid, result))
        else:
            lines.append(
                f"guard: {kind} of {outcome.pid}: {counted(samples, 'sample', 'samples')} at "
                f"{result.get('used_rate_hz', 0):.4g} Hz over {human_duration(result.get('seconds', 0.0))}"
            )
        lines += [
            f"  {each['share'] * 100:5.1f} %  {visible(each['function'])}"
            + (f"  {visible(each['file'])}:{each['line'] or ''}".rstrip(":") if each["file"] else "")
            for each in result.get("top", ())
        ]
        asked, used = result.get("asked_rate_hz", 0), result.get("used_rate_hz", 0)
        if kind == "cpu-profile" and not samples:
            lines.append("  it waited: nothing was busy when it was looked at")
        elif used < asked:
            lines.append(f"  {asked} Hz were asked; {result['rate_reason'].rpartition('; then ')[2]}")
    lines += [f"guard: {kind}: {why}" for kind, why in outcome.absent.items()]
    summaries = [path for path in outcome.files if path.endswith(".md")]
    if outcome.moved:
        lines.append(f"guard: evidence is not where it was wanted: {visible(outcome.moved)}")
    if outcome.output:
        lines.append(f"guard: written to {visible(outcome.output)}")
    lines += [f"guard: read {visible(summary)}" for summary in summaries]
    return "".join(line + "\n" for line in lines)


def _heap(pid: int, result: dict[str, Any]) -> str:
    from supervisor.analysis.text import visible
    from supervisor.quantities import human_bytes

    line = f"guard: heap-profile of {pid} ({result.get('engine', '')}): "
    grew = result.get("grew")
    if "peak_bytes" in result:
        return line + f"{human_bytes(result['peak_bytes'])} held at the peak"
    if result.get("engine") in ("inspector", "node", "bun"):
        skipped = result.get("snapshot_skipped")
        return line + f"{human_bytes(result['bytes'])} held" + (f"; no heap snapshot: {skipped}" if skipped else "")
    if not grew:
        return line + f"{result.get('samples', 0):,} objects looked at; no type grew beyond chance"
    holder = f", held by {visible(grew['holder'])}" if grew["holder"] else ""
    return line + f"{visible(grew['type'])} grew most, by {human_bytes(grew['bytes'])}{holder}"


def _write(fd: int, text: str) -> None:
    """As far as anybody reads it: it changes no exit code and waits for nobody that doesn't read stderr."""
    from supervisor import output
    from supervisor.log import Stream

    data = text.encode("utf-8", "backslashreplace")
    if fd == 2:
        Stream(2).write(data)
        return
    try:
        output.write_all(fd, data)
    except OSError:
        pass
