"""Growth and heap profiles of a running Node: V8 samples allocations, and tells which of them are still held.

What is held in the end is the evidence: garbage drops out of the samples when it is collected. V8 charges what an
inlined function allocates to its caller, so inlining is off for the first seconds; what comes after is told apart by
what was seen then (`heapprofile.refine`).
"""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Callable
from typing import Any

from supervisor import sample, stops
from supervisor.actions import following, growth_report, mapped
from supervisor.actions.ledger import Ledger
from supervisor.actions.task import Pass, Task
from supervisor.analysis import folded, heapprofile, markdown
from supervisor.analysis.reading import FormatError
from supervisor.analysis.text import counted
from supervisor.profilers import inspector, runner
from supervisor.profilers.failure import Failure
from supervisor.profilers.inspector import Gone, Hurry, Session
from supervisor.profilers.node_threads import Threads
from supervisor.quantities import human_bytes

LEAST_INTERVAL = 64 << 10  # bytes: each sample that is held costs V8 some 200 bytes and a handle
_INTERVALS = 16_384  # of them in the process's memory
_EXACT_S = 8  # of no inlining, by the target's clock: it may be late, so what counts as exact ends a second before
_FOREVER_S = 10**9
_LEAST_OUTSIDE_BYTES = 16 << 20
_NOTABLE_SHARE = 0.25
_FIRST_READ_S = 1.0
_LOOK_S = 0.25
_MOST_READ_S = 30.0


