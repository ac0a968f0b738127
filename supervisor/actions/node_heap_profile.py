"""`heap-profile` of a running Node: what it allocated in a while and still holds; if asked for, a heap snapshot."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

from supervisor import cgroup, facts
from supervisor.actions import heap_report
from supervisor.actions.node_heap import Follower
from supervisor.actions.task import Skip, Task
from supervisor.analysis import folded, markdown
from supervisor.profilers import runner
from supervisor.profilers.failure import Failure
from supervisor.profilers.inspector import Hurry, Session
from supervisor.quantities import human_bytes

# V8 builds the whole graph beside the heap before it writes the first byte; DevTools' own advice is twice the heap.
_SNAPSHOT_SHARE = 2
_SNAPSHOT_S = 600.0


def take(task: Task) -> dict[str, Any]:
    """Sample allocations for the duration, or until it ends. Raises Skip, Failure, OSError."""
    tried, pid = "heap-profile of a Node", task.aimed
    runner.hold(signal.SIGINT, signal.SIGUSR1)
    if not task.spec.get("node_inspector", True):
        said = "--no-node-inspector keeps guard out of it"
        raise Skip(Failure("inspector-off", said, "guard profile --heap -- node SCRIPT"), tried)
    task.check_target()
    if task.spec.get("nonblocking"):
        said = "growth of this process samples its heap already"
        raise Skip(Failure("heap-sampled", said, "read the growth profile"), tried)
    duration = task.spec.get("duration", 10.0)
    follower = Follower(task, None if duration is None else float(duration), pid=pid, always_exact=True)
    told: dict[str, Any] = {}
    if task.spec.get("snapshot"):
        follower.at_end = lambda session: told.update(snapshot(task, pid, session))
    try:
        follower.follow()
    except Failure as failure:
        if not task.spec.get("profile_mode") and failure.reason.startswith(("inspector-", "node-extra", "other-")):
            raise Skip(failure, tried) from failure
        raise
    if not follower.ledger.counts and follower.gone:
        raise Failure("ended-too-soon", "it ended before its heap could be sampled", "guard profile --heap -- node APP")
    return write(task, pid, follower, told)


def write(task: Task, pid: int, follower: Follower, told: dict[str, Any]) -> dict[str, Any]:
    """Put what was sampled in place; the result."""
    ledger, course = follower.ledger, follower.finished_course()
    seconds = course.elapsed_s
    size = human_bytes(ledger.attributed_bytes)
    first = folded.own_functions(ledger.counts)[0] if ledger.counts else None
    notes = [f"What was allocated in {seconds:.1f} s and is still held: {size}, from {ledger.samples} samples."]
    if first is not None:
        share = first.self_weight / max(1, ledger.attributed_bytes)
        notes.insert(0, f"{markdown.code(first.function)} allocated {share:.0%} of it.")
    notes += course.notes
    if told.get("snapshot_skipped"):
        notes.append(f"No heap snapshot: {told['snapshot_skipped']}.")
    known = {
        "engine": "inspector",
        "samples": ledger.samples,
        "errors": course.errors,
        "last_error": course.last_error or None,
        "bytes": ledger.attributed_bytes,
        "seconds": round(seconds, 3),
        "whole": task.spec.get("duration", 0) is None and follower.gone,
        **course.facts,
        **told,
    }
    interval = human_bytes(follower.interval)
    top = heap_report.publish(
        task,
        pid,
        ledger.counts,
        title=f"Heap of process {pid}",
        basis=f"{size} held, one sample in {interval}",
        head=[("Held", size), ("Samples", str(ledger.samples)), ("Interval", f"{interval} ({follower.reason})")],
        notes=notes,
        sections=(),
        facts=known,
    )
    keys = ("engine", "samples", "bytes", "seconds")
    return {**{key: known[key] for key in keys}, **told, "top": top}


def snapshot(task: Task, pid: int, session: Session) -> dict[str, Any]:
    """Stream a `.heapsnapshot` to disk where memory and disk have room for it; what is to be told of it."""
    needed = _SNAPSHOT_SHARE * int(session.call("Runtime.getHeapUsage").get("usedSize", 0))
    room = headroom(pid)
    if room < needed:
        return {"snapshot_skipped": f"headroom of {human_bytes(room)} is less than it may take ({human_bytes(needed)})"}
    free = os.statvfs(task.spec["directory"])
    if free.f_bavail * free.f_frsize < needed:
        size = human_bytes(free.f_bavail * free.f_frsize)
        return {"snapshot_skipped": f"{size} on disk are less than it may take ({human_bytes(needed)})"}
    written = 0

    def pieces() -> Iterator[bytes]:
        nonlocal written
        event = "HeapProfiler.addHeapSnapshotChunk"
        for piece in session.stream("HeapProfiler.takeHeapSnapshot", event, "chunk", _SNAPSHOT_S):
            written += len(piece)
            yield piece

    try:
        task.write(".heapsnapshot", pieces())
    except (Failure, Hurry, runner.Interrupted) as error:
        return {"snapshot_skipped": str(error) or "guard ended it"}
    return {"snapshot_bytes": written}


def headroom(pid: int) -> int:
    """What the process could still take: of its cgroup's limit, and of the machine."""
    found = facts.gather(dict(os.environ), pid)
    machine = cgroup.meminfo().get("MemAvailable", found.memory_bytes)
    use = cgroup.read_memory(found.place).use_bytes
    return machine if not found.in_cgroup or use is None else min(machine, max(0, found.limit_bytes - use))
