"""Heap profiles by memray: of a whole life, recorded by the agent; of a while, attached to what runs already."""

from __future__ import annotations

import os
from typing import Any

from supervisor.actions import heap_report
from supervisor.actions.task import Task
from supervisor.analysis import folded
from supervisor.profilers import agent, memray
from supervisor.profilers.failure import Failure
from supervisor.quantities import human_bytes

SUFFIX = ".memray"
_MOST_S = 60.0


def take(task: Task) -> dict[str, Any]:
    """Attach to the process for the spec's duration, where that was asked for. Raises Pass, Failure, OSError."""
    refused = task.passed[-1]
    if not task.spec.get("attach") or task.passed[0].reason != "agent-silent":
        raise refused
    facts = memray.look(task.pid, task.spec.get("headroom_bytes"))
    found = memray.refusal(facts)
    if found is not None:
        reason, said, hint = found
        raise Failure(reason, f"heap agent: {refused.said}; memray attach: {said}", hint)
    path = os.path.join(task.spec["directory"], f".{task.name}.{os.getpid()}.memray")
    seconds = min(_MOST_S, float(task.spec.get("duration") or 10.0))
    try:
        memray.attach(task.pid, path, seconds)
        if not memray.written(path):
            said = "the process did not end its recording in time"
            raise Failure("recording-unfinished", said, f"python -m memray detach {task.pid}")
        counts, notes = keep(task, path)
        if not counts:
            raise Failure("recording-unreadable", notes[-1], f"{agent.RUN_HINT}")
        notes.insert(
            0,
            f"What was allocated in {seconds:.0f} s and held when that was most: what was there before isn't in it.",
        )
        debugger = os.path.basename(facts.debugger)
        total = sum(counts.values())
        told = {
            "engine": "memray attach",
            "engine_reason": f"no agent, no sys.remote_exec; memray, {debugger} and the same user are there",
            "engine_refused": refused.said,
            "samples": len(counts),
            "errors": 0,
            "peak_bytes": total,
        }
        basis = f"{human_bytes(total)} at the peak"
        title = f"Allocations held by process {task.pid} at the peak"
        top = heap_report.publish(
            task, task.pid, counts, title=title, basis=basis, head=[("Peak", human_bytes(total))], notes=notes,
            sections=(), facts=told,
        )  # fmt: skip
        result = {key: told[key] for key in ("engine", "engine_reason", "samples", "peak_bytes")}
        return {**result, "grew": None, "top": top}
    finally:
        try:
            os.unlink(path)
        except OSError:
            pass


def keep(task: Task, path: str) -> tuple[folded.Counts, list[str]]:
    """Keep a recording; bytes by stack at its peak, and what is to be said of it. Raises OSError.

    Where guard can't read it itself, there are no stacks.
    """
    with open(path, "rb") as file:
        data = file.read(memray.MOST_FILE_BYTES + 1)
    notes = []
    if len(data) <= memray.MOST_FILE_BYTES:
        task.write(SUFFIX, data)
    else:
        notes.append(f"memray's own file is not kept: it is over {human_bytes(memray.MOST_FILE_BYTES)}.")
    try:
        counts = _without_guards(memray.held_at_the_peak(path))
    except Failure as failure:
        return {}, [*notes, f"memray's recording is not shown here: {failure.said} (`{failure.hint}`)."]
    notes.append("Small objects that Python takes from memory it has already don't count for themselves with memray.")
    return counts, notes


def _without_guards(counts: folded.Counts) -> folded.Counts:
    """What the agent's own thread holds is none of the target's."""
    return {
        stack: size
        for stack, size in counts.items()
        if not any(agent.is_own(folded.split_frame(frame)[1]) for frame in stack.split(";"))
    }
