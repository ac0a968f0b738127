"""`growth` of a process whose stacks nobody reads: not which code takes the memory, but where it lies.

Its mappings are read when this begins and again as it grows; what each gained is the growth by mapping. It is put in
place each time, so that what there is when the kernel kills the process was true a moment before.
"""

from __future__ import annotations

import signal
import time
from typing import Any

from supervisor import stops
from supervisor.actions import following, growth_report, mappings, objects
from supervisor.actions.ledger import ENOUGH_BYTES, Ledger
from supervisor.actions.mappings import Sizes
from supervisor.actions.task import Task
from supervisor.analysis import folded, markdown
from supervisor.profilers import runner
from supervisor.quantities import human_bytes, human_percent

_LOOK_S = 0.02
_SHORTEST_GAP_S = 0.25
# The kernel walks a process's mappings, 10 ms a GiB, and mmap(2) of its waits meanwhile: of a larger one that is
# stopped, or has hardly any time left, only what costs nothing is read.
_MOST_IN_HASTE_BYTES = 4 << 30
_LEAST_STEP_BYTES = 1 << 20
_STEP_SHARE = 0.02  # of what it holds
_MEANING = (
    "This growth profile tells in which memory the process gained its bytes: its heap, a library's data, a file, "
    "shared memory, the stacks of its threads. It doesn't tell which code took them."
)


class Gained:
    """Where bytes were gained since the first reading. Pure: readings in, growth out.

    The highest reading counts: what is given back before the end was still what filled the memory.
    """

    def __init__(self, first: Sizes) -> None:
        self.first = first
        self.highest = first
        self.readings = 1

    def add(self, sizes: Sizes) -> None:
        """Another reading; one of mappings doesn't compare with one of kinds."""
        self.readings += 1
        if sum(sizes.values()) > sum(self.highest.values()):
            self.highest = sizes

    @property
    def grown(self) -> Sizes:
        """What each mapping gained."""
        return mappings.grown(self.first, self.highest)

    @property
    def enough(self) -> bool:
        """Whether the growth carries a conclusion."""
        return sum(self.grown.values()) >= ENOUGH_BYTES


def take(task: Task) -> dict[str, Any]:
    """Until the process ends or guard says so, or for the spec's `seconds`. Raises Failure, OSError.

    Where the watcher stopped it just below its limit, it goes on as soon as it has been read.
    """
    frozen = following.is_frozen(task)
    task.check_target()
    watch = Mapped(task, frozen=frozen)
    try:
        if frozen:
            watch.thaw()
        else:
            watch.write()  # where it lies already
        _run(watch)
    except (runner.Interrupted, ProcessLookupError):
        pass
    runner.hold(signal.SIGINT, signal.SIGTERM)  # the end is bounded by itself
    watch.last()
    return watch.write()


def _run(watch: Mapped) -> None:
    seconds = watch.task.spec.get("seconds")
    until_s = float("inf") if seconds is None else watch.began_s + seconds
    while time.monotonic() < until_s:
        if following.rest(watch.task, _LOOK_S):
            watch.hurry()
            continue
        rss = watch.rss.read()
        if rss is None:
            return
        if watch.look(rss):
            began_s = time.monotonic()
            watch.write()
            watch.cost_s += time.monotonic() - began_s


