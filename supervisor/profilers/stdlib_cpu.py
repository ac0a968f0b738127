"""CPU profile of a Python by the profiler that its own standard library brings, from 3.15 on."""

from __future__ import annotations

from supervisor.profilers import interpreter, lent, pace, recorder, stdlib
from supervisor.profilers.failure import Failure

_MISSING = f"{stdlib.ENGINE}-missing"


class Stdlib(recorder.Engine):
    """The standard library's own, from Python 3.15 on."""

    name = stdlib.ENGINE
    start_s = stdlib.START_S

    def __init__(self, subject: recorder.Subject) -> None:
        found = interpreter.look(subject.pid)
        if found is None or not stdlib.reads(found):
            raise Failure(_MISSING, "", "")
        why = _why_not(subject, found)
        if why is not None:
            raise Failure(_MISSING, why, "")
        self._found = found
        self._options = subject.options

    def ways(self, nonblocking: bool) -> tuple[pace.Way, ...]:
        """It never stops the target."""
        every = pace.Way(True, self._options.gil)
        return (every,) if self._options.gil or self._options.idle else (every, pace.Way(True, True))

    def serves(self, pid: int) -> bool:
        """Whether the process runs the same interpreter."""
        now = interpreter.look(pid)
        return now is not None and now.program == self._found.program

    def record(self, pid: int, plan: pace.Plan, seconds: float, meter: recorder.Meter) -> recorder.Piece:
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

        done, text, asked_s, elapsed_s = recorder.run_slice(argv, seconds, meter, signs=True)
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
        piece = recorder.Piece.of_run(self.name, output.counts, plan, done, meter, asked_s, elapsed_s)
        piece.errors = output.failed
        if output.seconds is not None:
            piece.told(output.ticks + output.failed, output.seconds)
        return piece


def _why_not(subject: recorder.Subject, found: interpreter.Interpreter) -> str | None:
    """Why the profiler that the interpreter brings isn't taken; None where it can be."""
    if subject.options.subprocesses:
        return "it writes one file a process"
    if subject.options.native:
        return "it has no frames of machine code"
    if lent.of(subject.pid) is not None:
        return "only the watcher may read the target"
    return stdlib.hindered(subject.pid, found.program, subject.room_bytes)
