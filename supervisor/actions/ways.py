"""Which way an action goes for a process: the one table, by what the process is.

Ways stand best first. One that can't be gone here passes on (`Pass`) to the next, which can tell why (`Task.why`).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from supervisor.actions.task import Pass, Skip, Task, Turn
from supervisor.profilers import engine, matters
from supervisor.profilers.engine import BUN, DOTNET, GO, JAVA, NODE, OTHER, PYTHON, RUBY

# Started so that it profiles itself, and what comes is only taken in: see `ownprofile`.
OWN = "own"

# By action and engine: MODULE.FUNCTION of this package, which takes a Task.
WAYS: dict[str, dict[str, tuple[str, ...]]] = {
    "stacks": {
        PYTHON: ("stacks.take", "other_stacks.waiting"),
        NODE: ("node_stacks.take", "other_stacks.waiting"),
        BUN: ("other_stacks.waiting",),
        JAVA: ("other_stacks.of_java", "other_stacks.waiting"),
        GO: ("other_stacks.of_go", "other_stacks.native", "other_stacks.waiting"),
        RUBY: ("other_stacks.of_ruby", "other_stacks.native", "other_stacks.waiting"),
        DOTNET: ("other_stacks.native", "other_stacks.waiting"),
        OTHER: ("other_stacks.native", "other_stacks.waiting"),
    },
    "growth": {
        PYTHON: ("growth.take", "mapped.take"),
        NODE: ("node_heap.grow", "mapped.take"),
        BUN: ("mapped.take",),
        JAVA: ("mapped.take",),
        GO: ("native_growth.take", "mapped.take"),
        RUBY: ("native_growth.take", "mapped.take"),
        DOTNET: ("native_growth.take", "mapped.take"),
        OTHER: ("native_growth.take", "mapped.take"),
    },
    "cpu-profile": {
        OWN: ("own_profile.cpu",),
        PYTHON: ("cpu.take",),
        NODE: ("node_cpu.take",),
        BUN: ("bun.cpu",),
        JAVA: ("cpu.take",),
        GO: ("cpu.take",),
        RUBY: ("cpu.take",),
        DOTNET: ("cpu.take",),
        OTHER: ("cpu.take",),
    },
    "heap-profile": {
        OWN: ("own_heap.take",),
        PYTHON: ("heap_profile.take", "heap_remote.take", "heap_memray.take", "heap_profile.nothing"),
        NODE: ("node_heap_profile.take",),
        BUN: ("bun.heap",),
        JAVA: ("heap_profile.take", "heap_profile.nothing"),
        GO: ("runtime_heap.of_go",),
        RUBY: ("heap_profile.take", "heap_profile.nothing"),
        DOTNET: ("runtime_heap.of_dotnet",),
        OTHER: ("heap_profile.take", "heap_profile.nothing"),
    },
}


def take(task: Task) -> dict[str, Any]:
    """Do the task the best way that can be gone. Raises Failure, OSError when there is none.

    The result has `refused`: capabilities that better ways lacked, each with `capability`, `reason`, `hint`.
    """
    while True:
        which = OWN if task.spec.get("own") else _engine(task.aimed)
        if which == NODE and task.spec.get("patient") and matters.launches(engine.look(task.aimed)):
            which = OTHER  # of `npm start` what that starts is meant
        try:
            return _first(task, WAYS[task.kind][which])
        except Turn as turn:
            task.aimed = turn.pid
            task.passed.clear()
        except Skip as skip:
            why = skip.why
            told = {"outcome": "skipped", "reason": why.reason, "said": why.said, "hint": why.hint, "tried": skip.tried}
            return {**told, "refused": skip.refused} if skip.refused else told


def _first(task: Task, ways: tuple[str, ...]) -> dict[str, Any]:
    for way in ways:
        module, _, function = way.partition(".")
        try:
            result: dict[str, Any] = getattr(import_module(f"supervisor.actions.{module}"), function)(task)
        except Pass as passed:
            task.passed.append(passed)
            continue
        except (FileNotFoundError, ProcessLookupError):
            if task.passed:  # it is gone by now: what was wrong before tells more
                break
            raise
        refused = [entry for passed in task.passed for entry in passed.refused] + result.get("refused", [])
        return {**result, "refused": refused} if refused else result
    raise task.passed[-1]


def _engine(pid: int) -> str:
    """What nobody may read is asked as if it were Python: its refusal says what is missing."""
    found = engine.of(pid)
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            file.read(1)
    except PermissionError:
        return PYTHON if found == OTHER else found
    except OSError:
        pass
    return found
