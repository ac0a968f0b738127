"""Slices of a CPU profile: one run of a profiler each, watched while it runs."""

from __future__ import annotations

import os
import time

from supervisor import cgroup
from supervisor.analysis import folded
from supervisor.profilers import interpreter, lent, pace, pyspy, runner, stdlib
from supervisor.profilers.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Engine:
    """A profiler that records slices; `last_resort`: none that is tried after it gives more.

    `why`: why it is this one and not the one that is tried first. `start_s`: processor time that its start takes,
    beyond what the pace leaves room for.
    """

    name = ""
    last_resort = False
    why: str | None = None
    start_s = 0.0

    def ways(self, nonblocking: bool) -> tuple[pace.Way, ...]:
        """How it can take samples, the most truthful first."""
        raise NotImplementedError

    def serves(self, pid: int) -> bool:
        """Whether it still is the engine for this process: any, where it tells itself what it can't read."""
        return True

    def record(self, pid: int, plan: pace.Plan, seconds: float, meter: Meter) -> Piece:
        """One slice. Raises Failure."""
        raise NotImplementedError


_SLACK_S = 8.0
_STARTED_S = 0.1  # of a profiler: from here on its processor time is that of samples
_LEAST_WINDOW_S = 0.25
_LENT_HZ = 20  # every read of a lent memory is answered by this process


class Options:
    """What is recorded: see the options of these names of `guard profile`."""

    __slots__ = ("gil", "idle", "native", "subprocesses", "threads")

    def __init__(
        self,
        *,
        gil: bool = False,
        idle: bool = False,
        native: bool = False,
        subprocesses: bool = False,
        threads: bool = False,
    ) -> None:
        self.gil = gil
        self.idle = idle
        self.native = native
        self.subprocesses = subprocesses
        self.threads = threads

    def not_for_stdlib(self) -> str | None:
        """What of it the standard library's profiler doesn't do; None when it does it all."""
        if self.subprocesses:
            return "it writes one file a process"
        return "it has no frames of machine code" if self.native else None


class Meter:
    """What a running profiler's samples cost: called by `runner.run` as its watch."""

    def __init__(self, plan: pace.Plan, of: pace.Pace) -> None:
        self.plan = plan
        self.cost_s = 0.0
        self.seconds = 0.0
        self.limit_s = float("inf")
        self.dear = self.overdue = False
        self.begun: Callable[[], bool] | None = None  # tells when its start is over, for one that takes its time
        self._pace = of
        self._began_s = time.monotonic()
        self._base: tuple[float, float] | None = None

    def __call__(self, pid: int) -> bool:
        """Whether the slice should end now: its time is up, or it takes much more than the budget."""
        now_s = time.monotonic()
        cost_s = _cost_s(pid, waiting=not self.plan.way.nonblocking)
        if cost_s is None:
            return False
        if self._base is None:
            if self.begun() if self.begun is not None else now_s - self._began_s >= _STARTED_S:
                self._base = (now_s, cost_s)
        else:
            self.seconds, self.cost_s = now_s - self._base[0], cost_s - self._base[1]
        since_s = self._began_s
        if self.begun is not None:  # its time is counted from the first sample on, on a busy machine some seconds later
            since_s = self._base[0] if self._base is not None else self._began_s + _SLACK_S
        self.overdue = now_s - since_s >= self.limit_s
        self.dear = self.seconds >= _LEAST_WINDOW_S and self._pace.too_dear(self.plan, self.cost_s, self.ticks)
        return self.overdue or self.dear

    @property
    def asked_hz(self) -> int:
        """The rate that was asked for, whatever the plan is."""
        return self._pace.asked_hz

    @property
    def ticks(self) -> float:
        """Samples that were due while it was watched."""
        return self.seconds * self.plan.rate_hz


def _cost_s(pid: int, *, waiting: bool) -> float | None:
    """Seconds that all threads of a profiler ran or, with `waiting`, wanted to; None when it is gone.

    While it waits for a processor the target that it stopped waits as well: on a busy machine that is most of what a
    sample costs.
    """
    total = 0
    try:
        names = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return None
    for name in names:
        words = (cgroup.read_text(f"/proc/{pid}/task/{name}/schedstat") or "").split()
        if len(words) >= 2:
            total += int(words[0]) + (int(words[1]) if waiting else 0)
    return total / 1e9


