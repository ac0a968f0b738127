"""A target under guard in a group, told what to do."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.integration.conftest import GUARD
from tests.vm.groups import Group

TARGET = [sys.executable, "-IS", str(Path(__file__).parent / "target.py")]
# Emulated processors are some 12 times slower.
PATIENCE_S = 120.0


def begin(start: Callable[..., Any], options: list[str], group: Group | None = None, **popen: Any) -> Any:
    """The target under guard, ready for orders."""
    guard = popen.pop("guard", GUARD)
    if group is not None:
        guard = group.entering(guard)
    run = start(["--interval", "500ms", *options], TARGET, stdin=subprocess.PIPE, guard=guard, **popen)
    assert answer(run) == "ready"
    run.wait_for("run.started", patience_s=PATIENCE_S)
    return run


def order(run: Any, line: str) -> None:
    """One line to the target."""
    run.process.stdin.write(f"{line}\n".encode())
    run.process.stdin.flush()


def answer(run: Any) -> str:
    """One line from the target."""
    return str(run.process.stdout.readline().decode().strip())


def tell(run: Any, line: str) -> str:
    """One line to the target and its answer."""
    order(run, line)
    return answer(run)


def ended(run: Any, action: str) -> dict[str, Any]:
    """The event of an action's end, however it ended."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        for event in run.events:
            if event["event"] in ("action.finished", "action.failed", "action.skipped") and event["action"] == action:
                return dict(event)
        left_s = deadline - time.monotonic()
        assert left_s > 0 and run._read(left_s), f"{action} did not end: {run.events}"


def snapshot(run: Any, state: str) -> Path:
    """The snapshot that entering a state left."""
    finished = run.wait_for("action.finished", action="snapshot", state=state, patience_s=PATIENCE_S)
    return Path(finished["path"])
