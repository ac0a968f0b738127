"""What every CPU profiler has in common: a slice is one run of it, watched while it runs."""

from __future__ import annotations

import os
import time

from supervisor import cgroup
from supervisor.analysis import folded
from supervisor.profilers import lent, pace, runner
from supervisor.profilers.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Subject:
    """Who is sampled: the process, what of it, the `room_bytes` that its memory limit leaves, where a Go tells itself.

    See `Task.go_pprof`; no room is known where it is None.
    """

    __slots__ = ("go_pprof", "options", "pid", "room_bytes")

    def __init__(
        self, pid: int, options: Options | None = None, room_bytes: int | None = None, go_pprof: str = ""
    ) -> None:
        self.pid = pid
        self.options = options or Options()
        self.room_bytes = room_bytes
        self.go_pprof = go_pprof


class Engine:
    """A profiler that records slices. Raises Failure where it can't for this subject: see `actions.trying`.

    `start_s`: processor time that its start takes, beyond what the pace leaves room for. `needs_bytes`: memory that it
    may take below the target's limit.
    """

    name = ""
    start_s = 0.0
    needs_bytes = 0

    def __init__(self, subject: Subject) -> None:
        raise NotImplementedError

    def ways(self, nonblocking: bool) -> tuple[pace.Way, ...]:
        """How it can take samples, the most truthful first."""
        raise NotImplementedError

    def serves(self, pid: int) -> bool:
        """Whether it still is the engine for this process: any, where it tells itself what it can't read."""
        return True

    def record(self, pid: int, plan: pace.Plan, seconds: float, meter: Meter) -> Piece:
        """One slice. Raises Failure."""
        raise NotImplementedError


SLACK_S = 8.0
_STARTED_S = 0.1  # of a profiler: from here on its processor time is that of samples
_LEAST_WINDOW_S = 0.25


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
            since_s = self._base[0] if self._base is not None else self._began_s + SLACK_S
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
        meter: Meter,
        seconds: float,
        *,
        ticks: float | None = None,
        interrupted: bool = False,
        cpu_s: float = 0.0,
    ) -> None:
        """So many seconds of it, whose `ticks` are known: by a clock of the profiler's own those of the plan."""
        self.engine = engine
        self.counts = counts
        self.plan = plan
        self.errors = 0
        self.interrupted = interrupted
        self.dear = meter.dear
        self.late = False
        self.cpu_s = cpu_s
        self.metered_cost_s = meter.cost_s
        self.metered_ticks = meter.ticks
        self.seconds = seconds
        self.ticks_known, self.ticks = True, plan.rate_hz * seconds if ticks is None else ticks

    @classmethod
    def of_run(
        cls,
        engine: str,
        counts: folded.Counts,
        plan: pace.Plan,
        done: runner.Completed,
        meter: Meter,
        asked_s: int,
        elapsed_s: float,
    ) -> Piece:
        """Of a profiler that ends by itself after rate × duration samples, however long that takes, as py-spy does."""
        started_s = min(_STARTED_S, elapsed_s / 2)
        behind = meter.overdue and meter.limit_s > asked_s  # it had fewer samples than that by far
        late = b"behind in sampling" in done.stdout or done.hung or behind
        # A slice that lasted is whole.
        whole = done.code == 0 and not (done.cut or done.hung or done.interrupted) and elapsed_s >= asked_s
        seconds, ticks = elapsed_s - started_s, None
        if whole or behind:
            seconds, ticks = max(float(asked_s), seconds), float(plan.rate_hz * asked_s)
            late = late or seconds > 1.1 * asked_s + 0.1
        piece = cls(engine, counts, plan, meter, seconds, ticks=ticks, interrupted=done.interrupted, cpu_s=done.cpu_s)
        piece.ticks_known, piece.late = ticks is not None, late
        return piece

    def told(self, ticks: float, seconds: float) -> None:
        """Take what the profiler itself says of how often it read all stacks, and in how long."""
        self.ticks_known, self.ticks, self.seconds = True, ticks, seconds
        self.late = self.late or (seconds >= 0.5 and ticks < 0.9 * self.plan.rate_hz * seconds - 2)

    @property
    def samples(self) -> int:
        """Stacks that were counted."""
        return sum(self.counts.values())


def run_slice(
    argv: Callable[[str, int], list[str]],
    seconds: float,
    meter: Meter,
    loan: lent.Lent | None = None,
    *,
    signs: bool = False,
) -> tuple[runner.Completed, str, int, float]:
    """Run a profiler for so long; what it wrote, the whole seconds it was asked for, and how long it took.

    `argv` makes its command line of the file it writes into and its whole seconds. One that `signs` writes something as
    soon as it samples. Raises Failure.
    """
    asked_s = max(1, -int(-seconds // 1))
    meter.limit_s = seconds if seconds < asked_s else asked_s * 1.5 + 0.5
    fd = os.memfd_create("profile", 0)
    if signs:
        meter.begun = lambda: os.fstat(fd).st_size > 0
    began_s = time.monotonic()
    try:
        line = argv(f"/proc/self/fd/{fd}", asked_s)
        done = runner.run(line, asked_s + SLACK_S, keep=(fd,), watch=meter, loan=loan)
        text = os.pread(fd, os.fstat(fd).st_size, 0).decode("utf-8", "replace")
    except OSError as error:
        raise Failure("profiler-not-started", str(error), f"{line[0]} --version") from error
    finally:
        os.close(fd)
    return done, text, asked_s, time.monotonic() - began_s


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