class Piece:
    """One recorded slice. `ticks`: how often all stacks were read; exact when `ticks_known`, else what was due."""

    __slots__ = (
        "counts", "cpu_s", "dear", "engine", "errors", "interrupted", "late", "metered_cost_s", "metered_ticks", "plan",
        "seconds", "ticks", "ticks_known",
    )  # fmt: skip

    def __init__(
        self,
        engine: str,
        counts: folded.Counts,
        plan: pace.Plan,
        done: runner.Completed,
        meter: Meter,
        asked_s: int,
        elapsed_s: float,
    ) -> None:
        said = done.stdout.decode("utf-8", "replace")
        self.engine = engine
        self.counts = counts
        self.plan = plan
        self.errors = _errors(said)
        self.interrupted = done.interrupted
        self.dear = meter.dear
        self.cpu_s = done.cpu_s
        self.metered_cost_s = meter.cost_s
        self.metered_ticks = meter.ticks
        started_s = min(_STARTED_S, elapsed_s / 2)
        # py-spy ends by itself after rate × duration samples, however long that takes: so a slice that lasted is whole.
        self.ticks_known = done.code == 0 and not (done.cut or done.hung or done.interrupted) and elapsed_s >= asked_s
        behind = meter.overdue and meter.limit_s > asked_s  # it had fewer samples than that by far
        self.late = "behind in sampling" in said or done.hung or behind
        if behind:
            self.ticks_known = True
        if self.ticks_known:
            self.ticks = float(plan.rate_hz * asked_s)
            self.seconds = max(float(asked_s), elapsed_s - started_s)
            self.late = self.late or self.seconds > 1.1 * asked_s + 0.1
        else:
            self.seconds = elapsed_s - started_s
            self.ticks = plan.rate_hz * self.seconds

    def told(self, ticks: float, seconds: float) -> None:
        """Take what the profiler itself says of how often it read all stacks, and in how long."""
        self.ticks_known, self.ticks, self.seconds = True, ticks, seconds
        self.late = self.late or (seconds >= 0.5 and ticks < 0.9 * self.plan.rate_hz * seconds - 2)

    def sampled_by_clock(self, seconds: float) -> None:
        """Its profiler kept the plan's rate by a clock of its own, for so long."""
        self.ticks_known, self.ticks, self.seconds = True, self.plan.rate_hz * seconds, seconds
        self.late = False

    @property
    def samples(self) -> int:
        """Stacks that were counted."""
        return sum(self.counts.values())


class PySpy(Engine):
    """py-spy: any Python up to the newest it knows."""

    name = "py-spy record"
    last_resort = True

    def __init__(self, options: Options, why: str | None = None) -> None:
        self.program = pyspy.find()
        self.why = why
        self._options = options
        self._extra = [f"--{name}" for name in ("idle", "native", "subprocesses", "threads") if getattr(options, name)]

    def ways(self, nonblocking: bool) -> tuple[pace.Way, ...]:
        """Stopping the target or not, all threads or the GIL's holder."""
        options = self._options
        return pace.ways(gil=options.gil, idle=options.idle, native=options.native, nonblocking=nonblocking)

    def record(self, pid: int, plan: pace.Plan, seconds: float, meter: Meter) -> Piece:
        """One run into an unnamed file. Raises Failure.

        Where only the watcher may read the process, it is read by what that lent, without stopping.
        """
        loan = lent.of(pid)
        if loan is not None:
            plan = pace.Plan(pace.Way(True, plan.way.gil), min(plan.rate_hz, _LENT_HZ), plan.threads, plan.reason)
        extra = [*self._extra, *(["--gil"] if plan.way.gil else [])]

        def argv(output: str, duration_s: int) -> list[str]:
            return pyspy.record_argv(
                self.program,
                pid,
                output,
                rate_hz=plan.rate_hz,
                duration_s=duration_s,
                nonblocking=plan.way.nonblocking,
                extra=extra,
            )

        done, text, asked_s, elapsed_s = _run(argv, seconds, meter, loan)
        kept, empty = without_empty(text.splitlines())
        try:
            counts = folded.parse(kept)
        except folded.FoldedError as error:
            raise Failure("profiler-garbage", str(error), f"{self.program} record --pid {pid}") from error
        if not counts and (done.code != 0 or done.hung) and not done.interrupted:
            raise self._why(done, pid)
        piece = Piece(self.name, counts, plan, done, meter, asked_s, elapsed_s)
        piece.errors += empty
        return piece

    def _why(self, done: runner.Completed, pid: int) -> Failure:
        """Why there is no sample. Of a process that it can't read it tries for seconds, at full speed: it was ended."""
        if done.cut:
            once = runner.run(pyspy.dump_argv(self.program, pid, nonblocking=True), _SLACK_S, loan=lent.of(pid))
            if once.code != 0:
                done = once
        return pyspy.explain(done.stderr, done.code, hung=done.hung, pid=pid)


def without_empty(lines: list[str]) -> tuple[list[str], int]:
    """The lines that hold a stack, and the samples of those that hold none.

    Without stopping, py-spy can read a stack in the moment of its end: it then writes a weight without a stack.
    """
    kept = []
    empty = 0
    for line in lines:
        if line.startswith(" ") and line[1:].isascii() and line[1:].isdigit():
            empty += int(line[1:])
        else:
            kept.append(line)
    return kept, empty