class Mapped:
    """Where the memory of a process lies, as it grows."""

    def __init__(self, task: Task, *, frozen: bool) -> None:
        self.task = task
        self.began_s = time.monotonic()
        self.frozen_s: float | None = None
        self.haste = 0
        self.longest_s = 0.0
        self.rss = following.Rss(task.pid)
        self.start_bytes = self.peak_bytes = self._known = self.rss.read() or 0
        self.cost_s = self._read_s = 0.0  # of the last reading, and of what it takes to put it in place
        self._budget = max(0.001, float(task.spec.get("overhead_budget", 0.03)))
        self._frozen = frozen
        self.held_by = ""  # what was sampled to hold it, as a folded frame: beside the suspect, which it isn't
        self.beside: list[str] = []  # notes of what else was tried
        self.facts: dict[str, Any] = {}
        try:
            first = self._read(hasty=frozen)
        except ProcessLookupError:
            first = {}
        self.gained = Gained(first)
        self.by_kind = _is_by_kind(first)
        self._objects: objects.Objects | None = None
        if not frozen:
            self._objects = objects.of(task.pid, self.start_bytes, self._budget)

    def look(self, rss: int) -> bool:
        """Read it where it has grown and the budget allows; whether there is something new.

        Raises ProcessLookupError, Interrupted.
        """
        self.peak_bytes = max(self.peak_bytes, rss)
        self._known = min(self._known, rss)
        counted = self._objects is not None and self._objects.look(rss)
        step = max(_LEAST_STEP_BYTES, _STEP_SHARE * self._known)
        gap_s = max(_SHORTEST_GAP_S, self.cost_s / self._budget)
        if rss - self._known < step or time.monotonic() < self._read_s + gap_s:
            return counted
        self.read(hasty=False)
        self._known = rss
        self._read_s = time.monotonic()
        return True

    def read(self, *, hasty: bool) -> None:
        """Read it now. Raises ProcessLookupError."""
        sizes = self._read(hasty=hasty)
        if sizes and _is_by_kind(sizes) == self.by_kind:
            self.gained.add(sizes)

    def _read(self, *, hasty: bool) -> Sizes:
        began_s = time.monotonic()
        try:
            if hasty and self.peak_bytes > _MOST_IN_HASTE_BYTES:
                return mappings.by_kind(self.task.pid)
            return mappings.resident(self.task.pid)
        except FileNotFoundError:
            raise ProcessLookupError(self.task.pid) from None
        finally:
            self.cost_s = time.monotonic() - began_s

    def hurry(self) -> None:
        """The watcher called: it stops the process to have it read, or somebody else did."""
        if not stops.await_stop(self.task.pid):
            self.task.spec["freeze"] = False
            return
        try:
            self.read(hasty=True)
        finally:
            self.thaw()

    def thaw(self) -> None:
        """Write the stopped process down as it stands, and let it go on."""
        self.haste += 1
        began_s = time.monotonic()
        try:
            following.write_frame(self.task, [], "kernel")
        finally:
            following.go_on(self.task)
        stood_s = self.cost_s + time.monotonic() - began_s
        self.longest_s = max(self.longest_s, stood_s)
        if self.frozen_s is None:
            self.frozen_s = stood_s
        self.write()

    def last(self) -> None:
        """Once more while it lives."""
        rss = self.rss.read()
        if rss is None:
            return
        if self._objects is not None:
            self._objects.last(rss)
        try:
            self.read(hasty=True)
        except OSError:
            pass

    # -- what came of it ------------------------------------------------------------------------------------------

    def told(self) -> tuple[dict[str, Any], dict[str, Any] | None, bool, list[str]]:
        """What it adds to the meta, the suspect, whether it may be named, and notes for people."""
        grown = self.gained.grown
        suspect, enough, notes = self._conclusion(grown, sum(grown.values()))
        facts: dict[str, Any] = {"mappings": _rows(self.gained)}
        if self._objects is not None:
            counted, class_, more = self._objects.facts()
            facts |= counted
            notes += more
            if suspect is not None and class_ is not None:
                suspect["type"] = class_["name"]
        if suspect is not None and self.held_by:
            suspect["held_by"] = self.held_by
        if self.by_kind:
            notes.append("Its mappings may not be read here, so only the kinds are told that the kernel counts itself.")
        return facts, suspect, enough, notes

    def report(self, stacks: Ledger, course: growth_report.Course, instead: str = "") -> dict[str, Any]:
        """Put growth in place by function where the ledger of stacks tells enough, else by mapping.

        By function the mapping is told beside it, and first where `instead` says why the functions tell less.
        """
        self.frozen_s, self.haste = course.frozen_s, course.haste
        if not stacks.enough:
            self.facts.setdefault("engine_refused", self.task.why() or course.why())
            return {**self.write(), "refused": course.refused}
        facts, suspect, _, notes = self.told()
        course.facts |= facts
        return growth_report.write(self.task, stacks, course, growth_report.Place(suspect, notes, instead))

    def write(self) -> dict[str, Any]:
        """Put the growth by mapping in place as far as it has come; the result for the watcher."""
        grown = self.gained.grown
        gained = sum(grown.values())
        elapsed_s = time.monotonic() - self.began_s
        more, suspect, enough, notes = self.told()
        engine = "kinds" if self.by_kind else "mappings"
        basis = f"{self.gained.readings} readings of its {engine} and {human_bytes(gained)} of growth"
        notes.append(f"This rests on {basis}, taken over {elapsed_s:.1f} s.")
        notes += self.beside
        if self.frozen_s is not None:
            notes.append(f"The process was stopped for {self.longest_s * 1000:.0f} ms when it had little room left.")
        facts = {
            "engine": engine,
            "engine_refused": self.task.why(),
            "samples": self.gained.readings,
            "temporary_samples": 0,
            "errors": 0,
            "last_error": None,
            "attributed_bytes": gained,
            "start_bytes": self.start_bytes,
            "peak_bytes": self.peak_bytes,
            "stopped_s": round(self.longest_s * self.haste, 4),
            "longest_stop_s": round(self.longest_s, 4),
            "elapsed_s": round(elapsed_s, 3),
            "frozen_s": round(self.frozen_s, 4) if self.frozen_s is not None else None,
            "haste": self.haste,
            "overhead_share": 0.0,
            "library_bytes_folded": 0,
            "enough": enough,
            **more,
            **self.facts,
        }
        head = [("Readings", str(self.gained.readings)), ("Growth", human_bytes(gained))]
        growth_report.publish(self.task, _counts(grown), head, notes, facts, basis, _MEANING)
        keys = ("samples", "attributed_bytes", "enough", "engine", "longest_stop_s")
        return {**{key: facts[key] for key in keys}, **({"suspect": suspect} if suspect else {})}

    def _conclusion(self, grown: Sizes, gained: int) -> tuple[dict[str, Any] | None, bool, list[str]]:
        """The suspect, whether it may be named, and the first notes.

        Of a process that was only met when it had filled its memory, the growth was over: what holds the most counts.
        """
        held = self.gained.highest
        total = sum(held.values())
        if self.gained.enough:
            found = mappings.holder(grown)
            if found is not None:
                name, size = found
                share = size / gained
                note = f"{human_percent(share)} of the growth is in {markdown.code(name)}."
                return _suspect(name, share, size, "growth"), True, [note]
        found = mappings.holder(held)
        if found is None:
            return None, False, ["Not enough evidence: nothing could be read of it."]
        name, size = found
        share = size / total
        suspect = _suspect(name, share, size, "held")
        note = f"It held {human_bytes(total)}, {human_percent(share)} of it in {markdown.code(name)}."
        if self._frozen:
            return suspect, 2 * size >= total, [note]
        little = f"Not enough evidence: it grew by {human_bytes(gained)}; {human_bytes(ENOUGH_BYTES)} are needed."
        return suspect, False, [little, note]


def _suspect(name: str, share: float, size_bytes: int, share_of: str) -> dict[str, Any]:
    """`share_of`: `growth`, or `held` where too little of that was seen."""
    return {"mapping": name, "share": round(share, 4), "bytes": size_bytes, "share_of": share_of}


def _is_by_kind(sizes: Sizes) -> bool:
    return any(name == "anonymous memory" for _, name in sizes)


def _counts(sizes: Sizes) -> folded.Counts:
    return {f"{folded.frame(kind, None, None)};{folded.frame(name, None, None)}": size
            for (kind, name), size in sizes.items()}  # fmt: skip


def _rows(gained: Gained) -> list[dict[str, Any]]:
    """Mappings as they were when it held the most, with what they had gained."""
    grown = gained.grown
    order = sorted(gained.highest.items(), key=lambda item: (-grown.get(item[0], 0), -item[1]))
    return [
        {"kind": kind, "name": name, "rss_bytes": size, "gained_bytes": grown.get((kind, name), 0)}
        for (kind, name), size in order[: mappings.MOST]
    ]
