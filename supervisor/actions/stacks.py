"""`stacks` of a Python: what every thread of the guilty process is doing now, by py-spy or its own interpreter."""

from __future__ import annotations

import json
from typing import Any

from supervisor.actions.task import Pass, Task
from supervisor.profilers import agent, lent, permission, pyspy, runner, unwinder
from supervisor.profilers.failure import Failure

DEADLINE_S = 5.0
# py-spy can't read these; what the kernel tells of their threads is had all the same.
UNREADABLE = ("not-python", "python-static", "python-unsupported", "python-free-threaded")
_OTHERS = ("python-unsupported", "python-free-threaded")  # its own interpreter may be able to
_TRIES = 3


def take(task: Task) -> dict[str, Any]:
    """Write `.stacks.json`. Raises Pass, Failure, OSError."""
    was_stopped = task.check_target()
    is_lent = lent.of(task.pid) is not None
    blocking = not was_stopped and not is_lent and not task.spec.get("nonblocking")
    nonblocking = not blocking
    refused: list[dict[str, str]] = []
    try:
        dumped = _dump_running(task.pid) if nonblocking else dump(task.pid, nonblocking=False)
    except Failure as failure:
        if failure.reason in UNREADABLE:
            raise Pass.of(failure) from failure
        # Where ptrace is refused or somebody else traces, py-spy can often still read without stopping.
        if nonblocking or failure.reason not in ("ptrace-refused", "target-stopped", "profiler-failed"):
            raise
        nonblocking = True
        dumped = _dump_running(task.pid)
        if failure.reason == "ptrace-refused":
            refused.append(permission.ptrace_refusal(failure.said))
    continued = blocking and runner.left_stopped(task.pid, was_stopped)
    by = reader(task.pid)
    nonblocking = nonblocking or by != "py-spy"
    write(task, dumped, nonblocking=nonblocking, engine=by, lent=is_lent)
    task.write_meta(engine=by, nonblocking=nonblocking, samples=len(dumped), errors=0)
    return {"threads": len(dumped), "continued": continued, "refused": refused}


def write(
    task: Task, threads: list[dict[str, Any]], *, nonblocking: bool, engine: str = "py-spy", **facts: Any
) -> None:
    """Put `.stacks.json` in place, without guard's own thread in the target."""
    threads = [each for each in threads if not any(agent.is_own(frame.get("filename")) for frame in each["frames"])]
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
        except Failure as failure:
            if failure.reason != "profiler-failed":
                raise
    return dump(pid, nonblocking=True)


def reader(pid: int) -> str:
    """Who reads a process's stacks, once it was read."""
    return "py-spy" if unwinder.of(pid) is None else unwinder.ENGINE


def dump(pid: int, *, nonblocking: bool) -> list[dict[str, Any]]:
    """All threads' stacks, innermost frame first, without locals; what py-spy can't read by the target's own
    interpreter, if that can. Raises Failure.
    """
    known = unwinder.of(pid)
    if known is not None:
        return known.threads()
    try:
        return _by_py_spy(pid, nonblocking=nonblocking)
    except Failure as failure:
        if failure.reason not in _OTHERS:
            raise
        try:
            return unwinder.first(pid)
        except Failure as other:
            raise Failure(failure.reason, f"{failure.said}; {other.said}", failure.hint) from other


def _by_py_spy(pid: int, *, nonblocking: bool) -> list[dict[str, Any]]:
    """By py-spy. Raises Failure.

    Where only the watcher may read the process, it is read by what that lent, without stopping.
    """
    loan = lent.of(pid)
    nonblocking = nonblocking or loan is not None
    program = pyspy.find()
    try:
        done = runner.run(pyspy.dump_argv(program, pid, nonblocking=nonblocking), DEADLINE_S, loan=loan)
    except OSError as error:
        raise Failure("profiler-not-started", str(error), f"{program} --version") from error
    if done.interrupted:
        raise runner.Interrupted
    if done.code != 0 or done.hung:
        raise pyspy.explain(done.stderr, done.code, hung=done.hung, pid=pid)
    try:
        threads = json.loads(done.stdout)
        return [thread for thread in threads if isinstance(thread["frames"], list)]
    except (ValueError, TypeError, KeyError) as error:
        said = done.stdout[:80].decode("utf-8", "replace")
        raise Failure("profiler-garbage", f"not JSON: {said!r}", f"{program} dump --json --pid {pid}") from error
