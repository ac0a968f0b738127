"""Measures how often `guard compare` is right on real profiles and writes docs/performance-verdicts.md.

    .venv/bin/python scripts/bench_compare_real.py [--quick]     (8 minutes; --quick 1 minute, writes nothing)

A pool of profiles is recorded, of a small program as it is and with one function made 20 % slower, both in random
order; the sides of a comparison are drawn from it, so that no profile is on both. Everything is done as docs/compare.md
tells users to: `guard profile --cpu --mode critical --output FILE.md`, several profiles a side, in turn.
"""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from supervisor.analysis import compare, formats, outcome  # noqa: E402
from supervisor.analysis.reading import Reading  # noqa: E402

QUICK = "--quick" in sys.argv
PYTHON = sys.executable
PROGRAM = ROOT / "tests" / "fixtures" / "profiles" / "program.py"
SLOWED = "checksum"
ROUNDS = "180"  # of the program: some five seconds
SAME, SLOWER = "1.0", "1.2"
COUNTS = {SAME: 6, SLOWER: 6} if QUICK else {SAME: 40, SLOWER: 26}
SIZES = (1, 3) if QUICK else (1, 5, 8, 12)
PAIRS = 100


def recorded(factor: str, path: Path, scratch: Path) -> Reading:
    """One profile by guard, as docs/compare.md has it. Raises RuntimeError when it can't be made."""
    line = [PYTHON, "-IS", str(ROOT / "bin" / "guard"), "profile", "--cpu", "--mode", "critical", "--quiet"]
    line += ["--profiles-dir", str(scratch / "profiles"), "--output", str(path), "--"]
    line += [PYTHON, "-I", "-S", str(PROGRAM), factor, ROUNDS]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(line, capture_output=True, text=True, env=environment, timeout=600, check=False)
    if done.returncode or not path.exists():
        raise RuntimeError(done.stderr)
    return formats.read(str(path))


def pool(scratch: Path) -> dict[str, list[Reading]]:
    """All profiles, recorded in random order."""
    order = [factor for factor, count in COUNTS.items() for _ in range(count)]
    random.Random(time.time_ns()).shuffle(order)
    found: dict[str, list[Reading]] = {factor: [] for factor in COUNTS}
    for number, factor in enumerate(order):
        found[factor].append(recorded(factor, scratch / f"{number:03d}.md", scratch))
        print(".", end="", flush=True)
    print(flush=True)
    return found


def judged(profiles: dict[str, list[Reading]], size: int, seed: int) -> tuple[bool, bool, bool, float | None]:
    """One draw of a size: a false alarm, whether the slower function was found, whether another one was named
    beside it and its callers, and the smallest change that could have been seen.
    """
    dice = random.Random(seed)
    same = dice.sample(profiles[SAME], 2 * size)
    alarm = compare.compare(same[:size], same[size:]).verdict != outcome.UNCHANGED
    found = compare.compare(same[:size], dice.sample(profiles[SLOWER], size))
    named = {row.function for row in found.of(outcome.REGRESSION) if not row.minor}
    better = any(not row.minor for row in found.of(outcome.IMPROVEMENT))
    slowed = next(row for row in found.rows if row.function == SLOWED)
    callers = {"handle", "main", "<module>"}
    return alarm, SLOWED in named, better or bool(named - {SLOWED} - callers), slowed.self_time.detectable


def table(profiles: dict[str, list[Reading]]) -> list[str]:
    """A line a size."""
    lines = [
        "| profiles a side | A/A pairs | false alarms | 20 % slower | found | another function named, too | smallest "
        "change seen 95 times in 100 (median) |",
        "|---|---|---|---|---|---|---|",
    ]
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        for size in SIZES:
            seeds = [size * 1000 + number for number in range(PAIRS)]
            many = [profiles] * PAIRS
            rows = list(workers.map(judged, many, [size] * PAIRS, seeds, chunksize=10))
            alarms, hits, wrong = (sum(bool(row[place]) for row in rows) for place in range(3))
            least = statistics.median(9.99 if row[3] is None else row[3] for row in rows)
            lines.append(f"| {size} | {PAIRS} | {alarms} | {PAIRS} | {hits} | {wrong} | ±{least:.0%} |")
            print(lines[-1], flush=True)
    return lines


def varied(values: list[float]) -> float:
    """The standard deviation as a part of the mean."""
    return statistics.stdev(values) / statistics.mean(values)


def page(profiles: dict[str, list[Reading]], lines: list[str], load: float) -> str:
    """What is written."""
    same = profiles[SAME]
    slow = [sum(each.self_weight for key, each in reading.functions.items() if key[0] == SLOWED) for reading in same]
    shares = [weight / reading.total for weight, reading in zip(slow, same, strict=True)]
    samples = statistics.median(reading.samples for reading in same)
    return (
        f"""# How often `guard compare` is right

Written by `scripts/bench_compare_real.py` on {os.cpu_count()} cores, kernel {platform.release()}, Python \
{platform.python_version()}; load {load:.1f} at the start, {os.getloadavg()[0]:.1f} at the end.

{len(same)} profiles of `tests/fixtures/profiles/program.py` as it is and {len(profiles[SLOWER])} with `{SLOWED}` made
20 % slower, recorded in random order by `guard profile --cpu --mode critical`; the sides of each comparison are drawn
from them at random, none on both sides. Another pool than the one that the method was chosen on.

A profile has {samples:,.0f} samples (the median), `{SLOWED}` {statistics.mean(shares):.0%} of them. From run to run the
program's time varied by {varied([float(reading.total) for reading in same]):.1%} (standard deviation), that share by \
{varied(shares):.1%}; sampling alone makes it vary by \
{((1 - statistics.mean(shares)) / statistics.mean(slow)) ** 0.5:.1%}.

"""
        + "\n".join(lines)
        + "\n"
    )


def main() -> None:
    """Record, compare, write."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="guard-bench-") as name:
        profiles = pool(Path(name))
        text = page(profiles, table(profiles), load)
    print(text)
    if not QUICK:
        (ROOT / "docs" / "performance-verdicts.md").write_text(text)
    print(json.dumps({"load": os.getloadavg()}))


if __name__ == "__main__":
    main()
