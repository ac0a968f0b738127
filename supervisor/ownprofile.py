"""Programs that profile themselves for their whole life if asked at launch: Node by options, Bun by BUN_OPTIONS.

They write when they end in the normal way, into a folder beside the evidence; `actions/own_profile.py` takes it in.
"""

from __future__ import annotations

import os
import shlex
import shutil

from supervisor.errors import UsageError
from supervisor.profilers import engine

_OPTIONS = {"cpu-profile": "--cpu-prof", "heap-profile": "--heap-prof"}


class Launch:
    """How to start the command: `engine` is "" where it doesn't profile itself. `kinds` are what it then writes."""

    __slots__ = ("command", "directory", "engine", "environment", "kinds")

    def __init__(self, command: list[str], environment: dict[bytes, bytes]) -> None:
        self.command = command
        self.environment = environment
        self.engine = ""
        self.directory = ""
        self.kinds: tuple[str, ...] = ()


def program_of(command: list[str], environment: dict[bytes, bytes], directory: str | None) -> str:
    """The path of the program that a command starts, links followed; "" where there is none. `directory`: --chdir."""
    path = os.fsdecode(environment.get(b"PATH", b"")) or os.defpath
    name = command[0]
    if os.sep in name:
        name = os.path.join(directory or "", name)
    found = shutil.which(name, path=path)
    return os.path.realpath(found) if found else ""


def prepare(
    command: list[str],
    environment: dict[bytes, bytes],
    program: str,
    kinds: tuple[str, ...],
    directory: str,
    *,
    cpu_interval_us: int,
    heap_interval: int,
) -> Launch:
    """The command as it is to be started, `program` being its program and `kinds` what is wished for. Pure.

    Who asks for such a profile himself keeps his own. Raises UsageError for a Bun and a directory with a space.
    """
    launch = Launch(command, environment)
    which = engine.choose(engine.Facts(program))
    asked = " ".join(command) + os.fsdecode(environment.get(b"BUN_OPTIONS", b""))
    wanted = tuple(kind for kind in kinds if _OPTIONS[kind] not in asked)
    if which not in (engine.NODE, engine.BUN) or not wanted:
        return launch
    intervals = {"cpu-profile": cpu_interval_us, "heap-profile": heap_interval}
    options: list[str] = []
    for kind in wanted:
        name = _OPTIONS[kind]
        if which == engine.NODE or kind == "cpu-profile":
            options.append(name)
        if which == engine.BUN:
            options.append(f"{name}-md")  # its other form of a heap profile is a snapshot: objects, and nobody's
        options += [f"{name}-dir={directory}", f"{name}-interval={intervals[kind]}"]
    if which == engine.NODE:
        launch.command = [command[0], *options, *command[1:]]
    elif any(letter.isspace() for letter in directory):
        raise UsageError(
            "a Bun can't write its profile there",
            why=f"{directory!r} has a space in it, and BUN_OPTIONS knows no quotes",
            hint=f"guard profile --profiles-dir /tmp/profiles -- {shlex.join(command)}",
        )
    else:
        before = environment.get(b"BUN_OPTIONS", b"")
        launch.environment = {
            **environment,
            b"BUN_OPTIONS": b" ".join(filter(None, (before, *map(os.fsencode, options)))),
        }
    launch.engine, launch.directory, launch.kinds = which, directory, wanted
    return launch
