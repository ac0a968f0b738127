"""`heap-profile` of a Python 3.14+ that wasn't prepared: it is visited, and counts its objects itself."""

from __future__ import annotations

from typing import Any

from supervisor.actions import heap_census
from supervisor.actions.heap_census import Heap
from supervisor.actions.task import Pass, Task
from supervisor.profilers import agent, remote
from supervisor.profilers.failure import Failure

_HELLO_S = 10.0
_HASTE_S = 4.0  # in a run other evidence waits behind this
_OURS = ("interrupted",)


def take(task: Task) -> dict[str, Any]:
    """By a visit; all that can be known is looked at before. Raises Pass where it can't be had, Failure, OSError."""
    silent = task.passed[-1]
    if silent.reason != "agent-silent":
        raise Pass.of(silent)
    try:
        return _visit(task, silent)
    except Failure as failure:
        task.check_target()
        if failure.reason in _OURS:
            raise
        if failure.reason == "python-too-old":
            raise Pass.of(silent) from failure
        raise Pass(failure.reason, f"{silent.said}; sys.remote_exec: {failure.said}", failure.hint) from failure


def _visit(task: Task, silent: Failure) -> dict[str, Any]:
    if not task.spec.get("remote_exec", True):
        raise Failure("remote-exec-off", "it is switched off (--no-remote-exec)", agent.RUN_HINT)
    found = remote.refusal(remote.look(task.pid))
    if found is not None:
        raise Failure(*found)
    heap_census.check_room(task, task.pid, remote.NEEDS_BYTES)
    visit = remote.Visit(task.pid, remote.PATIENCE_S if "profile_mode" in task.spec else _HASTE_S)
    try:
        heap = heap_census.counted(Heap(task, task.pid, visit.ask("hello", _HELLO_S), visit))
    finally:
        visit.end()
    return heap.finish("it runs Python 3.14 or newer with remote debugging on; no heap agent was prepared", silent.said)
