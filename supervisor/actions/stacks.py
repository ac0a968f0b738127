"""`stacks`: what every thread of the guilty process is doing now."""

from __future__ import annotations

import json
from typing import Any

from supervisor.actions import mappings
from supervisor.actions.task import Task
from supervisor.profilers import engine, java, kernel, lent, native, permission, pyspy, runner

DEADLINE_S = 5.0
# py-spy can't read these; what the kernel tells of their threads is had all the same.
UNREADABLE = ("not-python", "python-static", "python-unsupported", "python-free-threaded")
_TRIES = 3


def take(task: Task) -> dict[str, Any]:
    """Write `.stacks.json`. Raises Failure, OSError."""
    was_stopped = task.check_target()
    if task.spec.get("node_inspector", True) and not was_stopped and engine.of(task.pid) == engine.NODE:
        return _of_node(task)
    if not mappings.is_python(task.pid):
        return _by_others(task, stop=not was_stopped)
    is_lent = lent.of(task.pid) is not None
    blocking = not was_stopped and not is_lent and not task.spec.get("nonblocking")
    nonblocking = not blocking
    refused: list[dict[str, str]] = []
    try:
        dumped = _dump_running(task.pid) if nonblocking else dump(task.pid, nonblocking=False)
    except pyspy.Failure as failure:
        if failure.reason in UNREADABLE:
            return _by_others(task, f"{failure.reason}: {failure.said}")
        # Where ptrace is refused or somebody else traces, py-spy can often still read without stopping.
        if nonblocking or failure.reason not in ("ptrace-refused", "target-stopped", "profiler-failed"):
            raise
        nonblocking = True
        dumped = _dump_running(task.pid)
        if failure.reason == "ptrace-refused":
            refused.append(permission.ptrace_refusal(failure.said))
    continued = blocking and runner.left_stopped(task.pid, was_stopped)
    write(task, dumped, nonblocking=nonblocking, lent=is_lent)
    task.write_meta(engine="py-spy", nonblocking=nonblocking, samples=len(dumped), errors=0)
    return {"threads": len(dumped), "continued": continued, "refused": refused}


def _of_node(task: Task) -> dict[str, Any]:
    """By its inspector, else by the kernel. Raises Failure, OSError."""
    from supervisor.actions import node_stacks

    try:
        found, report = node_stacks.take(task.pid)
    except pyspy.Failure as failure:
        refused = {"capability": "inspector", "reason": failure.said, "hint": failure.hint}
        return {**_by_others(task, f"{failure.reason}: {failure.said}"), "refused": [refused]}
    except ProcessLookupError:
        task.check_target()
        raise
    write(task, found, nonblocking=False, engine="inspector", node=report)
    task.write_meta(engine="inspector", nonblocking=False, samples=len(found), errors=0,
                    inspector_was_open=report["inspector_was_open"])  # fmt: skip
    return {"threads": len(found), "engine": "inspector"}


def _by_others(task: Task, why: str | None = None, *, stop: bool = False) -> dict[str, Any]:
    """Of a process that py-spy can't read: what its runtime tells, else native stacks where threads may be stopped
    (`stop`: this one's may), else where each thread waits.

    Raises Failure, OSError.
    """
    by, found, of = "kernel", None, engine.of(task.pid)
    try:
        if of == engine.JAVA:
            by, found = "jcmd", java.threads(task.pid)
        elif of == engine.OTHER and stop and native.possible():
            by, found = "native", native.threads(task.pid)
    except pyspy.Failure as failure:
        why = f"{failure.reason}: {failure.said}"
    except OSError as error:
        why = f"ptrace: {error.strerror}"
    try:
        found = found or kernel.threads(task.pid)
    except ProcessLookupError:
        task.check_target()
        raise
    write(task, found, nonblocking=by == "kernel", engine=by)
    task.write_meta(engine=by, nonblocking=by == "kernel", samples=len(found), errors=0, last_error=why)
    return {"threads": len(found), "engine": by}


def write(
    task: Task, threads: list[dict[str, Any]], *, nonblocking: bool, engine: str = "py-spy", **facts: Any
) -> None:
    """Put `.stacks.json` in place."""
    document = {
        "schema_version": 1,
        "run": task.spec["run"],
        "pid": task.pid,
        "state": task.state,
        "engine": engine,
        "nonblocking": nonblocking,
        **facts,
        "threads": threads,
    }
    task.write(".stacks.json", json.dumps(document, indent=1) + "\n")


def _dump_running(pid: int) -> list[dict[str, Any]]:
    """Without stopping: what changes while it is read can make no sense, so it is tried again. Raises Failure."""
    for _ in range(_TRIES - 1):
        try:
            return dump(pid, nonblocking=True)
        except pyspy.Failure as failure:
            if failure.reason != "profiler-failed":
                raise
    return dump(pid, nonblocking=True)


def dump(pid: int, *, nonblocking: bool) -> list[dict[str, Any]]:
    """All threads' stacks, innermost frame first, without locals. Raises Failure.

    Where only the watcher may read the process, it is read by what that lent, without stopping.
    """
    loan = lent.of(pid)
    nonblocking = nonblocking or loan is not None
    program = pyspy.find()
    try:
        done = runner.run(pyspy.dump_argv(program, pid, nonblocking=nonblocking), DEADLINE_S, loan=loan)
    except OSError as error:
        raise pyspy.Failure("profiler-not-started", str(error), f"{program} --version") from error
    if done.interrupted:
        raise runner.Interrupted
    if done.code != 0 or done.hung:
        raise pyspy.explain(done.stderr, done.code, hung=done.hung, pid=pid)
    try:
        threads = json.loads(done.stdout)
        return [thread for thread in threads if isinstance(thread["frames"], list)]
    except (ValueError, TypeError, KeyError) as error:
        said = done.stdout[:80].decode("utf-8", "replace")
        raise pyspy.Failure("profiler-garbage", f"not JSON: {said!r}", f"{program} dump --json --pid {pid}") from error
