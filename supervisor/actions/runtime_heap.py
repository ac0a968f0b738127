"""`heap-profile` of a runtime that tells its heap itself: Go by its pprof, .NET by dotnet-gcdump."""

from __future__ import annotations

import signal
from typing import Any

from supervisor import cgroup
from supervisor.actions import cpu_report, heap_report
from supervisor.actions.task import Skip, Task
from supervisor.analysis import folded, markdown
from supervisor.proc_tree import PAGE_BYTES
from supervisor.profilers import dotnet, gopprof
from supervisor.profilers.failure import Failure, no_headroom
from supervisor.quantities import human_bytes, human_percent

# A collection before makes the profile true of now; of a large heap it takes the program's processors for long.
_MOST_COLLECTED_BYTES = 1 << 30
_MOST_TYPES = 25
# The walk over a .NET heap is an event an object, which the runtime buffers.
_GCDUMP_ROOM_BYTES = 256 << 20
_GCDUMP_SHARE = 4  # or one part in so many of the process's memory


def of_go(task: Task) -> dict[str, Any]:
    """What a Go holds, by the code that allocated it. Raises Skip, Failure, OSError."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    if not task.go_pprof:
        said = "a Go tells its heap by net/http/pprof, and --go-pprof doesn't say where"
        raise _skip(Failure("pprof-absent", said, gopprof.HINT), "Go")
    task.check_target()
    try:
        source = gopprof.find(task.pid, task.go_pprof)
        collected = _rss_bytes(task.pid) <= _MOST_COLLECTED_BYTES
        data = source.fetch("heap?gc=1" if collected else "heap", stoppable=True)
        reading = gopprof.profile(data, source.shown)
    except Failure as failure:
        if "profile_mode" in task.spec:
            raise
        raise _skip(failure, "Go") from failure
    counts = reading.stacks or {}
    held = sum(counts.values())
    if not task.spec.get("library_frames", True):
        counts, _ = folded.fold_library(counts)
    when = "now, after a collection" if collected else "at its last collection"
    notes = [f"What it holds {when}: {human_bytes(held)}, by samples of its allocations (one in 512 KiB)."]
    first = folded.own_functions(counts)[0] if counts else None
    if first is not None and held:
        notes.insert(0, f"{first.function} allocated {human_percent(first.self_weight / held)} of what it holds.")
    reason = f"the program serves net/http/pprof at {source.shown}"
    facts = {"engine": "pprof", "engine_reason": reason, "engine_refused": None, "samples": len(counts), "errors": 0,
             "bytes": held, "collected": collected}  # fmt: skip
    return _published(task, counts, facts, "held", notes, shown=folded.fold_library(counts)[0])


def of_dotnet(task: Task) -> dict[str, Any]:
    """What a .NET holds, by type. Raises Skip, Failure, OSError."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    task.check_target()
    headroom = task.spec.get("headroom_bytes")
    needs = max(_GCDUMP_ROOM_BYTES, _rss_bytes(task.pid) // _GCDUMP_SHARE)
    if headroom is not None and headroom < needs:
        raise _skip(no_headroom(headroom, needs, "the walk over its heap"), ".NET")
    try:
        types = dotnet.histogram(task.pid)
    except Failure as failure:
        if "profile_mode" in task.spec:
            raise
        raise _skip(failure, ".NET") from failure
    held = sum(size for _, size in types.values())
    counts = {folded.frame(name, None): size for name, (_, size) in types.items() if size}
    rows = sorted(types.items(), key=lambda item: -item[1][1])
    lines = ["## Types", "", "| Objects | Bytes | Type |", "|---:|---:|---|"]
    lines += [
        f"| {count:,} | {human_bytes(size)} | {markdown.code(name, cell=True)} |"
        for name, (count, size) in rows[:_MOST_TYPES]
    ]
    size = human_bytes(held)
    notes = [f"What is reachable after a full collection: {size} in {len(types)} types. It tells no code."]
    facts = {"engine": "dotnet-gcdump", "engine_reason": "it is a .NET, and dotnet-gcdump is there",
             "engine_refused": None, "samples": sum(count for count, _ in types.values()), "errors": 0,
             "bytes": held, "collected": True}  # fmt: skip
    return _published(task, counts, facts, "reachable", notes, ("\n".join(lines),))


def _published(
    task: Task,
    counts: folded.Counts,
    facts: dict[str, Any],
    how: str,
    notes: list[str],
    sections: tuple[str, ...] = (),
    shown: folded.Counts | None = None,
) -> dict[str, Any]:
    """Put it in place; the result, whose top is of `shown` where that isn't all."""
    size = human_bytes(facts["bytes"])
    heap_report.publish(
        task, task.pid, counts, title=f"Heap of process {task.pid}", basis=f"{size} {how}", head=[("Held", size)],
        notes=notes, sections=sections, facts=facts,
    )  # fmt: skip
    told = {key: facts[key] for key in ("engine", "samples", "bytes")}
    return {**told, "top": cpu_report.top(counts if shown is None else shown)}


def _skip(failure: Failure, what: str) -> Skip:
    return Skip(failure, f"heap-profile of a {what}")


def _rss_bytes(pid: int) -> int:
    words = (cgroup.read_text(f"/proc/{pid}/statm") or "").split()
    return int(words[1]) * PAGE_BYTES if len(words) > 1 else 0
