"""What scripts/bench_profile.py makes of its figures: the interval, and the table on docs/practices.md."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_profile", ROOT / "scripts" / "bench_profile.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_interval_by_hand(bench: ModuleType) -> None:
    # Six values: the 21 means of pairs, of which 0.5 x 21 - 1.96 x sqrt(22.75) = 1.2 are cut off at either end.
    values = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    means = sorted((values[i] + values[j]) / 2 for i in range(6) for j in range(i, 6))
    assert bench.interval(values) == (means[1], means[10], means[19])


def test_the_interval_holds_the_middle_as_often_as_it_says(bench: ModuleType) -> None:
    dice = random.Random(3)
    missed = 0
    for _ in range(400):
        # Now and then a slice in which something else had the machine.
        low, _, high = bench.interval([dice.gauss(0.02, 0.2 if dice.random() < 0.2 else 0.01) for _ in range(26)])
        missed += not low <= 0.02 <= high
    assert missed <= 36  # 20 expected; more come once in 3,000 times


def test_the_table_on_the_practices_page_takes_the_new_figures(bench: ModuleType) -> None:
    page = (ROOT / "docs" / "practices.md").read_text()
    lines = [
        f"| CPU-bound | {way} | +1.{n} % (+0.5 to +2.5) | +1.0 % | +0.{n}0 % (+0.1 to +0.2) | 3 % | inside | 9 Hz |"
        for n, way in enumerate(("nothing", "dev", "prod", "ci"))
    ]
    new = bench.practices(page, [*lines, lines[1].replace("CPU-bound", "64 threads").replace("+1.1", "+7.7")])
    assert "| production | `prod` | +1.2 % (+0.5 to +2.5) | +0.20 % (+0.1 to +0.2) | 3 % | always" in new
    assert [line for line in new.splitlines() if line not in page.splitlines()] == [
        line for line in new.splitlines() if "+0.5 to +2.5" in line
    ]
    assert new.count("+0.5 to +2.5") == 3 and "+7.7" not in new
