"""Which way an action goes for a process, and who samples it: the two tables, by what the process is.

Ways stand best first. One that can't be gone here passes on (`Pass`) to the next, which can tell why (`Task.why`).
"""

from __future__ import annotations

from typing import Any

from supervisor.actions.task import Pass, Skip, Task, Turn
from supervisor.actions.trying import Samplers, Ways
from supervisor.profilers import engine, matters
from supervisor.profilers.engine import BUN, DOTNET, GO, JAVA, NODE, OTHER, PYTHON, RUBY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.profilers.recorder import Subject

# Started so that it profiles itself, and what comes is only taken in: see `ownprofile`.
OWN = "own"

# By action and engine: MODULE.FUNCTION of this package, which takes a Task.
WAYS: dict[str, dict[str, tuple[str, ...]]] = {
    "stacks": {
        PYTHON: ("stacks.take", "other_stacks.waiting"),
        NODE: ("node_stacks.take", "other_stacks.waiting"),
        BUN: ("other_stacks.waiting",),
        JAVA: ("other_stacks.of_java", "other_stacks.waiting"),
        GO: ("other_stacks.of_go", "other_stacks.native", "other_stacks.waiting"),
        RUBY: ("other_stacks.of_ruby", "other_stacks.native", "other_stacks.waiting"),
        DOTNET: ("other_stacks.native", "other_stacks.waiting"),
        OTHER: ("other_stacks.native", "other_stacks.waiting"),
    },
    "growth": {
        PYTHON: ("growth.take", "mapped.take"),
        NODE: ("node_heap.grow", "mapped.take"),
        BUN: ("mapped.take",),
        JAVA: ("mapped.take",),
        GO: ("native_growth.take", "mapped.take"),
        RUBY: ("native_growth.take", "mapped.take"),
        DOTNET: ("native_growth.take", "mapped.take"),
        OTHER: ("native_growth.take", "mapped.take"),
    },
    "cpu-profile": {
        OWN: ("own_profile.cpu",),
        PYTHON: ("cpu.take",),
        NODE: ("node_cpu.take",),
        BUN: ("nothing.cpu_of_bun",),
        JAVA: ("nothing.cpu_of_java",),
        GO: ("cpu.take",),
        RUBY: ("cpu.take",),
        DOTNET: ("cpu.take",),
        OTHER: ("cpu.take",),
    },
    "heap-profile": {
        OWN: ("own_heap.take",),
        PYTHON: ("heap_agent.take", "heap_remote.take", "heap_memray.take", "nothing.heap"),
        NODE: ("node_heap_profile.take",),
        BUN: ("nothing.heap_of_bun",),
        JAVA: ("runtime_heap.of_java",),
        GO: ("runtime_heap.of_go",),
        RUBY: ("heap_agent.take", "nothing.heap"),
        DOTNET: ("runtime_heap.of_dotnet",),
        OTHER: ("heap_agent.take", "nothing.heap"),
    },
}


# By engine: MODULE.CLASS of `supervisor.profilers`, for a CPU profile; the class is a `recorder.Engine`.
# What a runtime tells of itself, by its tool, comes first. Then guard's own unwinder, which follows stacks without
# frame pointers; a Go has those, so that perf, which stops nobody, comes before it.
SAMPLERS: dict[str, tuple[str, ...]] = {
    PYTHON: ("stdlib_cpu.Stdlib", "pyspy_cpu.PySpy"),
    GO: ("go_cpu.GoProfile", "perf.Perf", "native_cpu.Native"),
    RUBY: ("rbspy.Rbspy", "native_cpu.Native", "perf.Perf"),
    DOTNET: ("dotnet.Trace", "native_cpu.Native", "perf.Perf"),
    OTHER: ("native_cpu.Native", "perf.Perf"),
}


def take(task: Task) -> dict[str, Any]:
    """Do the task the best way that can be gone. Raises Failure, OSError when there is none.

    The result has `refused`: capabilities that better ways lacked, each with `capability`, `reason`, `hint`.
    """
    while True:
        facts = engine.look(task.aimed)
        which = OWN if task.spec.get("own") else row(facts)
        if which == NODE and task.spec.get("patient") and matters.launches(facts):
            which = OTHER  # of `npm start` what that starts is meant
        try:
            return _first(task, Ways(WAYS[task.kind][which]))
        except Turn as turn:
            task.aimed = turn.pid
            task.passed.clear()
        except Skip as skip:
            why = skip.why
            told = {"outcome": "skipped", "reason": why.reason, "said": why.said, "hint": why.hint, "tried": skip.tried}
            return {**told, "refused": skip.refused} if skip.refused else told


def row(facts: engine.Facts) -> str:
    """The row of these tables. What nobody may read is asked as if it were Python: its refusal says what is missing."""
    found = engine.choose(facts)
    return PYTHON if found == OTHER and not facts.readable else found


def samplers(subject: Subject, told: Callable[[str], None]) -> Samplers:
    """The CPU profilers for a process as it is now; py-spy alone looks into what a Python starts."""
    which = PYTHON if subject.options.subprocesses else row(engine.look(subject.pid))
    return Samplers(SAMPLERS.get(which, SAMPLERS[PYTHON]), subject, told)


def _first(task: Task, ways: Ways) -> dict[str, Any]:
    passed: Pass | None = None
    while True:
        way = ways.next(passed)
        try:
            result: dict[str, Any] = way(task)
        except Pass as found:
            passed = found
            task.passed.append(passed)
            continue
        except (FileNotFoundError, ProcessLookupError):
            if passed is not None:  # it is gone by now: what was wrong before tells more
                raise passed from None
            raise
        refused = [entry for each in task.passed for entry in each.refused] + result.get("refused", [])
        return {**result, "refused": refused} if refused else result
