"""`heap-profile`: what the guilty process holds, by the best engine that can be had there, and why that one."""

from __future__ import annotations

import signal
import time
from typing import Any

from supervisor.actions import heap_memray
from supervisor.actions.heap_agent import Heap
from supervisor.actions.task import Task
from supervisor.profilers import agent, engine, runner
from supervisor.profilers.pyspy import Failure
from supervisor.sample import ProcTree

_BETWEEN_S = 3.0
_RETRY_S = 0.05
_SLOWEST_RETRY_S = 0.25


def take(task: Task) -> dict[str, Any]:
    """Write a heap profile. Raises Failure, OSError; where nothing is possible the outcome is `skipped`."""
    if task.spec.get("own"):
        from supervisor.actions import own_heap

        return own_heap.take(task)
    which = engine.of(task.pid)
    if which == engine.NODE:
        from supervisor.actions import node_heap_profile

        return node_heap_profile.take(task, task.pid)
    if which == engine.BUN:
        said = "a Bun that runs already has no heap that guard could read, and SIGUSR1 would end it"
        return {"outcome": "skipped", "reason": "bun-running", "said": said, "tried": "heap-profile of a Bun",
                "hint": "guard profile --heap -- bun SCRIPT"}  # fmt: skip
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))  # it is let in where waiting is done: see `runner`
    asked = "profile_mode" in task.spec
    task.check_target()
    try:
        pid, hello = _find(task)
    except Failure as failure:
        if task.spec.get("attach") and failure.reason == "agent-silent":
            return heap_memray.attach(task, failure)
        if failure.reason not in ("agent-silent", "not-python") or asked:
            raise
        refused = {"capability": "heap agent", "reason": failure.said, "hint": failure.hint}
        wanted = task.spec.get("heap_agent", "none") != "none"
        return {"outcome": "skipped", "reason": failure.reason, "said": failure.said, "hint": failure.hint,
                "tried": "heap agent", "refused": [refused] if wanted else []}  # fmt: skip
    heap = Heap(task, pid, hello)
    heap.check_room()
    reason = "the target was started with a heap agent (--heap-agent)"
    if asked:
        heap.follow(task.spec.get("duration", 10.0))
    elif task.state == "warning":
        heap.count()
    else:
        if not heap.look_back():
            heap.count()
            runner.pause(min(_BETWEEN_S, float(task.spec.get("duration", _BETWEEN_S))))
        heap.count()
        heap.ask_holders()
    return heap.finish(reason)


def _find(task: Task) -> tuple[int, dict[str, Any]]:
    """The process with an agent: the target or, of a shell and the like, the first below it. Raises Failure."""
    patient = bool(task.spec.get("patient"))
    duration = task.spec.get("duration")
    until_s = time.monotonic() + (float("inf") if duration is None else float(duration)) if patient else 0.0
    tree = ProcTree()
    pause_s = _RETRY_S
    while True:
        try:
            return task.pid, agent.ask(task.pid, "hello", 5.0)
        except Failure as failure:
            if not patient:
                raise
            silent = failure
        for process in tree.read((task.pid,), (), time.monotonic()):
            if process.pid != task.pid and agent.addresses(process.pid):
                try:
                    return process.pid, agent.ask(process.pid, "hello", 5.0)
                except Failure:
                    continue
        if time.monotonic() >= until_s or runner.pause(pause_s):
            raise silent
        pause_s = min(1.5 * pause_s, _SLOWEST_RETRY_S)
        try:
            task.check_target()
        except Failure as failure:
            raise silent from failure
