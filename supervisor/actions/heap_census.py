"""Heap evidence by an agent: censuses and what grew between two of them.

The agent is the one that `--heap-agent` put into the target, or a thread that visits it (`profilers/remote.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any

from supervisor import evidence, sample
from supervisor.actions import heap_memray, heap_report, heap_sites
from supervisor.actions.task import Task
from supervisor.analysis import census, markdown
from supervisor.analysis.census import Row
from supervisor.profilers import agent, remote, runner
from supervisor.profilers.failure import Failure
from supervisor.quantities import human_bytes

SUFFIX = ".census.json"
_CENSUS_S = 3.0
_BETWEEN_S = 3.0
_CHAIN_S = 1.0
_LATE_S = 6.0  # an agent whose thread gets no turn answers late
_ENDING_S = 5.0
_FIRST_S = 0.5
_LONGEST_S = 30.0
_MOST_CHAINS = 3
_MOST_CENSUS_BYTES = 8 << 20
_OBJECT_SHARE = 24  # one part in so many of a process's memory is what a list of all its objects takes


class Census:
    """A census with when it was taken and how large the process was. `sites`: bytes by tracemalloc's site.

    `swap_bytes`: what of it was swapped out, which its objects are in as well.
    """

    def __init__(
        self, answer: dict[str, Any], at: float, rss_bytes: int, swap_bytes: int, sites: dict[str, int] | None = None
    ) -> None:
        self.answer = answer
        self.at = at
        self.rss_bytes = rss_bytes
        self.swap_bytes = swap_bytes
        self.sites = sites or {}

    @property
    def held_bytes(self) -> int:
        """What the process held in all."""
        return self.rss_bytes + self.swap_bytes

    def document(self, pid: int, start_ticks: int) -> dict[str, Any]:
        """As it is kept beside the report."""
        return {"schema_version": 1, "pid": pid, "start_ticks": start_ticks, "at": self.at,
                "rss_bytes": self.rss_bytes, "swap_bytes": self.swap_bytes,
                "sites": self.sites, "census": self.answer}  # fmt: skip


class Heap:
    """One heap profile by the agent of a process, or by a visit to it."""

    def __init__(self, task: Task, pid: int, hello: dict[str, Any], visit: remote.Visit | None = None) -> None:
        self.task = task
        self.pid = pid
        self.visit = visit
        self.mode = str(hello.get("mode", "census"))
        self.trouble = str(hello.get("trouble", ""))
        self.first: Census | None = None
        self.last: Census | None = None
        self.chains: dict[str, dict[str, Any]] = {}
        self.traces: dict[str, Any] = {}
        self.hold_s = 0.0
        self.recording = agent.recording(pid) if self.mode == "memray" else None
        self._recordings = int(hello.get("recordings", 1))
        self.interrupted = False
        process = sample.read_process(pid)
        self.start_ticks = process.start_ticks if process else 0
        self.rss_bytes = (process.rss_bytes if process else None) or 0

    def _ask(self, request: str, timeout_s: float) -> dict[str, Any]:
        if self.visit is not None:
            return self.visit.ask(request, timeout_s)
        return agent.ask(self.pid, request, timeout_s)

    def count(self) -> None:
        """Take a census, and tracemalloc's sites where that is on. Raises Failure."""
        answer = self._ask(f"census {_CENSUS_S}", _CENSUS_S + _LATE_S)
        if "types" not in answer:
            raise Failure("agent-failed", str(answer.get("error", "no answer")), f"guard doctor --pid {self.pid}")
        self._hold(answer)
        sites: dict[str, int] = {}
        if self.mode == "tracemalloc":
            room = self.task.spec.get("headroom_bytes")
            most = room // 2 if isinstance(room, int) else 1 << 30
            self.traces = self._ask(f"traces {most}", 10 * _LATE_S)
            self._hold(self.traces)
            sites = heap_sites.innermost(self.traces)
        process = sample.read_process(self.pid)
        rss = (process.rss_bytes if process else None) or self.rss_bytes
        taken = Census(answer, time.time(), rss, sample.swap_bytes(self.pid), sites)
        if self.first is None:
            self.first = taken
        else:
            self.last = taken

    def ask_holders(self) -> None:
        """Who holds what grew most. A process that ends meanwhile just isn't asked."""
        for row in self.grown()[:_MOST_CHAINS]:
            try:
                answer = self._ask(f"chain {_CHAIN_S} {row.type}", _CHAIN_S + _LATE_S)
            except Failure:
                return
            self._hold(answer)
            if "chain" in answer:
                self.chains[row.type] = answer

    def _hold(self, answer: dict[str, Any]) -> None:
        held = answer.get("longest_hold_s")
        self.hold_s = max(self.hold_s, held if isinstance(held, int | float) else 0.0)

    def grown(self) -> list[Row]:
        """What has more than at the first census; of one census, nothing."""
        if self.first is None or self.last is None:
            return []
        return census.grew(self.first.answer, self.last.answer)

    # -- how long -------------------------------------------------------------------------------------------------

    def follow(self, seconds: float | None) -> None:
        """Censuses now and again, with growing pauses, until the time is up, the process ends or guard says so."""
        until_s = float("inf") if seconds is None else time.monotonic() + seconds
        ended = _pidfd(self.pid)
        self.count()
        pause_s = _FIRST_S
        while not self.interrupted and (left_s := until_s - time.monotonic()) > 0.05:
            self.interrupted = runner.pause(min(pause_s, left_s), ended)
            pause_s = min(2 * pause_s, _LONGEST_S)
            if self._gone():
                return
            try:
                self.count()
                self.ask_holders()
            except Failure:
                # A Python that ends takes its agent's thread down first, and memray then has its recording to write.
                self.interrupted = not self._gone() and runner.pause(_ENDING_S, ended)
                if self._gone() or self.interrupted:
                    return
                raise

    def _gone(self) -> bool:
        process = sample.read_process(self.pid)
        return process is None or process.state in ("Z", "X") or process.start_ticks != self.start_ticks

    def _recorded(self) -> str | None:
        """The path of what memray recorded in the process, which ends with that; None where it doesn't, or goes on."""
        if self.recording is None or self.task.state != "profiling":
            return None
        if not self._gone():
            self._ask("finish", 10 * _LATE_S)
        return f"/proc/self/fd/{self.recording}"

    def _record_again(self) -> None:
        """A later state `profiling` has a recording of its own. One that ends meanwhile has none."""
        if not self._gone():
            with contextlib.suppress(Failure):
                agent.ask(self.pid, "again", 10 * _LATE_S)

    def look_back(self) -> bool:
        """Take an earlier census of this run as the first; whether there is one."""
        folder = str(self.task.spec["directory"])
        try:
            names = sorted(name for name in os.listdir(folder) if name.endswith(SUFFIX))
        except OSError:
            return False
        for name in names:  # the earliest: a slow leak shows best over a long time
            data = evidence.read_file(os.path.join(folder, name), _MOST_CENSUS_BYTES)
            try:
                found = json.loads(data or b"")
                if (found["pid"], found["start_ticks"]) == (self.pid, self.start_ticks):
                    sizes = int(found["rss_bytes"]), int(found["swap_bytes"])
                    self.first = Census(found["census"], float(found["at"]), *sizes, found["sites"])
                    return True
            except (ValueError, KeyError, TypeError):
                continue
        return False

    # -- what came of it ------------------------------------------------------------------------------------------

    def finish(self, reason: str, refused: str = "") -> dict[str, Any]:
        """Write the report; the result for the watcher. There is one census at least.

        `reason`: why this engine; `refused`: why none that would come before it.
        """
        assert self.first is not None
        newest = self.last or self.first
        rows, grown = census.rows(newest.answer), self.grown()
        objects = int(newest.answer.get("objects", 0))
        looked_at = int(newest.answer.get("looked_at", 0))
        gained = newest.held_bytes - self.first.held_bytes
        explained = census.total_bytes(newest.answer) - census.total_bytes(self.first.answer)
        doubt = self._doubt()
        top = grown[0] if grown and not doubt else None
        seconds = newest.at - self.first.at
        basis = f"{looked_at:,} of {objects:,} objects"
        notes = self._notes(top, doubt)
        notes.append(f"Counts and bytes are estimates from {basis}; no value was read, only types, sizes and names.")
        sections = [heap_report.types_section(rows), heap_report.modules_section(rows)]
        counts = heap_report.by_type(rows, self.chains, grown=False)
        title, frames = f"Heap of process {self.pid}", "types"
        if self.last is not None:
            sections.insert(0, heap_report.grew_section(grown, self.chains, seconds))
            if grown and doubt != "coarse":
                counts = heap_report.by_type(grown, self.chains, grown=True)
                title = f"What grew in process {self.pid}"
        if self.traces.get("sites"):
            counts = heap_sites.counts(self.traces)
            title, frames = f"Allocations held by process {self.pid}", "functions"
            if self.last is not None:
                sections.insert(1, heap_report.sites_section(self.first.sites, newest.sites, seconds))
        elif (path := self._recorded()) is not None:
            held, more = heap_memray.keep(self.task, path)
            notes += more
            if self._recordings > 1:
                notes.append(
                    "This recording began when the one before it ended: what was allocated before isn't in it."
                )
            self._record_again()
            if held:
                counts, title = held, f"Allocations held by process {self.pid} at the peak"
                frames = "functions"
        elif self.traces:
            notes.append(f"tracemalloc's sites were not read: {self.traces.get('error', 'no answer')}.")
        facts = {
            "engine": f"agent, {self.mode}" if self.visit is None else remote.ENGINE,
            "engine_reason": reason,
            "engine_refused": refused or self.trouble or None,
            "samples": looked_at,
            "frames": frames,
            "errors": 0,
            "objects": objects,
            "rss_bytes": newest.rss_bytes,
            "gained_bytes": gained,
            "explained_bytes": explained,
            "doubt": doubt or None,
            "between_s": round(seconds, 3),
            "longest_stop_s": round(self.hold_s, 4),
            "grew": self._told(top) if top is not None else None,
        }
        head = [("Objects", f"{objects:,}"), ("Resident", human_bytes(newest.rss_bytes))]
        if self.last is not None:
            head.append(("Gained", human_bytes(max(0, gained))))
        self.task.write(SUFFIX, json.dumps(newest.document(self.pid, self.start_ticks)) + "\n")
        foremost = heap_report.publish(
            self.task,
            self.pid,
            counts,
            title=title,
            basis=basis,
            head=head,
            notes=notes,
            sections=sections,
            facts=facts,
        )
        result = {key: facts[key] for key in ("engine", "engine_reason", "samples", "longest_stop_s", "grew")}
        return {**result, "top": foremost}

    def _doubt(self) -> str:
        if self.first is None or self.last is None:
            return ""
        return census.doubt(self.first.answer, self.last.answer, (self.first.held_bytes, self.last.held_bytes))

    def _notes(self, top: Row | None, doubt: str) -> list[str]:
        notes = []
        if doubt:
            notes.append(self._said(doubt))
        if top is not None:
            told = self._told(top)
            holder = f", held by {markdown.code(told['holder'])}" if told["holder"] else ""
            more = f"{human_bytes(top.more_bytes)} in {top.more:,} more objects"
            notes.append(f"{markdown.code(top.type)} grew most: {more}{holder}.")
        if self.last is not None and top is None and not doubt:
            notes.append("No type grew beyond what sampling explains.")
        if self.last is None:
            notes.append("This is one census; what grew shows with the next one.")
        if self.visit is not None and self.visit.others:
            few = f"{self.visit.others} subinterpreter{'s' if self.visit.others > 1 else ''}"
            notes.append(f"Its {few} were not looked at: only the main interpreter's objects are counted.")
        if self.trouble:
            notes.append(f"memray was asked for and couldn't be had ({self.trouble}); tracemalloc ran instead.")
        return notes

    def _said(self, doubt: str) -> str:
        assert self.first is not None and self.last is not None
        first, last = census.total_bytes(self.first.answer), census.total_bytes(self.last.answer)
        gained = human_bytes(max(0, self.last.held_bytes - self.first.held_bytes))
        if doubt == "coarse":
            return (
                f"No type is named, as the counts don't fit the process: objects of {human_bytes(first)} and then "
                f"{human_bytes(last)}, where it held {human_bytes(self.first.held_bytes)} and then "
                f"{human_bytes(self.last.held_bytes)}. The estimate is too coarse, or they took memory that was free "
                "before or was never touched. The growth profile names who took it."
            )
        if doubt == "spread":
            most = self.grown()[0]
            return (
                f"No type is named: of the {gained} that the process gained none has much by itself; "
                f"{markdown.code(most.type)} has most, {human_bytes(most.more_bytes)}."
            )
        return (
            f"Python's objects explain {human_bytes(max(0, last - first))} of the {gained} that the "
            "process gained: the rest is memory that C code holds, or that is free and wasn't given back. "
            "The growth profile names who took it."
        )

    def _told(self, row: Row) -> dict[str, Any]:
        found = self.chains.get(row.type, {})
        return {"type": row.type, "more": row.more, "bytes": row.more_bytes, "holder": str(found.get("holder") or ""),
                "chain": [str(each) for each in found.get("chain", ())]}  # fmt: skip


