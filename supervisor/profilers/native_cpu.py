"""CPU profile of machine code: at each tick the threads that run stand still for a moment and their stacks are read."""

from __future__ import annotations

import os
import time

from supervisor import cgroup
from supervisor.analysis import folded
from supervisor.profilers import engine, kernel, native, pace, perf, permission, recorder, runner, tracing
from supervisor.profilers.failure import Failure, gone

_STOP_S = 0.02
_METER_EVERY_S = 0.1


class Native(recorder.Engine):
    """The native stacks of a process's running threads; waiting ones aren't touched. Raises Failure."""

    name = "native stacks"

    def __init__(self, subject: recorder.Subject) -> None:
        if not native.possible():
            raise Failure("unwinder-missing", "guard's own unwinder is for x86-64 only", perf.INSTALL)
        self._pid = pid = subject.pid
        self._program = engine.look(pid).program
        try:
            self._reader = native.Reader(pid)
        except FileNotFoundError as error:
            raise gone(pid) from error
        except OSError as error:
            raise _refused(error) from error

    def ways(self, nonblocking: bool) -> tuple[pace.Way, ...]:
        """A thread has to stop to be read."""
        return (pace.Way(False, False),)

    def serves(self, pid: int) -> bool:
        """Whether it is the same process, and still the same program."""
        return pid == self._pid and engine.look(pid).program == self._program

    def record(self, pid: int, plan: pace.Plan, seconds: float, meter: recorder.Meter) -> recorder.Piece:
        """One slice. Raises Failure."""
        counts: folded.Counts = {}
        tracer = tracing.Tracer()
        began_s = now_s = time.monotonic()
        began_cpu_s = time.process_time()
        metered_s = ticks = errors = 0.0
        interrupted = cut = False
        refused: OSError | None = None
        while now_s - began_s < seconds and not (interrupted or cut):
            tracing.sweep()
            running = [tid for tid in tracing.threads(pid) if _runs(pid, tid) and not tracing.is_late(tid)]
            if not running and not os.path.exists(f"/proc/{pid}"):
                break
            for tid in running:
                try:
                    stack = self._stack(tracer, tid)
                except ProcessLookupError:
                    continue
                except OSError as error:  # held by somebody else
                    refused = error
                    errors += 1
                    continue
                if stack:
                    counts[stack] = counts.get(stack, 0) + 1
            ticks += 1
            now_s = time.monotonic()
            if now_s - metered_s >= _METER_EVERY_S:
                metered_s = now_s
                cut = meter(os.getpid()) or not self.serves(pid)
            interrupted = runner.pause(max(0.0, began_s + ticks / plan.rate_hz - now_s))
            now_s = time.monotonic()
        if not counts and not os.path.exists(f"/proc/{pid}"):
            raise gone(pid)
        if not counts and refused is not None:
            raise _refused(refused)
        elapsed_s, cpu_s = max(now_s - began_s, 1e-6), time.process_time() - began_cpu_s
        piece = recorder.Piece(
            self.name, counts, plan, meter, elapsed_s, ticks=ticks, interrupted=interrupted, cpu_s=cpu_s
        )
        piece.errors = int(errors)
        piece.late = ticks < 0.9 * plan.rate_hz * elapsed_s - 1
        return piece

    def _stack(self, tracer: tracing.Tracer, tid: int) -> str:
        """Raises OSError (ESRCH, EPERM)."""
        tracer.seize(tid)
        try:
            tracer.interrupt(tid)
            if tracer.next(time.monotonic() + _STOP_S) is None:
                return ""
            return self._reader.stack(tid)
        finally:
            tracer.release()


def _runs(pid: int, tid: int) -> bool:
    stat = cgroup.read_text(f"/proc/{pid}/task/{tid}/stat")
    return stat is not None and kernel.name_and_state(stat)[1] == "R"


def _refused(error: OSError) -> Failure:
    return Failure("ptrace-refused", f"ptrace: {error.strerror}", permission.ptrace_hint())
