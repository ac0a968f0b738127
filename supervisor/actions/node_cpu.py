"""`cpu-profile` of a running Node: V8's own sampler, through the inspector, in slices that are in place as they end."""

from __future__ import annotations

import json
import time
from typing import Any

from supervisor.actions import cpu_report, forms, slices
from supervisor.actions.task import Skip, Task
from supervisor.analysis import cpuprofile, folded
from supervisor.analysis.reading import FormatError
from supervisor.profilers import inspector, node_threads, runner
from supervisor.profilers.failure import Failure
from supervisor.profilers.inspector import Gone, Session
from supervisor.profilers.node_threads import Threads

SLICE_S = 3.0
_FOREVER_S = 10**9
_FIRST_S = 0.5  # each slice is twice as long as the one before, so that one that dies soon leaves something
_LEAST_S = 0.05
# Measured on Node 20: what a sample costs the sampled thread. V8 doesn't tell.
SAMPLE_S = 20e-6


def pace(asked_hz: int, budget: float | None) -> tuple[int, str]:
    """The rate that fits into the overhead budget, and why. Pure."""
    if budget is None:
        return asked_hz, "as asked: this mode has no budget"
    most = max(1, int(budget / SAMPLE_S))
    if asked_hz <= most:
        return asked_hz, "as asked"
    return most, f"{asked_hz} Hz would take more than {budget:.0%} of its time, at {SAMPLE_S * 1e6:.0f} µs a sample"


def take(task: Task) -> dict[str, Any]:
    """Record until the duration or the process ends. Raises Skip, Failure, OSError."""
    if not task.spec.get("node_inspector", True):
        said = "--no-node-inspector keeps guard out of it"
        raise Skip(Failure("inspector-off", said, "guard profile -- node SCRIPT"), "cpu-profile of a Node")
    runner.hold()
    pid = task.aimed
    recording = _Recording(task, pid)
    session = None
    try:
        session = inspector.attach(pid, _FOREVER_S if recording.exact else 0)
        recording.run(session)
    except Gone:
        recording.ended = "target-gone"
    except runner.Interrupted:
        recording.ended = "interrupted"
    finally:
        if session is not None:
            session.close()
    return recording.finish(was_open=session is not None and session.was_open)


