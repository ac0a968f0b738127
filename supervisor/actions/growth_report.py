"""What `growth` writes: folded stacks, flame graph, speedscope, Markdown, meta."""

from __future__ import annotations

import time
from typing import Any

from supervisor.actions import forms
from supervisor.actions.ledger import ENOUGH_BYTES, ENOUGH_SAMPLES, Ledger
from supervisor.actions.task import Task
from supervisor.analysis import folded, markdown
from supervisor.quantities import human_bytes, human_percent

INSPECTOR = "inspector"
_ALLOCATED = (
    "This growth profile names the code that allocated what the process still holds. A CPU profile names the busy code."
)


class Place:
    """Where the memory lies: the suspect by mapping and its notes; `instead` why it tells more than functions do.

    `instead` is "" where the function comes first.
    """

    def __init__(self, suspect: dict[str, Any] | None, notes: list[str], instead: str = "") -> None:
        self.suspect = suspect
        self.notes = notes
        self.instead = instead if suspect is not None else ""


class Course:
    """How an attribution goes: by which engine, what better ones were refused for, what it cost the process.

    `haste` counts the stacks taken in a hurry, `frozen_s` is how long the process was stopped at first (None: not).
    `notes` and `facts` are what an engine has to tell beside the usual.
    """

    def __init__(self, engine: str, refused: list[dict[str, str]], rss_bytes: int) -> None:
        self.started_s = time.monotonic()
        self.engine = engine
        self.notes: list[str] = []
        self.facts: dict[str, Any] = {}
        self.refused = refused
        self.peak_bytes = rss_bytes
        self.errors = 0
        self.last_error = ""
        self.stopped_s = 0.0
        self.longest_s = 0.0
        self.haste = 0
        self.frozen_s: float | None = None

    @property
    def elapsed_s(self) -> float:
        """How long it has gone on."""
        return time.monotonic() - self.started_s

    def why(self) -> str | None:
        """What better engines were refused for; None when this is the best."""
        return "; ".join(f"{entry['capability']}: {entry['reason']}" for entry in self.refused) or None

    def stopped(self, seconds: float) -> None:
        """A thread stood still for so long."""
        self.stopped_s += seconds
        self.longest_s = max(self.longest_s, seconds)

    def failed(self, what: str) -> None:
        """A stack could not be had."""
        self.errors += 1
        self.last_error = what


def write(task: Task, ledger: Ledger, course: Course, place: Place | None = None) -> dict[str, Any]:
    """Put the growth profile in place as far as it has come; the result for the watcher."""
    place = place or Place(None, [])
    elapsed = course.elapsed_s
    counts = ledger.counts
    suspect = folded.own_functions(counts)[0] if counts else None
    shown, folded_bytes = forms.shown(task, counts)
    basis = f"{ledger.samples} stacks and {human_bytes(ledger.attributed_bytes)} of growth"
    notes = [f"This rests on {basis}, taken over {elapsed:.1f} s."]
    if not ledger.enough:
        notes.insert(
            0,
            f"Not enough evidence: at least {ENOUGH_SAMPLES} stacks and {human_bytes(ENOUGH_BYTES)} are needed; "
            f"there are {basis}.",
        )
    elif place.instead:
        notes[:0] = [*place.notes, place.instead]
    elif suspect is not None:
        share = suspect.self_weight / ledger.attributed_bytes
        did = "allocated" if course.engine == INSPECTOR else "was running for"
        notes.insert(0, f"{markdown.code(suspect.function)} {did} {human_percent(share)} of the growth.")
    notes += [_engine_note(course.engine), *([] if place.instead else place.notes), *course.notes]
    if course.frozen_s is not None:
        notes.append(
            f"The process was stopped for {course.frozen_s * 1000:.0f} ms when it had little room left; what it held "
            "by then is nobody's growth here."
        )
    if ledger.temporary:
        notes.append(f"{ledger.temporary} stacks touched memory that was given back at once; they have no weight.")
    facts = {
        "engine": course.engine if course.engine == INSPECTOR else f"py-spy dump, {course.engine}",
        "engine_refused": course.why(),
        "samples": ledger.samples,
        "temporary_samples": ledger.temporary,
        "errors": course.errors,
        "last_error": course.last_error or None,
        "attributed_bytes": ledger.attributed_bytes,
        "start_bytes": ledger.start_bytes,
        "peak_bytes": course.peak_bytes,
        "stopped_s": round(course.stopped_s, 4),
        "longest_stop_s": round(course.longest_s, 4),
        "elapsed_s": round(elapsed, 3),
        "frozen_s": round(course.frozen_s, 4) if course.frozen_s is not None else None,
        "haste": course.haste,
        "overhead_share": round(course.stopped_s / elapsed, 4) if elapsed > 0 else 0.0,
        "library_bytes_folded": folded_bytes,
        "enough": ledger.enough,
        **course.facts,
    }
    head = [("Stacks", str(ledger.samples)), ("Growth", human_bytes(ledger.attributed_bytes))]
    publish(task, shown, head, notes, facts, basis, _ALLOCATED if course.engine == INSPECTOR else "")
    result = {"samples": ledger.samples, "attributed_bytes": ledger.attributed_bytes, "enough": ledger.enough,
              "engine": course.engine, "longest_stop_s": facts["longest_stop_s"],
              "temporary_samples": ledger.temporary, "refused": course.refused}  # fmt: skip
    if place.instead:
        result["suspect"] = place.suspect
    elif suspect is not None:
        result["suspect"] = {
            "function": suspect.function,
            "file": suspect.file,
            "line": suspect.line,
            "share": round(suspect.self_weight / max(1, ledger.attributed_bytes), 4),
            "bytes": suspect.self_weight,
            "share_of": "growth",
            **({"mapping": place.suspect["mapping"]} if place.suspect is not None else {}),
        }
    return result


def publish(
    task: Task,
    counts: folded.Counts,
    head: list[tuple[str, str]],
    notes: list[str],
    facts: dict[str, Any],
    basis: str,
    meaning: str = "",
) -> None:
    """Put growth in place in all its forms. `basis` says what it rests on; `meaning` what the bytes by frame tell."""
    title = f"Growth of process {task.pid}"
    forms.write_by_bytes(task, counts, title, basis, facts["samples"])
    profile = markdown.Profile(
        title=title,
        kind="growth",
        counts=counts,
        unit="bytes",
        head=[*task.head(), *head],
        notes=notes,
        seconds_per_sample=None,
        data={"run": task.spec["run"], "pid": task.pid, **facts},
        meaning=meaning,
    )
    task.write(".md", markdown.render(profile))
    task.write_meta(**facts)


def _engine_note(engine: str) -> str:
    return {
        "page-fault": "Threads were stopped at the page fault that took the memory: the stack is exact.",
        "syscall": "Threads were stopped where they asked the kernel for memory, as page faults can't be counted here: "
        "the stack is exact, but what fits into memory that the process already has isn't seen.",
        INSPECTOR: "V8 sampled allocations through Node's inspector: the bytes of a stack are what it allocated since "
        "then and what wasn't collected yet.",
        "running": "Nothing could be stopped here: stacks were read from the running process some 10 ms after it "
        "grew, so a busy function may stand for the one that took the memory.",
    }[engine]
