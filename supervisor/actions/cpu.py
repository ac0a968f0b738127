"""`cpu-profile` of a Python or of machine code: which code of a process is busy, inside the overhead budget.

Recorded in slices, each put in place as it ends, so that a killed container loses seconds and not the profile.
"""

from __future__ import annotations

import shutil
import time
from typing import Any

from supervisor.actions import aiming, cpu_report, forms, ways
from supervisor.actions.slices import Slices
from supervisor.actions.task import Task, Turn
from supervisor.actions.trying import Samplers
from supervisor.analysis import folded
from supervisor.proc_tree import ProcTree
from supervisor.profilers import engine, interpreter, matters, native, pace, recorder, runner
from supervisor.profilers.failure import Failure

SLICE_S = 3
_FIRST_S = 1  # of a profile: the plan rests on a guess until something was measured
_LOOK_S = 0.5  # of machine code that may only wait for what it started
_RETRY_S = 0.05
HEAP_AGENT = "_guard_agent.py"  # a thread of guard's own in the target
_AGENT_START = "/supervisor/agent/sitecustomize.py"
_MOST_REASONS = 8
_SHORT_S = 1.0  # what ended sooner may have been busy, and nobody saw it
_MOST_RATES = 200
_OF_MACHINE_CODE = (pace.Way(False, False),)
# Waiting doesn't help.
_FINAL = (
    "py-spy-missing", "ptrace-refused", "perf-refused", "no-headroom", "python-unsupported", "python-free-threaded"
)  # fmt: skip


def take(task: Task) -> dict[str, Any]:
    """Record until the duration or the process ends, by py-spy, the standard library's profiler, or native stacks.

    Raises Turn, Failure, OSError when there is nothing at all.
    """
    runner.hold()
    try:
        recording = Recording(task)
    except Failure as failure:
        if not task.spec.get("patient"):
            raise
        raise _too_short() from failure
    recording.run()
    return recording.finish()


def _too_short() -> Failure:
    said = "the command ended before the profiler could attach, which takes some tenths of a second"
    return Failure("ended-too-soon", said, "give the command more to do, or profile many runs in one process")


def _missed(seconds: float) -> Failure:
    """Nothing was sampled of a command that ran so long."""
    if seconds < _SHORT_S:
        return _too_short()
    said = f"it ran for {seconds:.1f} s and waited: no process of it was busy for long enough to be sampled"
    return Failure(
        "nothing-busy", said, "guard run -- COMMAND, to see its memory; strace -f COMMAND, what it waits for"
    )


def _too_brief() -> Failure:
    said = "the duration ended before the profiler could attach, which takes some tenths of a second"
    return Failure("duration-too-short", said, "guard profile --duration 10s ...")


def once(pid: int, *, rate_hz: int, seconds: int) -> recorder.Piece:
    """One slice of a process with nothing special about it, by the sampler of its engine. Raises Failure."""
    left = ways.samplers(recorder.Subject(pid), lambda told: None)
    failed: Failure | None = None
    while True:
        chosen = left.next(failed)
        plan = pace.Plan(chosen.ways(False)[0], rate_hz, 1, "")
        try:
            return chosen.record(pid, plan, seconds, recorder.Meter(plan, pace.Pace(rate_hz, None, 1.0, (plan.way,))))
        except Failure as failure:
            failed = failure


def _samples_machine_code() -> bool:
    """Whether machine code can be sampled here at all."""
    return native.possible() or shutil.which("perf") is not None