def counted(heap: Heap) -> Heap:
    """With its censuses taken: for a while where that was asked for, else one, and a second one to compare by.

    Raises Failure.
    """
    task = heap.task
    if "profile_mode" in task.spec:
        heap.follow(task.spec.get("duration", 10.0))
    elif task.state == "warning":
        heap.count()
    else:
        if not heap.look_back():
            heap.count()
            runner.pause(min(_BETWEEN_S, float(task.spec.get("duration", _BETWEEN_S))))
        heap.count()
        heap.ask_holders()
    return heap


def check_room(task: Task, pid: int, more_bytes: int = 0) -> None:
    """A census lists the process's objects. Raises Failure where the limit leaves no room for that, and `more_bytes`.

    Asked before the process is.
    """
    process = sample.read_process(pid)
    needed = ((process.rss_bytes if process else None) or 0) // _OBJECT_SHARE + more_bytes
    room = task.spec.get("headroom_bytes")
    if isinstance(room, int) and room < needed:
        said = f"headroom of {human_bytes(room)} is less than a census may take ({human_bytes(needed)})"
        raise Failure("no-room", said, "guard run --warning 50%, for a census while there is room")


def _pidfd(pid: int) -> int | None:
    """A descriptor that tells of the process's end; kept as long as the worker lives."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