def interval(asked: int, rss_bytes: int) -> tuple[int, str]:
    """Bytes between samples, and why it isn't what was asked. Pure."""
    used = max(asked, LEAST_INTERVAL, rss_bytes // _INTERVALS)
    if used == asked:
        return used, "as asked"
    return used, f"{asked} bytes were asked; a sample that is held costs memory, so one in {used} bytes was taken"


def grow(task: Task) -> dict[str, Any]:
    """`growth` of a Node, until told to stop or it ends. Raises Pass where its inspector can't be had, Failure."""
    if not task.spec.get("node_inspector", True):
        raise Pass("inspector-off", "--no-node-inspector keeps guard out of it", "")
    runner.hold(signal.SIGINT, signal.SIGUSR1)
    if following.is_frozen(task):
        _let_go(task)  # what stands still can't answer
    task.check_target()
    watch = mapped.Mapped(task, frozen=False)
    follower = Follower(task, task.spec.get("seconds"), watch=watch)
    try:
        follower.follow()
    except Failure as failure:
        if failure.reason == "target-gone":
            raise
        raise Pass.of(failure, "inspector") from failure
    watch.last()
    return follower.report(watch)


def _let_go(task: Task) -> None:
    try:
        following.write_frame(task, [])
    finally:
        following.go_on(task)


class Follower:
    """One Node followed: what V8 sampled so far as a ledger. Without `seconds` until it ends or guard says so.

    V8 doesn't sample what lies outside its heap, so growth needs a `watch` of the mappings beside.
    """

    def __init__(
        self,
        task: Task,
        seconds: float | None,
        *,
        pid: int | None = None,
        always_exact: bool = False,
        watch: mapped.Mapped | None = None,
    ) -> None:
        self.task = task
        self._watch = watch
        self.pid = pid or task.pid
        rss = self._rss()
        self.ledger = Ledger(rss)
        self.course = growth_report.Course(growth_report.INSPECTOR, [], rss)
        self.interval, self.reason = interval(int(task.spec.get("heap_interval", 1024)), rss)
        self.at_end: Callable[[Session], None] | None = None  # while the session is still there
        self.memory: dict[str, Any] = {}  # of process.memoryUsage() at the start and at the end
        self.was_open = False
        self.interrupted = self.gone = False
        self._until_s = float("inf") if seconds is None else time.monotonic() + seconds
        budget = task.spec.get("overhead_budget")
        self._budget = budget or 0.5
        self._always_exact = always_exact or budget is None
        self._exact_until: int | None = None  # the last ordinal that was sampled without inlining
        self._document: dict[str, Any] = {}
        self._workers: dict[str, heapprofile.Heap] = {}  # what each worker thread holds
        self._exact_in: dict[str, int] = {}  # and up to where its samples are exact
        self._threads: Threads | None = None
        self._heap = heapprofile.Heap({}, [])

    def follow(self) -> None:
        """Sample until the end; what there is by then is in the ledger. Raises Failure."""
        session = inspector.attach(self.pid, _FOREVER_S if self._always_exact else _EXACT_S)
        self.was_open = session.was_open
        try:
            try:
                self._follow(session)
            except runner.Interrupted:
                self.interrupted = True
            self._finish(session)
            if self.at_end is not None and not self.interrupted:
                self.at_end(session)
        except Gone:
            self.gone = True  # what was read last counts
        except Failure as failure:
            if not self._document:
                raise
            self.course.failed(f"{failure.reason}: {failure.said}")
        finally:
            session.close()
        if self._document:
            self.task.write(".heapprofile", json.dumps(self._document))

    def _follow(self, session: Session) -> None:
        try:
            self.memory["start"] = self._usage(session)
            session.call("HeapProfiler.enable")
            session.call("HeapProfiler.startSampling", samplingInterval=self.interval)
            session.threads.follow()
            self._greet_workers(session)
        except Hurry:
            self._frozen()
        now_s = time.monotonic()
        exact_s = float("inf") if self._always_exact else now_s + _EXACT_S - 1
        forget_s = exact_s + 3  # by then V8 may inline again, and what it optimised meanwhile is slow
        read_s, wait_s = now_s + _FIRST_READ_S, _FIRST_READ_S
        longest_s = _LOOK_S if self._watch is not None else float("inf")
        while (now_s := time.monotonic()) < self._until_s:
            try:
                if not session.wait(
                    min(read_s - now_s, exact_s - now_s, forget_s - now_s, self._until_s - now_s, longest_s)
                ):
                    self.gone = True
                    return
                self._look()
                now_s = time.monotonic()
                if now_s >= exact_s:
                    exact_s = float("inf")
                    self._read(session)
                    self._exact_until = self._heap.newest
                    self._exact_in = {key: worker.newest for key, worker in self._workers.items()}
                if now_s >= forget_s:
                    forget_s = float("inf")
                    session.forget_optimised()
                    for key in self._workers:
                        session.threads.forget_optimised(key)
                if now_s >= read_s:
                    took_s = self._read(session)
                    wait_s = min(_MOST_READ_S, max(wait_s * 1.5, took_s / self._budget))
                    read_s = time.monotonic() + wait_s
            except Hurry:
                self._frozen()
                read_s = time.monotonic()
            except Failure as failure:  # busy outside JavaScript, or V8's profile makes no sense: the next may
                if failure.reason not in ("inspector-silent", "profiler-garbage"):
                    raise
                self.course.failed(f"{failure.reason}: {failure.said}")

    def _look(self) -> None:
        """At where its memory lies; put in place while the samples tell little."""
        rss = self._watch.rss.read() if self._watch is not None else None
        if self._watch is None or rss is None:
            return
        try:
            if self._watch.look(rss) and self._document and not self.ledger.enough:
                began_s = time.monotonic()
                self._watch.write()
                self._watch.cost_s += time.monotonic() - began_s
        except ProcessLookupError:
            pass  # the session tells its end

    def _frozen(self) -> None:
        """The watcher called for haste: whom it stopped for that goes on, as it can't answer else."""
        self.task.spec["freeze"] = True  # until it is continued, whatever happens
        if stops.await_stop(self.task.pid):
            began = time.monotonic()
            try:
                if self._watch is not None:
                    self._watch.read(hasty=True)
            except ProcessLookupError:
                pass
            finally:
                _let_go(self.task)
            self.course.frozen_s = time.monotonic() - began
        self.task.spec["freeze"] = False
        self.course.haste += 1

    def _read(self, session: Session, method: str = "HeapProfiler.getSamplingProfile") -> float:
        """Take in what V8 has; how long that took. V8 collects all garbage for it, while the process stands."""
        began = time.monotonic()
        document = session.call(method)["profile"]
        took_s = time.monotonic() - began
        try:
            found = heapprofile.parse(document)
        except FormatError as error:
            raise Failure("profiler-garbage", f"V8's heap profile: {error}"[:300], "node --version") from None
        if session.leaving and sum(found.counts.values()) < self.ledger.attributed_bytes:
            return took_s  # a Node that has ended holds nothing any more
        self._heap, self._document = found, document
        self.course.stopped(took_s)
        self.course.peak_bytes = max(self.course.peak_bytes, self._rss())
        self._take_in()
        self._write()
        with contextlib.suppress(Failure):
            self.memory["end"] = self._usage(session)  # of one that is killed this is the last
        if self._workers or session.threads.found:  # the main thread's is in place: some may be silent for long
            try:
                self._read_workers(session)
            finally:
                self._take_in()
                self._write()
        return took_s

    def _write(self) -> None:
        if self.ledger.counts and (self._watch is None or self.ledger.enough):
            self.task.write(".folded", folded.render(self.ledger.counts))

    def _greet_workers(self, session: Session) -> None:
        """Those that are new are sampled from here on, or when they can: nobody waits. Raises Gone."""
        self._threads = threads = session.threads
        for key in threads.found.keys() - self._workers.keys():
            self._workers[key] = heapprofile.Heap({}, [])
            threads.forget_optimised(key)
            sampling = {"samplingInterval": self.interval}
            threads.post(key, ("HeapProfiler.enable", {}), ("HeapProfiler.startSampling", sampling))

    def _read_workers(self, session: Session) -> None:
        """What worker threads hold; who doesn't answer holds what it did before. Raises Gone, Interrupted, Hurry."""
        threads = session.threads
        for key, answer in threads.ask("HeapProfiler.getSamplingProfile"):
            try:
                found = heapprofile.parse(answer["profile"])
            except (FormatError, KeyError):
                continue
            inside, outside = found.parted(self._exact_in.get(key, None if self._exact_until is None else 0))
            counts = heapprofile.refine(inside, outside) if found.samples else found.counts
            marked = {threads.marked(key, stack): size for stack, size in counts.items()}
            self._workers[key] = heapprofile.Heap(marked, found.samples)
        self._workers = {key: worker for key, worker in self._workers.items() if key in threads.found}
        self._greet_workers(session)

    def _take_in(self) -> None:
        heap = self._heap
        inside, outside = heap.parted(self._exact_until)
        self.ledger.counts = heapprofile.refine(inside, outside) if heap.samples else heap.counts
        self.ledger.samples = len(heap.samples)
        for worker in self._workers.values():
            self.ledger.samples += len(worker.samples)
            self.ledger.counts = {**self.ledger.counts, **worker.counts}

    def _finish(self, session: Session) -> None:
        try:
            self._read(session, "HeapProfiler.stopSampling")
            self.memory["end"] = self._usage(session)
        except (Hurry, Failure, runner.Interrupted) as error:
            self.course.failed(f"{type(error).__name__}: {error}")

    def finished_course(self) -> growth_report.Course:
        """The course with what there is to tell of this engine."""
        course = self.course
        if self.outside:
            course.notes.append(self.outside)
        if self.was_open:
            course.notes.append("The inspector was open before, and stays open.")
        read = 0
        if self._threads is not None:
            course.notes.extend(self._threads.note(".heapprofile"))
            read = len(self._threads.read)
        course.facts = {"workers": read, "heap_interval_bytes": self.interval, "interval_reason": self.reason,
                        "inspector_was_open": self.was_open, "node_memory": self.memory or None}  # fmt: skip
        return course

    @property
    def outside(self) -> str:
        """What to say where most of the growth is none of V8's; "" else."""
        return outside_the_heap(self.memory, sum(sum(worker.counts.values()) for worker in self._workers.values()))

    def report(self, watch: mapped.Mapped) -> dict[str, Any]:
        """By function where V8 sampled what grew, else by mapping and with the function that most samples are of."""
        course, outside = self.finished_course(), self.outside
        if outside or not self.ledger.enough:
            watch.held_by = _holder(self.ledger.counts)
            if watch.held_by:
                few = counted(self.ledger.samples, "sample", "samples")
                course.notes.append(f"{markdown.code(watch.held_by)} holds most of what V8 sampled ({few}).")
        if not self.ledger.enough:
            watch.beside, watch.facts = course.notes, dict(course.facts)
        elif outside:
            course.notes.remove(outside)
        return watch.report(self.ledger, course, outside)

    def _usage(self, session: Session) -> dict[str, int]:
        """By the protocol and /proc: nothing is run in the process."""
        found = session.call("Runtime.getHeapUsage")
        return {"rss_bytes": self._rss(), "heap_bytes": int(found.get("totalSize", 0)),
                "heap_used_bytes": int(found.get("usedSize", 0))}  # fmt: skip

    def _rss(self) -> int:
        process = sample.read_process(self.pid)
        return (process.rss_bytes or 0) if process is not None else 0


def _holder(counts: folded.Counts) -> str:
    """The program's own function that most of what was sampled is of, as a frame; "" where there is none."""
    for each in folded.own_functions(counts):
        if each.self_weight and each.file and not folded.is_library(each.file):
            return folded.frame(each.function, each.file, each.line)
    return ""


def outside_the_heap(memory: dict[str, Any], workers_bytes: int = 0) -> str:
    """What to say where memory that V8 doesn't sample grew more than its heap did; "" else. Pure.

    `memory` knows the main thread's heap alone. Of the worker threads' only what their samples hold is known, not
    their garbage: where that is a notable part, nothing can be said.
    """
    start, end = memory.get("start"), memory.get("end")
    if not start or not end:
        return ""
    heap = end["heap_bytes"] - start["heap_bytes"]
    others = end["rss_bytes"] - start["rss_bytes"] - heap
    if workers_bytes > others * _NOTABLE_SHARE:
        return ""
    others -= workers_bytes
    # A heap that shrank was collected, at the program's end say, and its pages aren't given back yet.
    if heap < 0 or others <= max(heap, _LEAST_OUTSIDE_BYTES):
        return ""
    return (
        f"Most of the growth is outside the JavaScript heap: buffers and the like grew by {human_bytes(others)}, "
        f"the heap by {human_bytes(max(0, heap))}. V8 samples only the small objects that hold the buffers."
    )