class Recording:
    """One profile as it is taken: `run` all of it, or `slice` by slice."""

    def __init__(self, task: Task) -> None:
        spec = task.spec
        self.task = task
        self.was_stopped = task.check_target()
        tracer = recorder.tracer(task.pid)
        nonblocking = self._nonblocking = self.was_stopped or bool(spec.get("nonblocking")) or bool(tracer)
        self.options = recorder.Options(**{name: bool(spec.get(name)) for name in recorder.Options.__slots__})
        self._ways = pace.ways(
            gil=self.options.gil, idle=self.options.idle, native=self.options.native, nonblocking=nonblocking
        )
        is_native = not self.options.subprocesses and engine.of(task.pid) in engine.MACHINE_CODE
        self.pace = self._paced(_OF_MACHINE_CODE if is_native and not spec.get("patient") else self._ways)
        self.slices = Slices(int(spec.get("max_samples", 50_000)))
        self.tally = Tally()
        self.reasons = [f"process {tracer} traces it already: it is sampled without stopping"] if tracer else []
        self.failure: Failure | None = None
        self.interrupted = False
        self.engine: recorder.Engine | None = None
        self.samplers: Samplers | None = None
        self._tree = ProcTree()
        self._pid = task.aimed  # who is profiled: the process itself or, of a shell and the like, what that started
        self._native = self._works = False  # machine code, and that it isn't a wrapper that waits for another
        duration = spec.get("duration", 10.0)
        task.began_s = began_s = task.began_s or time.monotonic()
        self._until_s = float("inf") if duration is None else began_s + float(duration)
        self._patient_until_s = self._until_s if spec.get("patient") else 0.0

    def run(self) -> None:
        """Slices, one after the other, until there is nothing more to record."""
        while not self.interrupted and (left_s := self._until_s - time.monotonic()) > 0.05:
            try:
                self.task.check_target()
                if not self._find():
                    self.interrupted = runner.pause(min(_RETRY_S, left_s))
                    continue
                self.slice(min(self._slice_s(), left_s))
            except Failure as failure:
                if self._gone():
                    missed = self._missed() if self._patient_until_s else failure
                    self.failure = None if self.tally.pieces else self.failure or missed
                    break
                self.failure = failure
                # A command may still be starting, or it is a shell that starts one Python after the other.
                waiting = not self.tally.pieces or self._pid != self.task.pid
                if not waiting or time.monotonic() >= self._patient_until_s or failure.reason in _FINAL:
                    break
                self.interrupted = runner.pause(_RETRY_S)
                continue
            self.failure = None

    def _missed(self) -> Failure:
        return _missed(time.monotonic() - (self.task.began_s or 0.0))

    def slice(self, seconds: float) -> None:
        """Record so long and put the profile so far in place. Raises Failure."""
        self._take_in(self._record(seconds))

    def _slice_s(self) -> float:
        if self._native and not self._works:
            return _LOOK_S
        return SLICE_S if self.tally.pieces else _FIRST_S

    def _gone(self) -> bool:
        try:
            self.task.check_target()
        except Failure:
            return True
        return False

    def _find(self) -> bool:
        """Settle who is profiled; False while that can't be told yet. Raises Turn.

        Once there is something of one, the others that a shell starts after it belong to the same profile.
        """
        if self.options.subprocesses:
            return True
        if not self._patient_until_s or interpreter.look(self.task.pid) is not None:
            self._pid = self.task.pid
            return True
        machine_code = _samples_machine_code()
        found = matters.look(self._tree, self.task.pid)
        now = next((each for each in found if each.pid == self._pid), None)
        if self._works and now is not None and (now.engine in engine.MACHINE_CODE) == self._native:
            return True
        chosen = aiming.who(self.task, found, machine_code=machine_code, begun=self.slices.taken > 0)
        if chosen is None:
            said = "neither the command nor what it started is something that guard can profile"
            self.failure = Failure("not-python", said, "guard doctor, and for a Bun: guard profile -- bun SCRIPT")
            return False
        if chosen.pid != self.task.aimed and not self.tally.pieces:
            raise Turn(chosen.pid)
        is_native = chosen.engine in engine.MACHINE_CODE
        if is_native != self._native:
            self.pace = self._paced(_OF_MACHINE_CODE if is_native else self._ways)
            self.engine = None  # whoever serves the one kind may take the other one's for his own
        self._native, self._works = is_native, False
        self._pid = chosen.pid
        return True

    def _paced(self, ways: tuple[pace.Way, ...]) -> pace.Pace:
        spec = self.task.spec
        asked = max(1, round(1 / spec.get("sampling_interval", 0.002)))
        return pace.Pace(
            asked, spec.get("overhead_budget", 0.03), float(spec.get("cores", 1.0)), ways, recorder.pressure()
        )

    def _threads(self) -> int:
        found = self._tree.read((self._pid,), (), time.monotonic())
        counted = found if self.options.subprocesses else [each for each in found if each.pid == self._pid]
        return max(1, sum(process.threads for process in counted))

    def _record(self, seconds: float) -> recorder.Piece:
        if self.samplers is None or self.engine is None or not self.engine.serves(self._pid):
            room_bytes = self.task.spec.get("headroom_bytes")
            subject = recorder.Subject(self._pid, self.options, room_bytes, self.task.go_pprof)
            self.samplers = ways.samplers(subject, self._note)
            self._use(self.samplers.next())
        while True:
            assert self.engine is not None
            try:
                return self._slice(self.engine, seconds)
            except Failure as failure:
                if failure.reason == "target-gone" or self._gone():
                    raise
                self._use(self.samplers.next(failure))

    def _use(self, engine: recorder.Engine) -> None:
        self.pace.allow(engine.ways(self._nonblocking), engine.start_s / SLICE_S)
        self.engine = engine

    def _slice(self, engine: recorder.Engine, seconds: float) -> recorder.Piece:
        plan = self.pace.plan(self._threads())
        piece = engine.record(self._pid, plan, seconds, recorder.Meter(plan, self.pace))
        self._note(f"{piece.plan.rate_hz} Hz: {piece.plan.reason}")
        return piece

    def _note(self, reason: str) -> None:
        if reason not in self.reasons and len(self.reasons) < _MOST_REASONS:
            self.reasons.append(reason)

    def _take_in(self, piece: recorder.Piece) -> None:
        self.interrupted = piece.interrupted
        piece.counts = {stack: weight for stack, weight in piece.counts.items() if not is_guards(stack)}
        self.pace.learn(piece.plan, piece.metered_cost_s, piece.metered_ticks)
        if piece.late:
            self.pace.fell_behind(0.95 * piece.ticks / max(0.1, piece.seconds))
        if piece.dear:
            cost_ms = piece.metered_cost_s / max(1.0, piece.metered_ticks) * 1e3
            self._note(f"a slice was ended after {piece.seconds:.1f} s: a sample cost {cost_ms:.2g} ms")
        self._works = self._works or bool(piece.counts)
        self.tally.add(piece)
        self.slices.add(piece.counts, piece.plan.rate_hz, piece.seconds)
        while self.slices.thinned and self.pace.most_hz > 1.5 * self.slices.common_rate():
            self.pace.halve()
        counts, rate, _ = self._presented()
        self.task.write(".folded", folded.render(counts))
        self.task.tell_progress(samples=self.slices.taken, rate_hz=rate, slices=self.tally.pieces)

    # -- what came of it ------------------------------------------------------------------------------------------

    def finish(self) -> dict[str, Any]:
        """Write all forms of the profile; the result. Raises Failure when there is none."""
        continued = runner.left_stopped(self._pid, self.was_stopped)
        if not self.tally.pieces:
            if self.failure is None:
                hint = "guard profile --duration 10s --pid PID"
                self.failure = Failure("interrupted", "guard ended it", hint) if self.interrupted else _too_brief()
            raise self.failure
        counts, rate, library = self._presented()
        facts = self._facts(sum(counts.values()), rate, library)
        result = cpu_report.write(self.task, self._pid, counts, rate, facts, self._notes(sum(counts.values())))
        return {**result, "continued": continued}

    def _presented(self) -> tuple[folded.Counts, float, int]:
        """What is to be seen: the profile, its rate, and the samples that library frames gave to their callers."""
        counts, rate = self.slices.merged()
        counts, library = forms.shown(self.task, counts)
        return counts, rate, library

    def _notes(self, samples: int) -> list[str]:
        notes = [] if samples else ["Not enough evidence: no thread was busy while this was recorded."]
        if self.options.idle:
            notes.append(
                "Threads that wait count as well: idle ones of a pool weigh as much as one that keeps a caller waiting."
            )
        if self.tally.gil and not self.options.gil:
            notes.append(
                "To stay inside the overhead budget some of it saw only the thread that held the GIL: "
                "code that runs without the GIL is missing there."
            )
        return notes

    def _facts(self, samples: int, rate: float, library: int) -> dict[str, Any]:
        tally, spec = self.tally, self.task.spec
        share = min(1.0, tally.ticks / tally.due) if tally.due else None
        return {
            "engine": " then ".join(tally.engines),
            "profiled_pid": self._pid,
            "mode": spec.get("profile_mode"),
            "nonblocking": tally.nonblocking,
            "gil_only": tally.gil,
            "native": self.options.native,
            "idle": self.options.idle,
            "subprocesses": self.options.subprocesses,
            "asked_rate_hz": self.pace.asked_hz,
            "used_rate_hz": round(rate, 3),
            "achieved_rate_hz": None if share is None else round(share * rate, 3),
            "rate_reason": "; then ".join(self.reasons),
            "rates": tally.rates,
            "samples": samples,
            "samples_taken": self.slices.taken,
            "samples_missed": max(0, round(tally.due - tally.ticks)),
            "errors": tally.errors,
            "fell_behind": tally.late,
            "max_samples": self.slices.most_samples,
            "thinned": self.slices.thinned,
            "scaled_up_s": round(self.slices.scaled_s, 3),
            "pieces": tally.pieces,
            "seconds": round(tally.seconds, 3),
            "whole": spec.get("duration", 0) is None and not self.failure and not self.interrupted,
            "overhead_budget": self.pace.budget,
            "profiler_cpu_s": round(tally.cpu_s, 3),
            "stopped_share": round(tally.stopped_s / max(0.001, tally.seconds), 4),
            "source_locations": bool(spec.get("source_locations", True)),
            "library_frames": bool(spec.get("library_frames", True)),
            "library_samples_folded": library,
            "ended_early": self.failure.reason if self.failure else "interrupted" if self.interrupted else None,
        }


