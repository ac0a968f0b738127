"""What settings ask for and can't be had, seen before it is needed: the program of a hook, the directory to ship to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from supervisor.config import Config
from supervisor.shipping.target import parse

_HOOKS = ("on-warning", "on-critical", "on-profiling", "on-exit")


def foreseen(config: Config, environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """For each such setting its name, the reason and what to type. Looks at the disk."""
    found = []
    for name in _HOOKS:
        command = getattr(config, name.replace("-", "_"))
        if command and not _is_program(command[0], config.directory, environ.get("PATH", os.defpath)):
            from supervisor import meant

            reason = f"there is no program {command[0]} here, now"
            found.append({"setting": name, "reason": reason, "hint": meant.look_at(command[0])})
    target = parse(config.ship) if config.ship is not None else None
    if target is not None and target.kind == "directory" and not os.path.isdir(target.path):
        reason = f"there is no directory {target.path} now"
        found.append({"setting": "ship", "reason": reason, "hint": f"mkdir {target.path}, or mount it"})
    return found


def _is_program(name: str, directory: str, path: str) -> bool:
    places = [directory] if "/" in name else [os.path.join(directory, place) for place in path.split(":")]
    return any(_may_run(os.path.join(place, name)) for place in places)


def _may_run(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)
