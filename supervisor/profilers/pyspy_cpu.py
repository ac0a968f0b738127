"""CPU profile of a Python by py-spy: any up to the newest that it knows."""

from __future__ import annotations

from supervisor.analysis import folded
from supervisor.profilers import lent, pace, pyspy, recorder, runner
from supervisor.profilers.failure import Failure

_LENT_HZ = 20  # every read of a lent memory is answered by this process


class PySpy(recorder.Engine):
    """py-spy: any Python up to the newest it knows."""

    name = "py-spy record"

    def __init__(self, subject: recorder.Subject) -> None:
        self.program = pyspy.find()
        self._options = options = subject.options
        self._extra = [f"--{name}" for name in ("idle", "native", "subprocesses", "threads") if getattr(options, name)]

    def ways(self, nonblocking: bool) -> tuple[pace.Way, ...]:
        """Stopping the target or not, all threads or the GIL's holder."""
        options = self._options
        return pace.ways(gil=options.gil, idle=options.idle, native=options.native, nonblocking=nonblocking)

    def record(self, pid: int, plan: pace.Plan, seconds: float, meter: recorder.Meter) -> recorder.Piece:
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

        done, text, asked_s, elapsed_s = recorder.run_slice(argv, seconds, meter, loan)
        kept, empty = without_empty(text.splitlines())
        try:
            counts = folded.parse(kept)
        except folded.FoldedError as error:
            raise Failure("profiler-garbage", str(error), f"{self.program} record --pid {pid}") from error
        if not counts and (done.code != 0 or done.hung) and not done.interrupted:
            raise self._why(done, pid)
        piece = recorder.Piece.of_run(self.name, counts, plan, done, meter, asked_s, elapsed_s)
        piece.errors = _errors(done.stdout.decode("utf-8", "replace")) + empty
        return piece

    def _why(self, done: runner.Completed, pid: int) -> Failure:
        """Why there is no sample. Of a process that it can't read it tries for seconds, at full speed: it was ended."""
        if done.cut:
            once = runner.run(pyspy.dump_argv(self.program, pid, nonblocking=True), recorder.SLACK_S, loan=lent.of(pid))
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


def _errors(said: str) -> int:
    """N of py-spy's `Errors: N`."""
    _, found, rest = said.rpartition("Errors: ")
    digits = rest.split()[:1] if found else []
    return int(digits[0]) if digits and digits[0].isdigit() else 0
