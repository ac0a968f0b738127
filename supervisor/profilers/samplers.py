"""Which profilers sample a process, the best one first; each is tried in turn until one gives something."""

from __future__ import annotations

import shutil

from supervisor.profilers import engine, interpreter, native, pace, pyspy_cpu, recorder, stdlib, stdlib_cpu
from supervisor.profilers.failure import Failure
from supervisor.quantities import human_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.profilers.recorder import Engine, Options

    Maker = Callable[[], Engine]


class Samplers:
    """The profilers for a process, one after the other. `told` gets a line for each that gave nothing."""

    def __init__(self, makers: list[Maker], told: Callable[[str], None]) -> None:
        self._makers = makers
        self._told = told
        self._failures: list[Failure] = []

    def next(self, failure: Failure | None = None, name: str = "") -> Engine:
        """The next one that is there, after the one before, `name`, ended with `failure`.

        Raises Failure where none is left: the first one that isn't about a tool that isn't installed.
        """
        while True:
            if failure is not None:
                self._failures.append(failure)
            if not self._makers:
                telling = [each for each in self._failures if not each.reason.endswith("-missing")]
                raise (telling or self._failures)[0]
            if failure is not None:
                self._told(f"{name or 'another one'} gave nothing ({failure.reason}: {failure.said[:160]})")
            try:
                return self._makers.pop(0)()
            except Failure as missing:
                failure, name = missing, ""


def makers(pid: int, options: Options, room_bytes: int | None = None, go_pprof: str = "") -> list[Maker]:
    """For a Python the standard library's profiler where its interpreter brings one, then py-spy.

    For machine code guard's own unwinder, which follows stacks without frame pointers, then perf; a Go has those, so
    that perf, which stops nobody, comes first. What a runtime tells of itself, by its tool, comes before both.
    """
    if is_machine_code(pid, options):
        return _of_machine_code(pid, engine.of(pid), go_pprof, room_bytes)
    return [lambda: of_python(pid, options, room_bytes), lambda: pyspy_cpu.PySpy(options)]


def of_python(pid: int, options: Options, room_bytes: int | None = None) -> Engine:
    """The standard library's profiler where the interpreter brings one, else py-spy.

    `room_bytes`: what its memory limit leaves. Raises Failure.
    """
    found = interpreter.look(pid)
    if found is None or not stdlib.reads(found):
        return pyspy_cpu.PySpy(options)
    why = stdlib_cpu.why_not(pid, found, options, room_bytes)
    if why is not None:
        return pyspy_cpu.PySpy(options, f"not by {stdlib.ENGINE}: {why}")
    return stdlib_cpu.Stdlib(found, options)


def record(pid: int, *, rate_hz: int, seconds: int) -> recorder.Piece:
    """One slice of a Python with nothing special about it. Raises Failure."""
    options = recorder.Options()
    chosen = of_python(pid, options)
    plan = pace.Plan(chosen.ways(False)[0], rate_hz, 1, "")
    meter = recorder.Meter(plan, pace.Pace(rate_hz, None, 1.0, (plan.way,)))
    try:
        return chosen.record(pid, plan, seconds, meter)
    except Failure:
        if chosen.last_resort:
            raise
    return pyspy_cpu.PySpy(options).record(pid, plan, seconds, meter)


def _of_machine_code(pid: int, which: str, go_pprof: str, room_bytes: int | None) -> list[Maker]:
    from supervisor.profilers import perf

    order: list[Maker] = []
    if native.possible():
        from supervisor.profilers import native_cpu

        order.append(lambda: native_cpu.Native(pid))
    by_perf = _with_room(perf.Perf, perf.Perf.name, perf.NEEDS_BYTES, room_bytes)
    order.insert(0 if which == engine.GO else 1, by_perf)
    if which == engine.GO and go_pprof:
        from supervisor.profilers import go_cpu

        order.insert(0, lambda: go_cpu.GoProfile(pid, go_pprof))
    elif which == engine.RUBY:
        from supervisor.profilers import rbspy

        order.insert(0, rbspy.Rbspy)
    elif which == engine.DOTNET:
        from supervisor.profilers import dotnet

        order.insert(0, _with_room(lambda: dotnet.Trace(pid), dotnet.Trace.name, dotnet.TRACE_BYTES, room_bytes))
    return order


def _with_room(maker: Maker, name: str, needs_bytes: int, room_bytes: int | None) -> Maker:
    """It, or where the memory limit leaves less than it may take one that raises Failure."""
    if room_bytes is None or room_bytes >= needs_bytes:
        return maker

    def refused() -> Engine:
        raise no_headroom(room_bytes, needs_bytes, name)

    return refused


def no_headroom(left_bytes: int, needed_bytes: int, what: str) -> Failure:
    """The memory limit leaves less than `what` may take."""
    left, needed = human_bytes(left_bytes), human_bytes(needed_bytes)
    said = f"{left} are left below the limit, and {what} may take {needed}"
    return Failure("no-headroom", said, "guard run --warning 50% -- COMMAND")


def possible() -> bool:
    """Whether machine code can be sampled here at all."""
    return native.possible() or shutil.which("perf") is not None


def is_machine_code(pid: int, options: Options) -> bool:
    """Whether its native stacks are what can be sampled."""
    return not options.subprocesses and interpreter.look(pid) is None and engine.of(pid) in engine.MACHINE_CODE
