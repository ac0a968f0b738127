"""`heap-profile` of a runtime that tells its heap: Go by its pprof, .NET by dotnet-gcdump, Java by its classes."""

from __future__ import annotations

import time
from typing import Any

from supervisor import cgroup
from supervisor.actions import forms, heap_report
from supervisor.actions.task import Skip, Task
from supervisor.analysis import folded, markdown
from supervisor.proc_tree import PAGE_BYTES
from supervisor.profilers import dotnet, gopprof, java, runner
from supervisor.profilers.failure import Failure, no_headroom
from supervisor.quantities import human_bytes, human_percent

# A collection before makes the profile true of now; of a large heap it takes the program's processors for long.
_MOST_COLLECTED_BYTES = 1 << 30
# The walk over a .NET heap is an event an object, which the runtime buffers.
_GCDUMP_ROOM_BYTES = 256 << 20
_GCDUMP_SHARE = 4  # or one part in so many of the process's memory
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0


def of_go(task: Task) -> dict[str, Any]:
    """What a Go holds, by the code that allocated it. Raises Skip, Failure, OSError."""
    runner.hold()
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
    when = "now, after a collection" if collected else "at its last collection"
    notes = [f"What it holds {when}: {human_bytes(held)}, by samples of its allocations (one in 512 KiB)."]
    first = folded.own_functions(counts)[0] if counts else None
    if first is not None and held:
        share = human_percent(first.self_weight / held)
        notes.insert(0, f"{markdown.code(first.function)} allocated {share} of what it holds.")
    reason = f"the program serves net/http/pprof at {source.shown}"
    facts = {"engine": "pprof", "engine_reason": reason, "engine_refused": None, "samples": len(counts), "errors": 0,
             "bytes": held, "collected": collected}  # fmt: skip
    # What its runtime and its libraries hold they hold for somebody.
    return {**_published(task, counts, facts, "held", notes), "top": forms.top(folded.fold_library(counts)[0])}


def of_dotnet(task: Task) -> dict[str, Any]:
    """What a .NET holds, by type. Raises Skip, Failure, OSError."""
    runner.hold()
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
    size = human_bytes(held)
    notes = [f"What is reachable after a full collection: {size} in {len(types)} types. It tells no code."]
    facts = {"engine": "dotnet-gcdump", "engine_reason": "it is a .NET, and dotnet-gcdump is there",
             "engine_refused": None, "samples": sum(count for count, _ in types.values()), "errors": 0,
             "bytes": held, "collected": True, "frames": "types"}  # fmt: skip
    return _published(task, counts, facts, "reachable", notes, (_types("Types", types),))


def of_java(task: Task) -> dict[str, Any]:
    """What a Java holds, by class, and which classes gained. Raises Skip, Failure, OSError."""
    runner.hold()
    if "profile_mode" not in task.spec:
        said = "of a Java the growth profile counts the classes"
        raise _skip(Failure("counted-by-growth", said, f"guard profile --heap --pid {task.pid}"), "Java")
    task.check_target()
    live = _rss_bytes(task.pid) <= _MOST_COLLECTED_BYTES
    began_s = time.monotonic()
    first, last = _followed(task, live)
    seconds = time.monotonic() - began_s
    held = sum(size for _, size in last.values())
    types = {java.readable(name): figures for name, figures in last.items()}
    rows = java.grown(first, last) if last is not first else []
    what = "reachable after a full collection" if live else "there, with what waits to be collected"
    notes = [f"What is {what}: {human_bytes(held)} in {len(types)} classes. It tells no code."]
    sections = [_types("Types", types)]
    class_ = java.telling(rows)
    if class_ is not None:
        gained = {row["name"]: (row["gained_count"], row["gained_bytes"]) for row in rows}
        sections.insert(0, _types(f"What grew in {seconds:.1f} s", gained))
        size = human_bytes(class_["gained_bytes"])
        notes.insert(0, f"`{class_['name']}` tells most of what grew: {size} in {class_['gained_count']:,} more.")
    counts = {folded.frame(name, None): size for name, (_, size) in types.items() if size}
    facts = {"engine": "class histogram", "engine_reason": "it is a Java, whose JVM counts its classes",
             "engine_refused": None, "samples": sum(count for count, _ in types.values()), "errors": 0,
             "bytes": held, "collected": live, "frames": "types"}  # fmt: skip
    return _published(task, counts, facts, "reachable" if live else "there", notes, tuple(sections))


def _followed(task: Task, live: bool) -> tuple[java.Histogram, java.Histogram]:
    """The classes at first and at last, counted now and again, with growing pauses. Raises Failure."""
    duration = task.spec.get("duration", 10.0)
    until_s = float("inf") if duration is None else time.monotonic() + float(duration)
    first: java.Histogram = {}
    last: java.Histogram = {}
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            last = java.histogram(task.pid, live=live)
            first = first or last
        except (Failure, OSError):
            if not first and not task.spec.get("patient"):  # one that was just started doesn't listen yet
                raise
        left_s = until_s - time.monotonic()
        if left_s <= 0 or runner.pause(min(pause_s, left_s)):
            break
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        try:
            task.check_target()
        except Failure:
            break
    if not first:
        said = "the JVM ended, or the time was up, before its classes could be counted"
        raise Failure("ended-too-soon", said, "guard profile --heap --pid PID, of one that is up")
    return first, last


def _types(title: str, types: dict[str, tuple[int, int]]) -> str:
    """A table of types: objects and bytes, most bytes first."""
    rows = sorted(types.items(), key=lambda item: -item[1][1])
    cells = ((f"{count:,}", human_bytes(size), name) for name, (count, size) in rows)
    return forms.table(title, ("Objects", "Bytes"), ("Type",), cells)


def _published(
    task: Task,
    counts: folded.Counts,
    facts: dict[str, Any],
    how: str,
    notes: list[str],
    sections: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Put it in place; the result."""
    size = human_bytes(facts["bytes"])
    top = heap_report.publish(
        task, task.pid, counts, title=f"Heap of process {task.pid}", basis=f"{size} {how}", head=[("Held", size)],
        notes=notes, sections=sections, facts=facts,
    )  # fmt: skip
    told = {key: facts[key] for key in ("engine", "samples", "bytes")}
    return {**told, "top": top}


def _skip(failure: Failure, what: str) -> Skip:
    return Skip(failure, f"heap-profile of a {what}")


def _rss_bytes(pid: int) -> int:
    words = (cgroup.read_text(f"/proc/{pid}/statm") or "").split()
    return int(words[1]) * PAGE_BYTES if len(words) > 1 else 0
