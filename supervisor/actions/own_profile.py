"""A profile that the program writes itself when it ends (Node, Bun: see `ownprofile`), taken in as guard's own."""

from __future__ import annotations

import json
import os
from typing import Any

from supervisor import sample
from supervisor.actions import cpu_report, forms, slices
from supervisor.actions.task import Task
from supervisor.analysis import cpuprofile
from supervisor.analysis.reading import FormatError
from supervisor.profilers import engine, runner
from supervisor.profilers.failure import Failure

_LOOK_S = 0.1
_MOST_FILES = 50
_MOST_BYTES = 256 << 20


class Written:
    """A file that a thread of a process wrote: `CPU.20261126.182107.9155.0.001.cpuprofile`."""

    __slots__ = ("path", "pid", "suffix", "tid")

    def __init__(self, path: str, pid: int, tid: int, suffix: str) -> None:
        self.path = path
        self.pid = pid
        self.tid = tid
        self.suffix = suffix


def await_end(task: Task) -> int:
    """Until the process is gone; the most that it was seen to hold (RSS, in bytes). Raises Failure when guard is to end
    before that.
    """
    peak = 0
    while True:
        try:
            task.check_target()
        except Failure:
            return peak
        process = sample.read_process(task.pid)
        peak = max(peak, (process.rss_bytes if process is not None else None) or 0)
        if runner.pause(_LOOK_S):
            said = "guard ended before the program did, which writes its profile at its end"
            raise Failure("interrupted", said, "guard profile --duration 30s -- COMMAND")


def written(directory: str, prefix: str) -> list[Written]:
    """What there is of this kind (`CPU`, `Heap`), largest first; at most 50 files, none over 256 MiB."""
    found: list[tuple[int, Written]] = []
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return []
    for entry in entries:
        words = entry.name.split(".")
        if len(words) < 7 or words[0] != prefix or not (words[3].isdigit() and words[4].isdigit()):
            continue
        size = entry.stat(follow_symlinks=False).st_size
        if entry.is_file(follow_symlinks=False) and 0 < size <= _MOST_BYTES:
            found.append((size, Written(entry.path, int(words[3]), int(words[4]), f".{words[-1]}")))
    return [each for _, each in sorted(found, key=lambda pair: -pair[0])[:_MOST_FILES]]


def nothing(task: Task) -> Failure:
    """Why there is none."""
    name = {engine.NODE: "Node", engine.BUN: "Bun"}[task.spec["own"]["engine"]]
    said = f"{name} writes its profile when it ends in the normal way; it wrote none: a signal ended it, or it crashed"
    if name == "Node":
        return Failure("nothing-written", said, "guard profile --duration 1h -- COMMAND, which samples it from outside")
    return Failure("nothing-written", said, "let it handle SIGINT and SIGTERM with process.exit()")


def cpu(task: Task) -> dict[str, Any]:
    """Wait for the end, and take in the busiest thread's profile; the others' are kept beside it.

    Raises Failure, OSError.
    """
    runner.hold()
    await_end(task)
    own, spec = task.spec["own"], task.spec
    best = None
    files = [each for each in written(own["directory"], "CPU") if each.suffix == ".cpuprofile"]
    for each in files:
        try:
            with open(each.path, "rb") as file:
                document = json.load(file)
            found = cpuprofile.read(document, keep=True)
        except (FormatError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if best is None or found.total > best[1].total:
            best = each, found, len(document.get("samples") or ())
    if best is None:
        raise nothing(task)
    main, found, taken = best
    asked_hz = max(1, round(1 / spec.get("sampling_interval", 0.001)))
    counts, library = forms.shown(task, slices.scaled(found.stacks or {}, asked_hz * 1e-6))
    samples = sum(counts.values())
    others = len(files) - 1
    seconds = found.seconds or found.total * 1e-6
    notes = [] if samples else ["Not enough evidence: it was idle."]
    if others:
        notes.append(f"{others} more threads and processes wrote profiles of their own, which are beside this one.")
    facts = {
        "engine": own["engine"],
        "profiled_pid": main.pid,
        "mode": spec.get("profile_mode"),
        "asked_rate_hz": asked_hz,
        "used_rate_hz": float(asked_hz),
        "achieved_rate_hz": round(taken / seconds, 3) if seconds else None,
        "rate_reason": "as asked, by the program itself",
        "samples": samples,
        "samples_taken": taken,
        "errors": 0,
        "idle_s": round(found.idle * 1e-6, 3),
        "pieces": 1,
        "seconds": round(seconds, 3),
        "whole": True,
        "overhead_budget": spec.get("overhead_budget", 0.03),
        "source_locations": bool(spec.get("source_locations", True)),
        "library_frames": bool(spec.get("library_frames", True)),
        "library_samples_folded": library,
        "others": others,
        "ended_early": None,
    }
    result = cpu_report.write(task, main.pid, counts, float(asked_hz), facts, notes)
    keep(task, own["directory"], "CPU", main)
    return result


def keep(task: Task, directory: str, prefix: str, main: Written) -> None:
    """Put what was written beside the evidence: `main` under its name, others with their pid and thread.

    Markdown of Bun's is `.bun.md`: `.md` is guard's summary. Raises OSError.
    """
    for each in written(directory, prefix):
        same = (each.pid, each.tid) == (main.pid, main.tid)
        suffix = ".bun.md" if each.suffix == ".md" else each.suffix
        with open(each.path, "rb") as file:
            task.write(suffix if same else f"-{each.pid}-{each.tid}{suffix}", file.read())
        os.unlink(each.path)
    try:
        os.rmdir(directory)
    except OSError:
        pass  # another kind's are still there