class _Recording:
    def __init__(self, task: Task, pid: int) -> None:
        spec = task.spec
        self.task = task
        self.pid = pid
        self.asked_hz = max(1, round(1 / spec.get("sampling_interval", 0.002)))
        self.rate_hz, self.reason = pace(self.asked_hz, spec.get("overhead_budget", 0.03))
        self.exact = spec.get("overhead_budget", 0.03) is None
        self.ended: str | None = None
        self.threads: Threads | None = None
        self._known: set[str] = set()  # worker threads that sample themselves, or will when they are back in JavaScript
        self.seconds = 0.0
        self.pieces = self.samples = 0
        self.idle_s = 0.0
        self._most = int(spec.get("max_samples", 50_000))
        self._counts: folded.Counts = {}  # µs
        self._raw: list[dict[str, Any]] = []
        self._raw_samples = 0
        duration = spec.get("duration", 10.0)
        self._until_s = float("inf") if duration is None else time.monotonic() + float(duration)

    def run(self, session: Session) -> None:
        """Slice after slice. Raises Gone, Interrupted with what there is taken in, Failure."""
        session.call("Profiler.enable")
        session.call("Profiler.setSamplingInterval", interval=max(1, round(1e6 / self.rate_hz)))
        self.threads = session.threads
        session.threads.follow()
        while (left_s := self._until_s - time.monotonic()) > _LEAST_S:
            session.call("Profiler.start")
            self._start_workers(session)
            interrupted = False
            try:
                goes_on = session.wait(min(SLICE_S, _FIRST_S * 2 ** min(self.pieces, 8), left_s))
            except (runner.Interrupted, inspector.Hurry) as what:
                interrupted, goes_on = isinstance(what, runner.Interrupted), True
            self._take_in(session.call("Profiler.stop")["profile"])
            is_last = goes_on and not interrupted and self._until_s - time.monotonic() <= _LEAST_S
            self._read_workers(session, node_threads.ANSWER_S if is_last else node_threads.BRIEF_S)
            if interrupted:
                raise runner.Interrupted
            if not goes_on:
                raise Gone

    def _start_workers(self, session: Session) -> None:
        """Those that are new sample themselves from here on, or when they can: nobody waits. Raises Gone."""
        interval = {"interval": max(1, round(1e6 / self.rate_hz))}
        for key in session.threads.found.keys() - self._known:
            self._known.add(key)
            session.threads.post(
                key, ("Profiler.enable", {}), ("Profiler.setSamplingInterval", interval), ("Profiler.start", {})
            )

    def _read_workers(self, session: Session, within_s: float) -> None:
        """What they sampled so far; they go on at once. Raises Gone, Interrupted."""
        before = len(session.threads.read), sum(self._counts.values())
        try:
            for key, answer in session.threads.ask("Profiler.stop", ("Profiler.start", {}), within_s=within_s):
                try:
                    found = cpuprofile.read(answer["profile"], keep=True)
                except (FormatError, KeyError):
                    continue
                for stack, weight in (found.stacks or {}).items():
                    marked = session.threads.marked(key, stack)
                    self._counts[marked] = self._counts.get(marked, 0) + weight
        except inspector.Hurry:
            pass  # the slices are in place; who hasn't answered may in the next
        finally:
            if before != (len(session.threads.read), sum(self._counts.values())):
                self._write()

    def _take_in(self, document: dict[str, Any]) -> None:
        try:
            found = cpuprofile.read(document, keep=True)
        except (FormatError, KeyError) as error:
            raise Failure("profiler-garbage", f"V8's profile: {error}"[:300], "node --version") from None
        for stack, weight in (found.stacks or {}).items():
            if inspector.OWN in stack:
                continue
            self._counts[stack] = self._counts.get(stack, 0) + weight
        samples = len(document.get("samples") or ())
        self.pieces += 1
        self.samples += samples
        self.seconds += found.seconds or 0.0
        self.idle_s += found.idle * 1e-6
        if self._raw_samples + samples <= self._most or not self._raw:
            self._raw.append(document)
            self._raw_samples += samples
        self._write()

    def _write(self) -> None:
        counts, _ = self._presented()
        self.task.write(".folded", folded.render(counts))
        self.task.tell_progress(samples=sum(counts.values()), rate_hz=self.rate_hz, slices=self.pieces)

    def _presented(self) -> tuple[folded.Counts, int]:
        return forms.shown(self.task, slices.scaled(self._counts, self.rate_hz * 1e-6))

    def finish(self, *, was_open: bool) -> dict[str, Any]:
        """Write all forms of the profile. Raises Failure when there is none, OSError."""
        if not self.pieces:
            if self.ended == "target-gone" and self.task.spec.get("patient"):
                said = "the command ended before half a second of it could be sampled"
                raise Failure("ended-too-soon", said, "guard profile -- node SCRIPT: Node then profiles itself")
            said = "guard ended it" if self.ended == "interrupted" else f"process {self.pid} is gone"
            raise Failure(self.ended or "interrupted", said, "guard profile --duration 10s --pid PID")
        counts, library = self._presented()
        samples = sum(counts.values())
        notes = [] if samples else ["Not enough evidence: it was idle while this was recorded."]
        if not self.exact:
            notes.append("V8 counts what it inlined as its caller's; `--mode critical` switches inlining off.")
        if self.threads is not None:
            notes.extend(self.threads.note(".cpuprofile"))
        if was_open:
            notes.append("The inspector was open before, and stays open.")
        self.task.write(".cpuprofile", json.dumps(cpuprofile.joined(self._raw)))
        return cpu_report.write(
            self.task, self.pid, counts, float(self.rate_hz), self._facts(samples, library, was_open), notes
        )

    def _facts(self, samples: int, library: int, was_open: bool) -> dict[str, Any]:
        spec = self.task.spec
        busy_s = max(0.001, self.seconds)
        return {
            "engine": "inspector",
            "profiled_pid": self.pid,
            "mode": spec.get("profile_mode"),
            "nonblocking": False,
            "asked_rate_hz": self.asked_hz,
            "used_rate_hz": float(self.rate_hz),
            "achieved_rate_hz": round(min(self.rate_hz, self.samples / busy_s), 3),
            "rate_reason": self.reason,
            "samples": samples,
            "samples_taken": self.samples,
            "errors": 0,
            "max_samples": self._most,
            "raw_samples": self._raw_samples,
            "idle_s": round(self.idle_s, 3),
            "pieces": self.pieces,
            "seconds": round(self.seconds, 3),
            "whole": spec.get("duration", 0) is None and self.ended == "target-gone",
            "overhead_budget": spec.get("overhead_budget", 0.03),
            "source_locations": bool(spec.get("source_locations", True)),
            "library_frames": bool(spec.get("library_frames", True)),
            "library_samples_folded": library,
            "inlining": not self.exact,
            "inspector_was_open": was_open,
            "workers": len(self.threads.read) if self.threads is not None else 0,
            "ended_early": self.ended,
        }
