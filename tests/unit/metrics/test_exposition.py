"""What a scraper reads: Prometheus's own parsers take every text, and find in it what was meant."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics

from supervisor.metrics import exposition, figures
from supervisor.metrics.exposition import Family

LINE: dict[str, Any] = {
    "run": "20261126T180436Z-app-1-abcd", "command_name": "app", "version": "0.1.0", "environment": "production",
    "started_at": 1795716276.3, "at": 1795716280.1, "within_s": 5.0, "up": 1, "state": "warning", "rss": 300,
    "use": 310, "limit": 1000, "headroom": 690, "high": None, "pressure": 0.015, "slope": -12, "peak": 400,
    "processes": 3, "threads": 9, "names": {"python": 200, "sh": 100}, "cpu_s": 1.25, "own_rss": 5, "own_cpu_s": 0.1,
    "thresholds": {"warning": 250, "critical": 500, "profiling": 900}, "restarts": 1, "oom_kills": 0, "samples": 7,
    "dropped": 0, "lost": 2, "seconds": {"ok": 1.5, "warning": 2.0, "critical": 0.0, "profiling": 0.0},
    "triggers": {"cpu": 1, "pressure:memory:some": 0}, "p95": 0.25, "fired": {"cpu": 2},
    "actions": [["snapshot", "finished", 1], ["stacks", "failed", 2]],
}  # fmt: skip


def shown(line: dict[str, Any] = LINE, age_s: float = 0.0) -> list[Family]:
    return figures.families(line, age_s, figures.Names())


def values(families: Any) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of parsed families; none may come twice."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in families:
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


def both(families: list[Family]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What the two parsers find, which is the same."""
    old = values(parser.text_string_to_metric_families(exposition.prometheus(families)))
    new = values(openmetrics.text_string_to_metric_families(exposition.open_metrics(families)))
    assert old == new
    return old


def test_the_parsers_find_every_figure() -> None:
    found = both(shown())
    plain = {name: value for (name, labels), value in found.items() if not labels}
    assert plain == {
        "guard_up": 1, "guard_target_up": 1, "guard_run_start_time_seconds": 1795716276.3,
        "guard_last_sample_timestamp_seconds": 1795716280.1, "guard_tree_rss_bytes": 300,
        "guard_tree_rss_peak_bytes": 400, "guard_tree_growth_bytes_per_second": -12, "guard_used_bytes": 310,
        "guard_limit_bytes": 1000, "guard_headroom_bytes": 690, "guard_memory_pressure_ratio": 0.015,
        "guard_response_time_p95_seconds": 0.25,
        "guard_processes": 3, "guard_threads": 9, "guard_cpu_seconds_total": 1.25, "guard_samples_total": 7,
        "guard_oom_kills_total": 0, "guard_restarts_total": 1, "guard_log_lines_dropped_total": 0,
        "guard_metrics_lines_lost_total": 2, "guard_own_rss_bytes": 5, "guard_own_cpu_seconds_total": 0.1,
    }  # fmt: skip
    assert found["guard_state", frozenset({("state", "warning")})] == 1
    assert sum(value for (name, _), value in found.items() if name == "guard_state") == 1
    assert found["guard_trigger_firing", frozenset({("trigger", "cpu")})] == 1
    assert found["guard_trigger_firing", frozenset({("trigger", "pressure:memory:some")})] == 0
    assert found["guard_actions_total", frozenset({("action", "stacks"), ("outcome", "failed")})] == 2
    assert found["guard_actions_total", frozenset({("action", "stacks"), ("outcome", "finished")})] == 0
    (info,) = (dict(labels) for name, labels in found if name == "guard_run_info")
    assert info == {key: LINE[key] for key in ("run", "command_name", "version", "environment")}


def test_every_family_has_a_help_a_type_and_a_unit_in_its_name() -> None:
    families = list(openmetrics.text_string_to_metric_families(exposition.open_metrics(shown())))
    assert all(family.documentation.endswith((".", "other.")) for family in families)
    assert {family.type for family in families} == {"gauge", "counter", "info"}
    units = {family.name: family.unit for family in families}
    assert units["guard_limit_bytes"] == "bytes"
    assert units["guard_cpu_seconds"] == "seconds"
    assert units["guard_memory_pressure_ratio"] == "ratio"
    text = exposition.prometheus(shown())
    for family in shown():
        assert text.count(f"# HELP {family.name} ") == text.count(f"# TYPE {family.name} ") == 1


@given(st.dictionaries(st.text(max_size=20), st.integers(0, 1 << 40), max_size=8))
def test_a_name_may_hold_anything(names: dict[str, int]) -> None:
    """A process gives itself its name; the line is JSON between."""
    line = json.loads(json.dumps(LINE | {"names": names}))
    found = both(shown(line))
    assert sum(v for (name, _), v in found.items() if name == "guard_process_rss_bytes") == sum(
        map(float, names.values())
    )


@given(st.floats() | st.integers(-(1 << 80), 1 << 80))
def test_a_number_is_read_back(value: float) -> None:
    families = [Family("guard_x", "gauge", "X.", (({}, value),))]
    (found,) = both(families).values() if value == value else (None,)
    assert found is None or found == float(value)


def test_names_are_bounded_over_a_whole_run() -> None:
    names = figures.Names()
    seen: set[str] = set()
    for number in range(0, 1000, 10):
        sizes = {f"worker{each}": 10 for each in range(number, number + 10)}
        found = names(sizes)
        assert sum(found.values()) == 100
        seen |= set(found)
    assert len(seen) == figures.MOST_NAMES + 1
    assert "other" in seen


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=0.0.1", False),
        ("application/openmetrics-text;version=1.0.0;q=0", False),
        ("application/openmetrics-text; version=1.0.0; q=0.2, text/plain; q=0.8", False),
        # What Prometheus 2 and 3 send.
        ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
         "text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
        ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;"
         "escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1", True),
        ("application/openmetrics-text;q=much,text/plain", False),
    ],
)  # fmt: skip
def test_who_gets_open_metrics(accept: str, wanted: bool) -> None:
    assert exposition.wants_open_metrics(accept) is wanted


def test_overdue_samples_are_seen() -> None:
    assert figures.watching(LINE, 20.0)
    assert not figures.watching(LINE, 26.0)
    assert figures.watching(LINE | {"within_s": None}, 1e6)
    assert not figures.watching({}, 0.0)
    assert both(shown(age_s=26.0))["guard_up", frozenset()] == 0
    assert both(shown({})) == {("guard_up", frozenset()): 0}


def test_ready_means_memory_is_left() -> None:
    assert figures.ready(LINE, 1.0)
    for change in ({"state": "critical"}, {"state": "profiling"}, {"up": 0}, {"state": None}):
        assert not figures.ready(LINE | change, 1.0)
    assert not figures.ready(LINE, 1e3)


def test_the_page_names_every_metric() -> None:
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    every = shown(LINE | {"high": 1, "pss": 1, "uss": 1})
    assert len(every) == 33
    named = set(re.findall(r"`(guard_\w+)", page.partition("## What is shown")[2].partition("## Prometheus")[0]))
    assert named == {family.name for family in every}