def is_guards(stack: str) -> bool:
    """Whether a folded stack is guard's own work in the target: the heap agent's, or its start before the program.

    What the user's own sitecustomize does, which guard's starts, is the target's.
    """
    if HEAP_AGENT in stack:
        return True
    _, found, above = stack.rpartition(_AGENT_START)
    return bool(found) and all("<frozen importlib" in frame for frame in above.split(";")[1:])


class Tally:
    """Sums over all slices: a profile may last for days. `due` and `ticks` are of slices whose ticks are known."""

    def __init__(self) -> None:
        self.pieces = self.errors = 0
        self.seconds = self.cpu_s = self.stopped_s = self.due = self.ticks = 0.0
        self.late = self.nonblocking = self.gil = False
        self.engines: list[str] = []
        self.rates: list[dict[str, Any]] = []

    def add(self, piece: recorder.Piece) -> None:
        """Take in a slice."""
        plan = piece.plan
        self.pieces += 1
        self.errors += piece.errors
        self.seconds += piece.seconds
        self.cpu_s += piece.cpu_s
        self.late = self.late or piece.late
        self.nonblocking = self.nonblocking or plan.way.nonblocking
        self.gil = self.gil or plan.way.gil
        if piece.engine not in self.engines:
            self.engines.append(piece.engine)
        if not plan.way.nonblocking:
            self.stopped_s += _stopped_s(piece)
        if piece.ticks_known:
            self.due += plan.rate_hz * piece.seconds
            self.ticks += piece.ticks
        entry = {"rate_hz": plan.rate_hz, "threads": plan.threads, "way": str(plan.way), "seconds": 0.0, "samples": 0}
        if not self.rates or any(self.rates[-1][key] != entry[key] for key in ("rate_hz", "threads", "way")):
            if len(self.rates) >= _MOST_RATES:
                return
            self.rates.append(entry)
        self.rates[-1]["seconds"] = round(self.rates[-1]["seconds"] + piece.seconds, 3)
        self.rates[-1]["samples"] += piece.samples


def _stopped_s(piece: recorder.Piece) -> float:
    """About how long the target was stopped in a slice."""
    cost_s = piece.metered_cost_s / piece.metered_ticks if piece.metered_ticks else piece.cpu_s / max(1.0, piece.ticks)
    return cost_s * piece.ticks * piece.plan.way.stop_factor
