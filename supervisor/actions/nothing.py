"""What can't be had of a process, said with what to do instead: it is skipped, which is no fault."""

from __future__ import annotations

from typing import Any

from supervisor.actions.task import Skip, Task
from supervisor.profilers.failure import Failure


def cpu_of_bun(task: Task) -> dict[str, Any]:
    """Raises Skip."""
    said = "a Bun that runs already can't be profiled: it has no inspector to open, and SIGUSR1 would end it"
    raise Skip(Failure("bun-running", said, "guard profile -- bun SCRIPT"), "cpu-profile of a Bun")


def heap_of_bun(task: Task) -> dict[str, Any]:
    """Raises Skip."""
    said = "a Bun that runs already has no heap that guard could read, and SIGUSR1 would end it"
    raise Skip(Failure("bun-running", said, "guard profile --heap -- bun SCRIPT"), "heap-profile of a Bun")


def cpu_of_java(task: Task) -> dict[str, Any]:
    """Raises Skip."""
    said = "guard has no CPU profiler for a JVM; of a Java it takes stacks, growth and the heap by class"
    hint = f"jcmd {task.aimed} JFR.start duration=30s filename=/tmp/cpu.jfr"
    raise Skip(Failure("java-unsupported", said, hint), "cpu-profile of a Java")


def heap(task: Task) -> dict[str, Any]:
    """Who asked is told why there is nothing; in a run that isn't prepared for it, it is skipped. Raises Pass, Skip."""
    why = task.passed[-1]
    if "profile_mode" in task.spec:
        raise why
    raise Skip(why, "heap agent, sys.remote_exec", [entry for passed in task.passed for entry in passed.refused])
