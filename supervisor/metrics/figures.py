"""From what the watcher tells to families of metrics: their names, their meaning, their bounds. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeGuard

from supervisor.metrics.exposition import Family

STATES = ("ok", "warning", "critical", "profiling")
OUTCOMES = ("finished", "failed", "skipped")
MOST_NAMES = 20
OTHER = "other"
_LATE = 3.0  # so many times the longest wait without a line, and the watcher counts as stuck
_LATE_S = 10.0

# (name, kind, help, key of the line); a key that is absent or null gives no sample
_PLAIN: tuple[tuple[str, str, str, str], ...] = (
    ("guard_target_up", "gauge", "Whether the target runs.", "up"),
    ("guard_run_start_time_seconds", "gauge", "When this run of the target began, since the epoch.", "started_at"),
    ("guard_last_sample_timestamp_seconds", "gauge", "When the tree was last read, since the epoch.", "at"),
    ("guard_tree_rss_bytes", "gauge", "RSS of the target's process tree, added up.", "rss"),
    ("guard_tree_rss_peak_bytes", "gauge", "Largest RSS of the tree that a sample of this run found.", "peak"),
    ("guard_tree_pss_bytes", "gauge", "PSS of the tree, with --metric pss.", "pss"),
    ("guard_tree_uss_bytes", "gauge", "USS of the tree, with --metric uss.", "uss"),
    ("guard_tree_growth_bytes_per_second", "gauge", "Slope of what the limit is held against.", "slope"),
    ("guard_used_bytes", "gauge", "What counts against the limit: the cgroup's working set, else the tree's RSS.",
     "use"),
    ("guard_limit_bytes", "gauge", "The most memory that the tree can have.", "limit"),
    ("guard_headroom_bytes", "gauge", "Limit less use.", "headroom"),
    ("guard_high_bytes", "gauge", "The cgroup's memory.high, where it is below the limit.", "high"),
    ("guard_memory_pressure_ratio", "gauge", "Share of the last 10 s in which some task waited for memory.",
     "pressure"),
    ("guard_response_time_p95_seconds", "gauge", "Of the last 20 probes, with --probe.", "p95"),
    ("guard_processes", "gauge", "Processes of the tree.", "processes"),
    ("guard_threads", "gauge", "Threads of the tree.", "threads"),
    ("guard_cpu_seconds_total", "counter",
     "Processor time of the tree as sampled: what a process used after its last sample is missing.", "cpu_s"),
    ("guard_samples_total", "counter", "Samples taken of the tree.", "samples"),
    ("guard_oom_kills_total", "counter", "OOM kills that the cgroup counted since guard began.", "oom_kills"),
    ("guard_restarts_total", "counter", "Times that guard has started the target again.", "restarts"),
    ("guard_log_lines_dropped_total", "counter", "Log lines that found stderr closed or full.", "dropped"),
    ("guard_metrics_lines_lost_total", "counter", "Samples that did not reach the process which shows these figures.",
     "lost"),
    ("guard_own_rss_bytes", "gauge", "RSS of guard's own watcher.", "own_rss"),
    ("guard_own_cpu_seconds_total", "counter", "Processor time of guard's own watcher.", "own_cpu_s"),
)  # fmt: skip


class Names:
    """Process names as labels, bounded: the first 20 that were seen, all others are `other`."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def __call__(self, sizes: Mapping[str, Any]) -> dict[str, float]:
        """Sizes by label; they add up to the same."""
        found: dict[str, float] = {}
        for name, size in sorted(sizes.items(), key=lambda item: -item[1] if _is_number(item[1]) else 0):
            if not _is_number(size):
                continue
            if name not in self._known and len(self._known) < MOST_NAMES and name != OTHER:
                self._known.add(name)
            label = name if name in self._known else OTHER
            found[label] = found.get(label, 0.0) + size
        return found


def families(
    line: Mapping[str, Any], age_s: float, names: Callable[[Mapping[str, Any]], dict[str, float]]
) -> list[Family]:
    """All metrics of the watcher's last line, `age_s` after it came. An empty line: nothing is known yet."""
    found = [Family("guard_up", "gauge", "Whether guard watches: 0 when samples are overdue.",
                    (({}, float(watching(line, age_s))),))]  # fmt: skip
    info = {key: str(line[key]) for key in ("run", "command_name", "version", "environment") if key in line}
    if info:
        found.append(Family("guard_run_info", "info", "The run that these figures are of.", ((info, 1.0),)))
    for name, kind, text, key in _PLAIN:
        value = line.get(key)
        if _is_number(value):
            found.append(Family(name, kind, text, (({}, float(value)),)))
    state = line.get("state")
    if state in STATES:
        states = tuple(({"state": each}, float(each == state)) for each in STATES)
        found.append(Family("guard_state", "gauge", "1 for the state that the tree is in.", states))
    found.append(Family("guard_time_in_state_seconds_total", "counter", "Time in each state.",
                        _labelled(line, "seconds", "state")))  # fmt: skip
    if line.get("triggers"):
        found.append(Family("guard_trigger_firing", "gauge", "Whether a trigger has fired and not cleared.",
                            _labelled(line, "triggers", "trigger")))  # fmt: skip
    found.append(Family("guard_threshold_bytes", "gauge", "Memory at which a state begins.",
                        _labelled(line, "thresholds", "state")))  # fmt: skip
    sizes = line.get("names")
    shown = names(sizes) if isinstance(sizes, dict) else {}
    found.append(Family("guard_process_rss_bytes", "gauge",
                        f"RSS by process name, of the first {MOST_NAMES} names seen; others are added up as other.",
                        tuple(({"name": name}, size) for name, size in sorted(shown.items()))))  # fmt: skip
    found.append(Family("guard_actions_total", "counter", "Actions that ended or were not started, by outcome.",
                        tuple(_actions(line.get("actions")))))  # fmt: skip
    found.append(Family("guard_triggers_fired_total", "counter", "Times that a trigger beside memory has fired.",
                        _labelled(line, "fired", "trigger")))  # fmt: skip
    return [family for family in found if family.samples]


def watching(line: Mapping[str, Any], age_s: float) -> bool:
    """Whether the watcher's lines come as they should. `within_s` of a line null: none has to follow."""
    if not line:
        return False
    within_s = line.get("within_s")
    return not _is_number(within_s) or age_s <= _LATE * within_s + _LATE_S


def ready(line: Mapping[str, Any], age_s: float) -> bool:
    """Whether the target runs, is watched and has memory left: its state is below critical."""
    return watching(line, age_s) and bool(line.get("up")) and line.get("state") in ("ok", "warning")


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


def _labelled(line: Mapping[str, Any], key: str, label: str) -> tuple[tuple[Mapping[str, str], float], ...]:
    values = line.get(key)
    if not isinstance(values, dict):
        return ()
    return tuple(({label: name}, float(value)) for name, value in values.items() if _is_number(value))


def _actions(counts: Any) -> Iterable[tuple[Mapping[str, str], float]]:
    """Every outcome of an action that was ever tried, so that a rate over a failure starts from 0."""
    known = {(each[0], each[1]): each[2] for each in counts or () if len(each) == 3 and _is_number(each[2])}
    for action in sorted({action for action, _ in known}):
        for outcome in OUTCOMES:
            yield {"action": str(action), "outcome": outcome}, float(known.get((action, outcome), 0))
