"""What this machine and this place give: read once, before the target starts."""

from __future__ import annotations

import os

from supervisor import cgroup


class Facts:
    """The surroundings that settings depend on.

    `limit_bytes` is the tightest cgroup limit or else the machine's memory; `limit_source` says which. `cores` is
    what a CPU quota and the affinity mask leave. `container` names the sign of a container, or is None. `high` is a
    memory.high below the limit. `oom_kills` is the cgroup's count before anything was started.
    """

    __slots__ = (
        "container", "cores", "high", "limit_bytes", "limit_source", "memory_bytes", "oom_kills", "place", "terminal"
    )  # fmt: skip

    def __init__(
        self,
        *,
        limit_bytes: int,
        limit_source: str,
        memory_bytes: int,
        cores: float,
        container: str | None,
        terminal: bool,
        place: cgroup.Place,
        high: cgroup.High | None = None,
        oom_kills: int | None = None,
    ) -> None:
        self.limit_bytes = limit_bytes
        self.limit_source = limit_source
        self.memory_bytes = memory_bytes
        self.cores = cores
        self.container = container
        self.terminal = terminal
        self.place = place
        self.high = high
        self.oom_kills = oom_kills

    @property
    def in_cgroup(self) -> bool:
        """Whether the limit is a cgroup's."""
        return self.limit_source != "machine"


def gather(environ: dict[str, str], pid: int | str = "self") -> Facts:
    """Read the surroundings of `pid`. Without /proc the machine's memory counts as 1 TiB: no default is moved."""
    place = cgroup.find(pid)
    reading = cgroup.read_memory(place)
    memory = cgroup.machine_memory() or _sysconf_memory()
    limit, source = memory, "machine"
    if reading.limit_bytes is not None and reading.limit_bytes <= memory:
        limit, source = reading.limit_bytes, f"cgroup v{place.memory_version} {reading.directory}"
    schedulable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Facts(
        limit_bytes=limit,
        limit_source=source,
        memory_bytes=memory,
        cores=cgroup.cores(place, schedulable),
        container=_container(environ),
        terminal=_is_terminal(0) or _is_terminal(1) or _is_terminal(2),
        place=place,
        high=reading.high if reading.high is not None and reading.high.high_bytes < limit else None,
        oom_kills=reading.oom_kills,
    )


def _sysconf_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 1 << 40


def _is_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False


def _container(environ: dict[str, str]) -> str | None:
    for path in ("/.dockerenv", "/run/.containerenv"):
        if os.path.exists(path):
            return path
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return "KUBERNETES_SERVICE_HOST"
    if environ.get("container"):
        return f"container={environ['container']}"
    return None
