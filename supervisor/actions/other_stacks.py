"""`stacks` of what isn't Python or Node: what its runtime tells, its native stacks, or where each thread waits."""

from __future__ import annotations

from typing import Any

from supervisor.actions import stacks
from supervisor.actions.task import Pass, Task
from supervisor.profilers import gopprof, java, kernel, rbspy
from supervisor.profilers import native as machine
from supervisor.profilers.failure import Failure
from supervisor.quantities import human_bytes

# All goroutines as text: the program doubles a buffer for it up to 64 MiB.
_GOROUTINES_ROOM_BYTES = 128 << 20


def of_java(task: Task) -> dict[str, Any]:
    """By the JVM's attach protocol. Raises Pass, Failure."""
    task.check_target()
    try:
        return _written(task, "jcmd", java.threads(task.pid))
    except Failure as failure:
        raise Pass.of(failure) from failure


def of_go(task: Task) -> dict[str, Any]:
    """Its goroutines, where --go-pprof says where it serves them. Raises Pass, Failure."""
    if not task.go_pprof:
        raise Pass("pprof-absent", "--go-pprof doesn't say where it tells its goroutines", gopprof.HINT)
    _running(task)
    headroom = task.spec.get("headroom_bytes")
    if headroom is not None and headroom < _GOROUTINES_ROOM_BYTES:
        said = f"{human_bytes(headroom)} are left below the limit, and it would build the text of its goroutines there"
        raise Pass("no-headroom", said, "guard run --critical 70% -- COMMAND")
    try:
        source = gopprof.find(task.pid, task.go_pprof)
        text = source.fetch("goroutine?debug=2").decode("utf-8", "replace")
    except Failure as failure:
        raise Pass.of(failure, "pprof") from failure
    threads, told = gopprof.goroutines(task.pid, text)
    if not threads:
        said = f"{source.shown} (goroutine): no goroutine in it"
        raise Pass("pprof-garbage", said, f"curl -sS {source.shown} | head -c 200")
    return _written(task, "pprof", threads, goroutines=told)


def of_ruby(task: Task) -> dict[str, Any]:
    """By rbspy, where it is on PATH. Raises Pass, Failure."""
    _running(task)
    try:
        return _written(task, "rbspy", rbspy.threads(task.pid))
    except Failure as failure:
        raise Pass.of(failure, "rbspy") from failure


def _running(task: Task) -> None:
    """Raises Pass for one that is stopped, and wouldn't answer; Failure when it is gone."""
    if task.check_target():
        raise Pass("target-stopped", "somebody stopped it", f"kill -CONT {task.pid}")


def native(task: Task) -> dict[str, Any]:
    """Of machine code, by guard's own unwinder, which stops its threads. Raises Pass, Failure."""
    _running(task)
    if not machine.possible():
        raise Pass("machine-unknown", "guard unwinds x86-64 only", "")
    try:
        found = machine.threads(task.pid)
    except Failure as failure:
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


def _written(task: Task, by: str, found: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    nonblocking = by not in ("jcmd", "native")
    stacks.write(task, found, nonblocking=nonblocking, engine=by, **more)
    task.write_meta(engine=by, nonblocking=nonblocking, samples=len(found), errors=0, last_error=task.why())
    return {"threads": len(found), "engine": by}