class Stdlib(Engine):
    """The standard library's own, from Python 3.15 on."""

    name = stdlib.ENGINE
    start_s = stdlib.START_S

    def __init__(self, found: interpreter.Interpreter, options: Options) -> None:
        self._found = found
        self._options = options

    def ways(self, nonblocking: bool) -> tuple[pace.Way, ...]:
        """It never stops the target."""
        every = pace.Way(True, self._options.gil)
        return (every,) if self._options.gil or self._options.idle else (every, pace.Way(True, True))

    def serves(self, pid: int) -> bool:
        """Whether the process runs the same interpreter."""
        now = interpreter.look(pid)
        return now is not None and now.program == self._found.program

    def record(self, pid: int, plan: pace.Plan, seconds: float, meter: Meter) -> Piece:
        """One run of the target's interpreter. Raises Failure."""

        def argv(output: str, duration_s: int) -> list[str]:
            return stdlib.attach_argv(
                self._found.program,
                pid,
                output,
                rate_hz=plan.rate_hz,
                duration_s=duration_s,
                gil=plan.way.gil,
                idle=self._options.idle,
            )

        done, text, asked_s, elapsed_s = _run(argv, seconds, meter, signs=True)
        hint = f"{self._found.program} -m {stdlib.ENGINE} dump {pid}"
        try:
            output = stdlib.parse(text, threads=self._options.threads)
        except ValueError as error:
            raise Failure("profiler-garbage", str(error), hint) from error
        if not output.ticks and not done.interrupted:
            cut = done.cut and not output.failed
            said = "it had no sample when its time was over" if cut else done.stderr
            code = 1 if cut else done.code
            raise stdlib.explain(said, code, output.failed, hung=done.hung, pid=pid, hint=hint)
        piece = Piece(self.name, output.counts, plan, done, meter, asked_s, elapsed_s)
        piece.errors = output.failed
        if output.seconds is not None:
            piece.told(output.ticks + output.failed, output.seconds)
        return piece


def _run(
    argv: Any, seconds: float, meter: Meter, loan: lent.Lent | None = None, *, signs: bool = False
) -> tuple[runner.Completed, str, int, float]:
    """Run a profiler for so long; what it wrote, the whole seconds it was asked for, and how long it took.

    One that `signs` writes something as soon as it samples.
    """
    asked_s = max(1, -int(-seconds // 1))
    meter.limit_s = seconds if seconds < asked_s else asked_s * 1.5 + 0.5
    fd = os.memfd_create("profile", 0)
    if signs:
        meter.begun = lambda: os.fstat(fd).st_size > 0
    began_s = time.monotonic()
    try:
        line = argv(f"/proc/self/fd/{fd}", asked_s)
        done = runner.run(line, asked_s + _SLACK_S, keep=(fd,), watch=meter, loan=loan)
        text = os.pread(fd, os.fstat(fd).st_size, 0).decode("utf-8", "replace")
    except OSError as error:
        raise Failure("profiler-not-started", str(error), f"{line[0]} --version") from error
    finally:
        os.close(fd)
    return done, text, asked_s, time.monotonic() - began_s


def py_spy(options: Options, why: str | None = None) -> Engine:
    """py-spy as the engine. Raises Failure when it isn't installed."""
    return PySpy(options, why)


def engine(pid: int, options: Options, room_bytes: int | None = None) -> Engine:
    """The engine for a Python: the standard library's profiler where its interpreter brings one, else py-spy.

    `room_bytes`: what its memory limit leaves. Raises Failure.
    """
    found = interpreter.look(pid)
    if found is None or not stdlib.reads(found):
        return py_spy(options)
    why = options.not_for_stdlib()
    if why is None and lent.of(pid) is not None:
        why = "only the watcher may read the target"
    why = why or stdlib.hindered(pid, found.program, room_bytes)
    if why is not None:
        return py_spy(options, f"not by {stdlib.ENGINE}: {why}")
    return Stdlib(found, options)


def tracer(pid: int) -> int:
    """The process that traces this one (a debugger, strace, another guard), 0 for nobody: no second one can."""
    _, found, rest = (cgroup.read_text(f"/proc/{pid}/status") or "").partition("TracerPid:")
    words = rest.split(maxsplit=1)
    return int(words[0]) if found and words and words[0].isdigit() else 0


def pressure() -> float:
    """The share of the last ten seconds in which somebody waited for a processor; 0 where nobody counts it.

    Under a real-time policy, which the profiler inherits, it is others that wait.
    """
    if os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR):
        return 0.0
    return min(1.0, (cgroup.waiting_percent(cgroup.read_text("/proc/pressure/cpu") or "") or 0.0) / 100)


def record(pid: int, *, rate_hz: int, seconds: int) -> Piece:
    """One slice with nothing special about it. Raises Failure."""
    chosen = engine(pid, Options())
    plan = pace.Plan(chosen.ways(False)[0], rate_hz, 1, "")
    meter = Meter(plan, pace.Pace(rate_hz, None, 1.0, (plan.way,)))
    try:
        return chosen.record(pid, plan, seconds, meter)
    except Failure:
        if chosen.last_resort:
            raise
    return py_spy(Options()).record(pid, plan, seconds, meter)


def _errors(said: str) -> int:
    """N of py-spy's `Errors: N`."""
    _, found, rest = said.rpartition("Errors: ")
    digits = rest.split()[:1] if found else []
    return int(digits[0]) if digits and digits[0].isdigit() else 0
