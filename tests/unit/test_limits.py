"""The right limit: peaks from histories of known distribution, and what is said about them."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from supervisor import evidence, limits
from supervisor.limits import Peak, size_up
from supervisor.listing import limits_text

MB = 1_000_000
MIB = 1 << 20


def peaks(*sizes: float, **more: Any) -> list[Peak]:
    return [Peak(f"r{n}", "app", int(size), **more) for n, size in enumerate(sizes)]


def write(root: Path, number: int, sizes: list[int], **record: Any) -> None:
    """A run on disk whose flight has these sizes."""
    run = f"20260101T{number // 3600:02}{number // 60 % 60:02}{number % 60:02}Z-app-1-abcd"
    folder = root / "monitored" / run
    folder.mkdir(parents=True)
    document = {"run": run, "command": ["app"], "limit_source": "cgroup v2 /x", "limit_bytes": 1 << 40,
                "outcome": "exited", "started": "2026-01-01T00:00:00Z"} | record  # fmt: skip
    (folder / "run.json").write_text(json.dumps(document))
    lines = [
        json.dumps({"at": "2026-01-01T00:00:01Z", "elapsed_s": n, "rss_bytes": size, "use_bytes": size})
        for n, size in enumerate(sizes)
    ]
    (folder / "flight.jsonl").write_text("\n".join(lines) + "\n")


def test_coverage_of_the_interval_on_histories(tmp_path: Path) -> None:
    """Histories of runs with log-normal peaks: intervals hold the true median and 90 % quantile in 95 % of cases."""
    noise, histories, runs = random.Random(7), 60, 25
    hits = {0.5: 0, 0.9: 0}
    for history in range(histories):
        root = tmp_path / str(history)
        for number in range(runs):
            peak = int(100 * MB * math.exp(noise.gauss(0, 0.5)))
            write(root, number, [peak // 3, peak // 2, peak, peak // 2])
        (sizing,) = limits.by_command(evidence.runs(str(root)))
        assert len(sizing.peaks) == runs
        for p, _, low, high in sizing.quantiles:
            if p in hits:
                truth = 100 * MB * math.exp(0.5 * {0.5: 0.0, 0.9: 1.2815515655}[p])
                hits[p] += low <= truth <= high
    # 52 of 60 and fewer have a chance under 2 % at 95 %.
    assert all(count >= 53 for count in hits.values()), hits


def test_the_highest_peak_covers_what_is_said() -> None:
    """In 95 % of histories the share of all runs below the highest of n is at least `covers`."""
    noise, n = random.Random(5), 20
    sizing = size_up(peaks(*range(MB, MB + n)))
    assert sizing is not None
    hits = sum(max(noise.random() for _ in range(n)) >= sizing.covers for _ in range(4000))
    assert hits / 4000 == pytest.approx(0.95, abs=0.012)


def test_the_block_lives_with_all_that_was_seen() -> None:
    sizing = size_up(peaks(*(100 * MB + n * MB for n in range(100))))
    assert sizing is not None
    assert sizing.limit_bytes >= 199 * MB * 1.1 and sizing.limit_bytes % MIB == 0
    assert 189 * MB <= sizing.request_bytes <= 192 * MB and not limits.caution(sizing)
    died = {size: dead for size, dead, _, _ in sizing.smaller}
    assert sorted(died.values()) == [2, 6, 11, 26, 51] or all(dead > 0 for dead in died.values())
    for size, dead, low, high in sizing.smaller:
        assert dead == sum(100 * MB + n * MB > size for n in range(100)) and low < dead / 100 < high
    lines = limits.resources(sizing)
    assert lines[0] == "resources:" and lines[2] == f"    memory: {sizing.request_bytes // MIB}Mi"


def test_a_killed_run_wanted_more() -> None:
    sizing = size_up([*peaks(*(50 * MB for _ in range(30))), Peak("k", "app", 100 * MB, cut_off=True)])
    assert sizing is not None and sizing.cut_off == 1 and sizing.covers == 0.0
    assert "OOM-killed" in limits.caution(sizing) and sizing.limit_bytes > 100 * MB
    assert sizing.quantiles[0][3] < math.inf and sizing.quantiles[-1][3] == math.inf


def test_what_leaks_has_no_right_limit() -> None:
    sizing = size_up(peaks(100 * MB, 120 * MB, grew=True))
    assert sizing is not None and "no limit is right" in limits.caution(sizing)


def test_peaks_of_runs(tmp_path: Path) -> None:
    write(tmp_path, 1, [10 * MB, 30 * MB], peak_use_bytes=40 * MB, peak_bytes=99 * MB)
    write(tmp_path, 2, [10 * MB, 30 * MB], limit_source="machine", peak_bytes=60 * MB, guard_rss_bytes=20 * MB)
    write(tmp_path, 3, [10 * MB], outcome="oom-killed", limit_bytes=64 * MB)
    write(tmp_path, 4, [10 * MB], outcome=None)
    write(tmp_path, 5, [], command=["other"])
    found = {run.id[14]: limits.peak_of(run, list(evidence.flight(run))) for run in evidence.runs(str(tmp_path))}
    sizes = {number: peak.size_bytes for number, peak in found.items() if peak is not None}
    assert sizes == {"1": 40 * MB, "2": 80 * MB, "3": 64 * MB, "4": 10 * MB}
    (sizing,) = limits.by_command(evidence.runs(str(tmp_path)))
    assert len(sizing.peaks) == 3 and sizing.left_out == 1 and sizing.cut_off == 1


def test_where_a_smaller_limit_would_have_ended_it(tmp_path: Path) -> None:
    write(tmp_path, 1, [n * 10 * MIB for n in range(1, 11)])
    (run,) = evidence.runs(str(tmp_path))
    samples = list(evidence.flight(run))
    peak = limits.peak_of(run, samples)
    assert peak is not None
    assert [(each.limit_bytes // MIB, each.at_s) for each in limits.deaths(run, samples, peak)] == [
        (90, 9.0), (75, 7.0), (50, 5.0)
    ]  # fmt: skip


def test_words_and_document_say_the_same() -> None:
    sizing = size_up(peaks(*(100 * MB + n * MB for n in range(10))), 2, ("app", "\x1b[31m"))
    assert sizing is not None
    document = limits.document(sizing)
    json.dumps(document, allow_nan=False)
    assert document["quantiles"][-1]["to_bytes"] is None and document["left_out"] == 2
    text = limits_text([document])
    assert "no bound yet" in text and "10 runs (2 that did not end" in text and "\x1b" not in text
    assert "\n".join(f"  {line}" for line in document["resources_yaml"].splitlines()) in text
    assert limits_text([]) and size_up([]) is None
