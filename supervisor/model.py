"""Frozen records shared by sampling, deciding and acting. Sizes in bytes, times in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from supervisor.cgroup import High

SECRET = "GUARD_WORK_SECRET"  # the variable by which a worker learns what its arguments must not show
STATES = ("ok", "warning", "critical", "profiling")
MARKS = {"ok": "🟢", "warning": "🟡", "critical": "🟠", "profiling": "🔴"}  # of the states, for people


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the tree at one moment. `start_ticks` with the pid tells it from a later one of that pid.

    `rss_bytes` is None when it could not be read. `cpu_ticks` is user and system time since its start, `waited_ticks`
    that of the children it has waited for.
    """

    pid: int
    ppid: int
    start_ticks: int
    name: str
    state: str
    rss_bytes: int | None
    threads: int = 1
    cpu_ticks: int = 0
    waited_ticks: int = 0

    @property
    def identity(self) -> tuple[int, int]:
        """Pid and start time."""
        return self.pid, self.start_ticks


@dataclass(frozen=True, slots=True)
class Extra:
    """What only triggers ask for, as far as it could be read.

    `fds`: open descriptors and their soft limit by pid; `io_bytes`: read and written since its start by pid;
    `pressure`: per cent of the last ten seconds by `memory:some` and the like, with whose it is in `pressure_of`.
    """

    fds: Mapping[int, tuple[int, int | None]] = field(default_factory=dict)
    io_bytes: Mapping[int, int] = field(default_factory=dict)
    pressure: Mapping[str, float] = field(default_factory=dict)
    pressure_of: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of the tree. A field that could not be read is None, with its reason in `missing`.

    `use_bytes` is the binding cgroup's working set, or the tree's RSS where no cgroup sets a limit.
    `dear` holds PSS and USS of the tree when the metric asks for them. `high` is a memory.high below the limit.
    `pressure_percent` is the share of the last ten seconds in which some task waited for memory, of the cgroup where it
    counts that, else of the machine.
    """

    at_s: float
    processes: tuple[Process, ...]
    rss_bytes: int
    limit_bytes: int
    use_bytes: int
    in_cgroup: bool = False
    oom_kills: int | None = None
    dear: Mapping[str, int] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    high: High | None = None
    pressure_percent: float | None = None
    extra: Extra = field(default_factory=Extra)

    @property
    def headroom_bytes(self) -> int:
        """Limit less use; never below 0."""
        return max(0, self.limit_bytes - self.use_bytes)

    def value(self, metric: str) -> int:
        """What a threshold of this metric is held against."""
        if metric == "cgroup":
            return self.use_bytes
        return self.dear.get(metric, self.rss_bytes)


@dataclass(frozen=True, slots=True)
class ActionEnded:
    """An action that ended: `ok`, `failed` (with `reason`) or `skipped`.

    `asked`: the request that started it; 0 when a state did. `paths` is what it left, the one to read first in front.
    """

    kind: str
    pid: int
    outcome: str
    reason: str = ""
    asked: int = 0
    paths: tuple[str, ...] = ()
    said: str = ""
    hint: str = ""


# What can be asked for by `guard ctl`, and which action that starts.
VERBS = {
    "state": "",
    "profile": "cpu-profile",
    "stacks": "stacks",
    "snapshot": "snapshot",
    "heap": "heap-profile",
    "restart": "",
    "stop": "",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks by `guard ctl`: a verb, of which process (None: the guilty one), for how long.

    `number` tells one request from another; `uid` and `peer_pid` who asks.
    """

    number: int
    verb: str
    uid: int
    peer_pid: int = 0
    pid: int | None = None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of one probe: `answered` (after `elapsed_s`), or `timeout`, `refused` or `failed`, which are no times.

    `said` tells more of the latter.
    """

    outcome: str
    elapsed_s: float
    said: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """A named log event with typed fields; `level` as in logging (debug, info, warning, error)."""

    level: str
    name: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Start:
    """Start an action on a process. `freeze`: stop the process until the action has read it.

    `start_ticks` as in Process: a pid that waits in a queue may be another's by then. `trigger`: what asks for it when
    it isn't a state of memory. `idle`: threads that wait count as well. `asked`: the request it is for, 0 when nobody
    asked; `duration_s` when that names one.
    """

    kind: str
    state: str
    pid: int
    reason: str
    freeze: bool = False
    start_ticks: int = 0
    trigger: str = ""
    idle: bool = False
    asked: int = 0
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """Let a running action come to its end now; what it has is kept."""

    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Hurry:
    """Tell a running action that there is hardly any time left. `freeze`: stop its process until it is read."""

    kind: str
    pid: int
    reason: str
    freeze: bool = False


@dataclass(frozen=True, slots=True)
class EndLife:
    """End the target: so that another life of it begins or, with `why` stop, for good."""

    reason: str
    why: str = "restart-at"


@dataclass(frozen=True, slots=True)
class Declined:
    """What a request asked for isn't done."""

    asked: int
    reason: str
    hint: str


Effect = Event | Start | Stop | Hurry | EndLife | Declined
