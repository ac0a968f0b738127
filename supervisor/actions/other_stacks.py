"""`stacks` of what isn't Python or Node: what its runtime tells, its native stacks, or where each thread waits."""

from __future__ import annotations

from typing import Any

from supervisor.actions import stacks
from supervisor.actions.task import Pass, Task
from supervisor.profilers import java, kernel, pyspy
from supervisor.profilers import native as machine


def of_java(task: Task) -> dict[str, Any]:
    """By the JVM's attach protocol. Raises Pass, Failure."""
    task.check_target()
    try:
        return _written(task, "jcmd", java.threads(task.pid))
    except pyspy.Failure as failure:
        raise Pass.of(failure) from failure


def native(task: Task) -> dict[str, Any]:
    """Of machine code, by guard's own unwinder, which stops its threads. Raises Pass, Failure."""
    if task.check_target():
        raise Pass("target-stopped", "somebody stopped it", f"kill -CONT {task.pid}")
    if not machine.possible():
        raise Pass("machine-unknown", "guard unwinds x86-64 only", "")
    try:
        found = machine.threads(task.pid)
    except pyspy.Failure as failure:
        raise Pass.of(failure) from failure
    except OSError as error:
        raise Pass("ptrace-refused", f"ptrace: {error.strerror}", "guard doctor") from error
    if not found:
        raise Pass("no-threads", "no thread could be read", "")
    return _written(task, "native", found)


def waiting(task: Task) -> dict[str, Any]:
    """Where each thread waits, as the kernel tells: of any process. Raises Failure, OSError."""
    try:
        found = kernel.threads(task.pid)
    except ProcessLookupError:
        task.check_target()
        raise
    return _written(task, "kernel", found)


def _written(task: Task, by: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    nonblocking = by == "kernel"
    stacks.write(task, found, nonblocking=nonblocking, engine=by)
    task.write_meta(engine=by, nonblocking=nonblocking, samples=len(found), errors=0, last_error=task.why())
    return {"threads": len(found), "engine": by}
