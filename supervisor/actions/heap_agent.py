"""`heap-profile` by the agent that a target was started with: what the guilty process holds."""

from __future__ import annotations

import time
from typing import Any

from supervisor.actions import aiming, heap_census
from supervisor.actions.heap_census import Heap
from supervisor.actions.task import Pass, Task
from supervisor.proc_tree import ProcTree
from supervisor.profilers import agent, engine, matters, runner
from supervisor.profilers.failure import Failure

_RETRY_S = 0.05
_SLOWEST_RETRY_S = 0.25


def take(task: Task) -> dict[str, Any]:
    """By the agent that the target was started with. Raises Pass where there is none, Failure, OSError."""
    runner.hold()
    task.check_target()
    try:
        pid, hello = _find(task)
    except Failure as failure:
        if failure.reason not in ("agent-silent", "not-python"):
            raise
        raise Pass.of(failure, "heap agent" if task.spec.get("heap_agent", "none") != "none" else "") from failure
    heap_census.check_room(task, pid)
    return heap_census.counted(Heap(task, pid, hello)).finish("the target was started with a heap agent (--heap-agent)")


def _find(task: Task) -> tuple[int, dict[str, Any]]:
    """The process with an agent: the target or, of a shell and the like, the first below it.

    Raises Failure; Turn where that is a Node.
    """
    patient = bool(task.spec.get("patient"))
    duration = task.spec.get("duration")
    until_s = time.monotonic() + (float("inf") if duration is None else float(duration)) if patient else 0.0
    tree = ProcTree()
    pause_s = _RETRY_S
    kept_out: Failure | None = None  # an end that comes later is not why
    while True:
        if patient and engine.of(task.pid) != engine.PYTHON:
            silent = agent.silence(task.pid)
            aiming.who(task, matters.look(tree, task.pid))
        else:
            try:
                return task.pid, agent.ask(task.pid, "hello", 5.0)
            except Failure as failure:
                if not patient:
                    raise
                silent = failure
        if _lasting(silent, task.pid):
            kept_out = silent
        for process in tree.read((task.pid,), (), time.monotonic()):
            if process.pid != task.pid and agent.addresses(process.pid):
                try:
                    return process.pid, agent.ask(process.pid, "hello", 5.0)
                except Failure:
                    continue
        if time.monotonic() >= until_s or runner.pause(pause_s):
            raise kept_out or silent
        pause_s = min(1.5 * pause_s, _SLOWEST_RETRY_S)
        try:
            task.check_target()
        except Failure as failure:
            raise kept_out or silent from failure


def _lasting(silent: Failure, pid: int) -> bool:
    """Whether a process will have no agent whatever comes, as it was started."""
    facts = engine.look(pid)
    if silent.reason == "agent-silent":
        return bool(agent.separate(list(facts.command)))
    return silent.reason == "not-python" and not matters.launches(facts)
