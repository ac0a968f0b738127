"""What deciding is given, what it remembers and what it answers: plain records, and who is guilty."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from supervisor import thresholds, triggers
from supervisor.config import Config
from supervisor.model import STATES, Effect, Process, Sample, Start

MIB = 1 << 20
SHORTEST_WAIT_S = 0.1
# Who took nothing for so long has stopped growing; and what is taking: a step that no bookkeeping makes.
QUIET_S = 5.0
_SLOWEST_S = 120.0
STEP_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class Level:
    """A state's threshold: bytes, or a share of the limit; held against `metric`."""

    name: str
    metric: str
    size_bytes: int | None = None
    share: float | None = None

    def threshold(self, limit_bytes: int) -> int:
        """In bytes under this limit."""
        return self.size_bytes if self.size_bytes is not None else int((self.share or 0.0) * limit_bytes)


def never(pid: int) -> bool:
    """No process can."""
    return False


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that deciding needs."""

    levels: tuple[Level, ...]
    interval_s: float = 5.0
    cooldown_s: float = 300.0
    max_actions: int = 5
    profile: bool = True
    ready_s: float = 0.5  # from a worker's start to its first stack
    restart_at: Level | None = None
    rules: triggers.Rules = field(default_factory=triggers.Rules)
    heap_agent: bool = False  # the target has one, where it is a Python
    counts: Callable[[int], bool] = never  # whether a process can be had to count its objects without one
    own: bool = True  # the target is guard's: it may end it
    lives: bool = False  # and start it again


@dataclass(frozen=True, slots=True)
class Baseline:
    """A process's slowly following RSS, its RSS when last seen, and when it last took a step up from its mark.

    `rhythm_s`: between its last two steps, 0 before the second; a leak may take one a minute.
    """

    rss_bytes: float
    seen_s: float
    last_bytes: int
    mark_bytes: int
    grew_s: float
    steps: int = 0
    rhythm_s: float = 0.0

    @property
    def quiet_s(self) -> float:
        """For how long it has taken nothing."""
        return self.seen_s - self.grew_s

    @property
    def quiet(self) -> bool:
        """Whether it has stopped growing, by its own rhythm."""
        return self.quiet_s >= max(QUIET_S, min(2 * self.rhythm_s, _SLOWEST_S))


@dataclass(frozen=True, slots=True)
class State:
    """All that deciding remembers.

    `wait_s` is the longest wait for the next sample; `cpu_wait_s` is the processor time of one process after which it
    is due at once, None where the wait is short enough for any burst. `frozen_s`: when a process was stopped to be
    read; `hurried_s`: when a running growth attribution was last told to make haste; `ending_s`: when it was decided
    to restart the target, `ended`: that is under way. `busy_for` and `growing_for` tell who asked for what
    runs, when no state of memory did. `followed`: whom growth was attributed of last; `passed_over`: whose growth
    hasn't been since then, as that was told.
    """

    level: int = 0
    streaks: tuple[int, ...] = (0, 0, 0)
    below_since_s: float | None = None
    outside: bool = False
    last: Sample | None = None
    slope: float = 0.0
    wait_s: float = SHORTEST_WAIT_S
    cpu_wait_s: float | None = None
    baselines: Mapping[tuple[int, int], Baseline] = field(default_factory=dict)
    queue: tuple[Start, ...] = ()
    busy: str | None = None
    busy_for: str = ""
    growing: int | None = None
    growing_for: str = ""
    growth_stopping: bool = False
    followed: tuple[int, int] | None = None
    passed_over: frozenset[tuple[int, int]] = frozenset()
    frozen_s: float | None = None
    over_restart: int = 0  # samples in a row
    ending_s: float | None = None
    ended: bool = False
    hurried_s: float | None = None
    spent: Mapping[str, int] = field(default_factory=dict)
    started_s: Mapping[tuple[str, str], float] = field(default_factory=dict)
    watched: triggers.Watched = field(default_factory=triggers.Watched)

    @property
    def name(self) -> str:
        """The state's word."""
        return STATES[self.level]


@dataclass(frozen=True, slots=True)
class Decision:
    """The new state and what to do, in order."""

    state: State
    effects: tuple[Effect, ...] = ()


def guilty(sample: Sample, baselines: Mapping[tuple[int, int], Baseline]) -> Process | None:
    """The process that grew most over its baseline; among such that hardly grew, the largest."""

    def weight(process: Process) -> tuple[float, int]:
        rss = process.rss_bytes or 0
        growth = growth_bytes(process, baselines)
        return (growth if growth >= MIB else 0.0, rss)

    living = [process for process in sample.processes if process.rss_bytes]
    return max(living, key=weight, default=None)


def growth_bytes(process: Process, baselines: Mapping[tuple[int, int], Baseline]) -> float:
    """RSS over the baseline; a process not seen before has grown by nothing yet."""
    rss = process.rss_bytes or 0
    baseline = baselines.get(process.identity)
    return rss - (baseline.rss_bytes if baseline else rss)


def growing_most(sample: Sample, baselines: Mapping[tuple[int, int], Baseline]) -> Process | None:
    """The process that grew most of those that haven't stopped."""
    growing = [process for process in sample.processes if not is_quiet(process, baselines)]
    return max(growing, key=lambda process: growth_bytes(process, baselines), default=None)


def is_quiet(process: Process, baselines: Mapping[tuple[int, int], Baseline]) -> bool:
    """Whether it has stopped growing, or can't be told to grow."""
    baseline = baselines.get(process.identity)
    return baseline is None or baseline.quiet


def of_config(config: Config, start_s: float = 0.0) -> Policy:
    """The part of the settings that deciding needs. `start_s`: what guard's own start took, as a worker's does."""
    at = config.restart_at
    metric = "cgroup" if at is not None and at.share is not None and config.facts.in_cgroup else config.metric
    restart_at = Level("restart-at", metric, at.size_bytes, at.share) if at is not None else None
    return Policy(
        levels(config.levels), config.interval, config.cooldown, config.max_actions, profile=not config.no_profiling,
        ready_s=min(max(0.5, 5 * start_s), 2.0), restart_at=restart_at,
        rules=triggers.rules_of(config),
        heap_agent=config.heap_agent != "none",
    )  # fmt: skip


def levels(found: Iterable[thresholds.Level]) -> tuple[Level, ...]:
    """Thresholds as deciding needs them."""
    return tuple(Level(level.name, level.metric, level.threshold.size_bytes, level.threshold.share) for level in found)
