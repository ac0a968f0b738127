"""CPU profile of a Go by its own profiler, asked for by `/debug/pprof/profile`: 100 samples a second of what runs."""

from __future__ import annotations

from supervisor.profilers import gopprof, pace, recorder
from supervisor.profilers.failure import Failure

_SLACK_S = 5.0


class GoProfile(recorder.Engine):
    """The profiler in Go's runtime: nobody stops, and functions that were inlined are told. Raises Failure."""

    name = "pprof"

    def __init__(self, subject: recorder.Subject) -> None:
        if not subject.go_pprof:
            raise Failure("pprof-missing", "", gopprof.HINT)
        self._pid = subject.pid
        self._source = gopprof.find(subject.pid, subject.go_pprof)

    def ways(self, nonblocking: bool) -> tuple[pace.Way, ...]:
        """The program samples itself."""
        return (pace.Way(True, False),)

    def serves(self, pid: int) -> bool:
        """Whether it is the same process."""
        return pid == self._pid

    def record(self, pid: int, plan: pace.Plan, seconds: float, meter: recorder.Meter) -> recorder.Piece:
        """One slice, in whole seconds. Raises Failure, also where the program profiles itself already."""
        asked_s = max(1, round(seconds))
        what = f"profile?seconds={asked_s}"
        data = self._source.fetch(what, asked_s + _SLACK_S, stoppable=True)
        reading = gopprof.profile(data, self._source.shown)
        rate_hz = max(1, round(1 / (reading.seconds_per_weight or 0.01)))
        plan = pace.Plan(pace.Way(True, False), rate_hz, plan.threads, "the rate of Go's own profiler")
        return recorder.Piece(self.name, reading.stacks or {}, plan, meter, reading.seconds or float(asked_s))
