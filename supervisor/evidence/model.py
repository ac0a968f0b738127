"""What runs left, as frozen records. Sizes in bytes, moments in seconds since the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from supervisor.evidence.fields import moment, whole


@dataclass(frozen=True, slots=True)
class Limit:
    """A state's threshold as it held in a run."""

    size_bytes: int
    metric: str
    source: str


@dataclass(frozen=True, slots=True)
class Grown:
    """The type of a process's objects that grew most, as heap evidence found it; `holder`: who holds them, if known."""

    type: str
    size_bytes: int
    holder: str | None = None

    @property
    def named(self) -> str:
        """The type, and who holds it."""
        return f"{self.type} in {self.holder}" if self.holder else self.type


@dataclass(frozen=True, slots=True)
class Suspect:
    """Who held the memory, as the run saw it: the process and, where attributed, the function, else the mapping and,
    where a runtime counts its objects, their type; `grew` is what heap evidence found."""

    pid: int
    name: str
    function: str | None = None
    file: str | None = None
    line: int | None = None
    share: float | None = None
    size_bytes: int | None = None
    mapping: str | None = None
    enough: bool = True  # of stacks and bytes for a verdict
    type: str | None = None
    grew: Grown | None = None
    share_of: str = "growth"  # or `held`: what `share` is a share of
    held_by: str | None = None  # beside a mapping: what was sampled to hold what lies there

    @property
    def named(self) -> str | None:
        """The function, else the type of the objects, else the mapping."""
        return self.function or self.type or (self.grew.named if self.grew else None) or self.mapping


@dataclass(frozen=True, slots=True)
class Record:
    """`run.json`. What only an end record has is None while a run lives, and after guard was killed.

    `outcome` None: no end record. `started_s` and `ended_s` are seconds since the epoch. `limit_source` is `machine`
    or names the cgroup that set the limit; `cgroup` is the directory of the group that the run was in.
    """

    run: str | None = None
    version: str | None = None
    command: tuple[str, ...] = ()
    pid: int | None = None
    guard_pid: int | None = None
    started_s: float | None = None
    environment: str | None = None
    limit_bytes: int | None = None
    limit_source: str | None = None
    cgroup: str | None = None
    thresholds: Mapping[str, Limit] = field(default_factory=dict)
    boot_id: str | None = None
    host: str | None = None
    outcome: str | None = None
    code: int | None = None
    signal: str | None = None
    ended_s: float | None = None
    elapsed_s: float | None = None
    peak_bytes: int | None = None
    peak_use_bytes: int | None = None
    samples: int | None = None
    highest_state: str | None = None
    time_in_state_s: Mapping[str, float] = field(default_factory=dict)
    oom_kills: int | None = None
    suspect: Suspect | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder and its record. `root` is the profiles directory it lies in, None for a folder by itself.

    `lives`: a guard on this machine holds its lock. `problems` tells what could not be read.
    """

    id: str
    path: str
    root: str | None
    record: Record
    lives: bool = False
    problems: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """The record's; without an end record `running` while a guard holds its lock, else `guard-killed`."""
        return self.record.outcome or ("running" if self.lives else "guard-killed")


class FlightProcess(NamedTuple):
    """One of the largest processes of a sample. `rss_bytes` None: it could not be read.

    A tuple: a long flight has a million of them, and this halves what making them costs.
    """

    pid: int
    name: str
    rss_bytes: int | None
    cpu_ticks: int


@dataclass(frozen=True, slots=True)
class FlightSample:
    """One line of `flight.jsonl`. `at_s` is wall-clock time, `elapsed_s` counts from the run's start.

    `dear` holds other sizes that the sample has by name (`pss`, `uss`), in bytes. `pressure_percent` is the share of
    the last ten seconds in which some task waited for memory.
    """

    at_s: float
    elapsed_s: float
    state: str
    rss_bytes: int
    use_bytes: int
    limit_bytes: int | None
    slope_bytes_per_s: float
    oom_kills: int | None
    process_count: int
    processes: tuple[FlightProcess, ...]
    dear: Mapping[str, int] = field(default_factory=dict)
    pressure_percent: float | None = None

    @property
    def headroom_bytes(self) -> int | None:
        """Limit less use, never below 0."""
        return None if self.limit_bytes is None else max(0, self.limit_bytes - self.use_bytes)

    @property
    def time_to_limit_s(self) -> float | None:
        """Until the limit at the current slope; None when memory doesn't grow or nothing limits it."""
        headroom = self.headroom_bytes
        return None if headroom is None or self.slope_bytes_per_s <= 0 else headroom / self.slope_bytes_per_s


@dataclass(frozen=True, slots=True)
class Event:
    """One line of `events.jsonl`: `name` as in `state.changed`, `fields` without name, level and time."""

    name: str
    level: str
    at_s: float | None
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Action:
    """What the events of a run say of one action. `how`: `finished`, `failed`, `skipped`, or `running` without an end.

    `began_s` is when it ended for what was never begun. `state`, `reason` and `path` are those of its last event, which
    is the one at `place` among the events. `path` while it runs: where its files will be, without a suffix.
    """

    kind: str
    pid: int | None
    state: str | None
    began_s: float | None
    ended_s: float | None
    how: str
    reason: str | None
    path: str | None
    place: int


@dataclass(frozen=True, slots=True)
class Item:
    """One piece of evidence: `NNN-<state>-<kind>` in a category, its files by suffix (`.md`, `.folded`, ...)."""

    category: str
    name: str
    number: int | None
    state: str
    kind: str
    files: Mapping[str, str]
    meta: Mapping[str, Any]

    @property
    def at_s(self) -> float | None:
        """When it began."""
        return moment(self.meta.get("started"))

    @property
    def pid(self) -> int | None:
        """The process it is of."""
        return whole(self.meta.get("pid"))
