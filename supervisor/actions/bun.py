"""What can be had of a Bun that runs already: nothing, and what to do instead."""

from __future__ import annotations

from typing import Any

from supervisor.actions.task import Skip, Task
from supervisor.profilers.failure import Failure


def cpu(task: Task) -> dict[str, Any]:
    """Raises Skip."""
    said = "a Bun that runs already can't be profiled: it has no inspector to open, and SIGUSR1 would end it"
    raise Skip(Failure("bun-running", said, "guard profile -- bun SCRIPT"), "cpu-profile of a Bun")


def heap(task: Task) -> dict[str, Any]:
    """Raises Skip."""
    said = "a Bun that runs already has no heap that guard could read, and SIGUSR1 would end it"
    raise Skip(Failure("bun-running", said, "guard profile --heap -- bun SCRIPT"), "heap-profile of a Bun")
