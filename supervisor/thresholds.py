"""The thresholds that hold: explicit ones as given, defaults moved where they can't be reached. Pure."""

from __future__ import annotations

from itertools import pairwise

from supervisor.errors import UsageError
from supervisor.quantities import Threshold, human_bytes
from supervisor.settings import LEVELS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervisor.config import Config
    from supervisor.facts import Facts

FALLBACK_SHARES = (0.60, 0.75, 0.875)


class Value:
    """A setting's value, which kind of source gave it, and where exactly."""

    __slots__ = ("origin", "source", "value")

    def __init__(self, value: Any, source: str, origin: str) -> None:
        self.value = value
        self.source = source
        self.origin = origin

    @property
    def explicit(self) -> bool:
        """Whether a person chose it."""
        return self.source in ("command line", "environment", "file")


class Level:
    """A threshold that holds: `threshold` under the limit at start is `size_bytes`, held against `metric`."""

    __slots__ = ("metric", "name", "size_bytes", "source", "threshold")

    def __init__(self, name: str, threshold: Threshold, size_bytes: int, metric: str, source: str) -> None:
        self.name = name
        self.threshold = threshold
        self.size_bytes = size_bytes
        self.metric = metric
        self.source = source


def levels_at_start(values: dict[str, Value], facts: Facts, adjusted: list[dict[str, Any]]) -> tuple[Level, ...]:
    """The thresholds that hold: explicit ones as given, defaults moved where they can't be."""
    limit = facts.limit_bytes
    for name in LEVELS:
        _refuse_beyond(name, values, limit, facts.limit_source)
    _refuse_beyond("restart-at", values, limit, facts.limit_source)
    high = facts.high.high_bytes if facts.high is not None else None
    return _levels_below(values, limit, high, facts.in_cgroup, adjusted)


def _refuse_beyond(name: str, values: dict[str, Value], limit: int, source: str) -> None:
    value = values[name]
    if value.explicit and value.value.resolve(limit) >= limit:
        raise UsageError(
            f"{name} threshold {value.value} ({value.origin}) can't be reached",
            why=f"the limit is {human_bytes(limit)} ({source})",
            hint=f"--{name} {'95' if name == 'restart-at' else '80'}%",
        )


def levels_under(
    config: Config, limit_bytes: int, high_bytes: int | None, in_cgroup: bool
) -> tuple[tuple[Level, ...], list[str]]:
    """The thresholds that hold when the limit changes under way, and the explicit ones that can't be reached then."""
    values = config.values | config.chosen
    chosen = {name: values[name] for name in LEVELS if values[name].explicit}
    beyond = [name for name, value in chosen.items() if value.value.resolve(limit_bytes) >= limit_bytes]
    try:
        return _levels_below(values, limit_bytes, high_bytes, in_cgroup, []), beyond
    except UsageError:  # they no longer rise: those of the start stay
        return config.levels, beyond


def _levels_below(
    values: dict[str, Value], limit: int, high: int | None, in_cgroup: bool, adjusted: list[dict[str, Any]]
) -> tuple[Level, ...]:
    """Defaults stay below `limit` and, where there is one, below the memory.high that the tree would crawl beyond."""
    _refuse_falling({name: values[name] for name in LEVELS if values[name].explicit}, limit)
    most = limit if high is None else min(limit, high)
    held = dict.fromkeys(LEVELS, values["metric"].value)
    if any(not values[name].explicit and values[name].value.resolve(limit) >= most for name in LEVELS):
        for name, share in zip(LEVELS, FALLBACK_SHARES, strict=True):
            to, reason = (
                Threshold(None, share),
                f"the defaults can't all be reached below the limit of {human_bytes(limit)}",
            )
            if most < limit:
                to, reason = Threshold(int(share * most), None), f"memory.high of {human_bytes(most)} comes before them"
                if not values[name].explicit and held[name] == "rss" and in_cgroup:
                    held[name] = "cgroup"
            _move_threshold(values, name, to, reason, adjusted)
    _make_rise(values, limit, adjusted)
    result = []
    for name in LEVELS:
        threshold: Threshold = values[name].value
        if held[name] == "rss" and threshold.share is not None and in_cgroup:
            held[name] = "cgroup"
        result.append(Level(name, threshold, threshold.resolve(limit), held[name], values[name].origin))
    return tuple(result)


def _move_threshold(
    values: dict[str, Value], name: str, to: Threshold, reason: str, adjusted: list[dict[str, Any]]
) -> None:
    old = values[name]
    if old.explicit or old.value == to:
        return
    adjusted.append({"setting": name, "from": str(old.value), "to": str(to), "reason": reason})
    values[name] = Value(to, "adjusted", reason)


def _make_rise(values: dict[str, Value], limit: int, adjusted: list[dict[str, Any]]) -> None:
    """Defaults that an explicit threshold overtakes step aside; what then still doesn't rise is refused."""
    sizes = {name: values[name].value.resolve(limit) for name in LEVELS}
    explicit = [name for name in LEVELS if values[name].explicit]
    if explicit and not _rises(list(sizes.values())):
        first, last = LEVELS.index(explicit[0]), LEVELS.index(explicit[-1])
        for index, name in enumerate(LEVELS):
            if name in explicit:
                continue
            if index > last:
                base = sizes[explicit[-1]]
                size = min(base + (index - last) * base // 2, base + (limit - base) * (index - last) // (4 - last))
            elif index < first:
                size = sizes[explicit[0]] * (index + 1) // (first + 1)
            else:
                size = (sizes[explicit[0]] + sizes[explicit[-1]]) // 2
            reason = f"it has to rise with {' and '.join(values[other].origin for other in explicit)}"
            _move_threshold(values, name, Threshold(size, None), reason, adjusted)
    _refuse_falling({name: values[name] for name in LEVELS}, limit)


def _rises(sizes: list[int]) -> bool:
    return all(low < high for low, high in pairwise(sizes))


def _refuse_falling(chosen: dict[str, Value], limit: int) -> None:
    names = list(chosen)
    for low, high in pairwise(names):
        if chosen[low].value.resolve(limit) >= chosen[high].value.resolve(limit):
            raise UsageError(
                f"thresholds must rise: {low} {chosen[low].value} ({chosen[low].origin}) is not below "
                f"{high} {chosen[high].value} ({chosen[high].origin})",
                why=f"of a limit of {human_bytes(limit)}",
                hint="--warning 60% --critical 75% --profiling 87.5%",
            )
