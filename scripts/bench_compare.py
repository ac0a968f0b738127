"""Measures `guard compare` and writes docs/performance-compare.md.

    .venv/bin/python scripts/bench_compare.py [--quick]

How long it takes against Python reading and counting the lines, in turn; its memory on 500 MB. How often it is right:
`bench_compare_real.py`.
"""

import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
GUARD = [PYTHON, "-IS", str(ROOT / "bin" / "guard"), "compare"]
QUICK = "--quick" in sys.argv
STACKS, SAMPLES = 20_000, 100_000
ROUNDS = 5 if QUICK else 15
# Reads and counts the lines: weights by stack, of each of two files.
COUNT = """
import sys
for name in sys.argv[1:]:
    counts = {}
    with open(name) as file:
        for line in file:
            stack, _, weight = line.rpartition(" ")
            counts[stack] = counts.get(stack, 0) + int(weight)
"""


def profile(path: Path, seed: int, deepest: int, lines: int, shape_seed: int = 7) -> None:
    """Folded stacks of 400 functions in 60 files, up to `deepest` frames, each function seen at up to `lines` lines."""
    shape, dice = random.Random(shape_seed), random.Random(seed)
    names = [f"function_{n:03d} (/srv/app/package_{n % 23}/module_{n % 60}.py" for n in range(400)]
    stacks: set[str] = set()
    while len(stacks) < STACKS:
        depth = shape.randint(3, deepest)
        frames = [f"{names[shape.randrange(400)]}:{10 + shape.randrange(lines)})" for _ in range(depth)]
        stacks.add(";".join(["<module> (/srv/app/main.py:12)", *frames]))
    ordered = sorted(stacks)
    counts = dict.fromkeys(ordered, 1)
    for _ in range(SAMPLES - STACKS):
        counts[ordered[min(STACKS, int(dice.paretovariate(0.5))) - 1]] += 1
    path.write_text("".join(f"{stack} {weight}\n" for stack, weight in counts.items()))


# Starts the command from a process that is small, so that its peak isn't that of this one, forked.
MEASURE = """
import os, resource, sys, time
began = time.perf_counter()
null = os.open(os.devnull, os.O_WRONLY)
code = os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ,
    file_actions=[(os.POSIX_SPAWN_DUP2, null, 1)]), 0)[1])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(code, used.ru_utime + used.ru_stime, used.ru_maxrss, time.perf_counter() - began)
"""


def measured(command: list[str]) -> tuple[float, float, float]:
    """CPU seconds, peak MiB and wall seconds of a command; the peak is that of its largest process."""
    done = subprocess.run([PYTHON, "-IS", "-c", MEASURE, *command], capture_output=True, text=True, check=True)
    code, cpu_s, kib, wall_s = done.stdout.split()
    if code not in ("0", "1"):
        raise RuntimeError(done.stderr)
    return float(cpu_s), int(kib) / 1024, float(wall_s)


def speed(scratch: Path) -> list[str]:
    """The figure: two profiles of 100,000 samples and 20,000 stacks, both ways in turn."""
    rows = [
        "| profiles | | read and count | `guard compare` | ratio |",
        "|---|---|---|---|---|",
    ]
    shapes = (
        ("3 to 12 frames", 12, 3, 0),
        ("3 to 30 frames", 30, 3, 0),
        ("3 to 30, functions at 40 lines", 30, 40, 0),
        ("3 to 12, no stack in common", 12, 3, 1),
    )
    for words, deepest, lines, apart in shapes:
        paths = [str(scratch / f"{deepest}-{lines}-{side}.folded") for side in "ab"]
        for seed, path in enumerate(paths):
            profile(Path(path), seed, deepest, lines, 7 + seed * apart)
        what = f"{words}, {os.path.getsize(paths[0]) / 1e6:.1f} MB each"
        ways = ([PYTHON, "-IS", "-c", COUNT, *paths], [*GUARD, "--baseline", paths[0], "--current", paths[1]])
        times = [[measured(way) for way in ways] for _ in range(ROUNDS + 1)][1:]
        for label, place in (("CPU", 0), ("elapsed", 2)):
            one, other = (statistics.median(row[way][place] for row in times) for way in (0, 1))
            ratio = statistics.median(row[1][place] / row[0][place] for row in times)
            rows.append(f"| {what} | {label} | {one * 1e3:.0f} ms | {other * 1e3:.0f} ms | {ratio:.2f} |")
    return rows


def memory(scratch: Path) -> list[str]:
    """Peak RSS on 500 MB of distinct stacks."""
    path = scratch / "large.folded"
    size = (20 if QUICK else 500) * 1_000_000
    dice = random.Random(1)
    names = [f"function_{n:04d} (/srv/app/module_{n % 60}.py" for n in range(2000)]
    frames = [f"{name}:{line})" for name in names for line in range(1, 40)]
    with open(path, "w") as file:
        written = 0
        while written < size:
            lines = [f"{';'.join(dice.choices(frames, k=12))} {dice.randrange(1, 9)}\n" for _ in range(5000)]
            written += file.write("".join(lines))
    rows = ["| one side of | output | peak RSS | CPU |", "|---|---|---|---|"]
    small = str(scratch / "12-3-a.folded")
    for output in ("Markdown", "HTML"):
        target = [] if output == "Markdown" else ["--output", str(scratch / "x.html")]
        cpu_s, peak, _ = measured([*GUARD, "--baseline", small, "--current", str(path), *target])
        rows.append(f"| {size / 1e6:.0f} MB, all stacks distinct | {output} | {peak:.0f} MiB | {cpu_s:.1f} s |")
    path.unlink()
    return rows


def main() -> None:
    """Measure and write."""
    with tempfile.TemporaryDirectory(prefix="guard-bench-") as name:
        scratch = Path(name)
        parts = [
            "# Measured performance: `guard compare`",
            f"Written by `scripts/bench_compare.py` on {os.cpu_count()} cores, kernel {platform.release()}, "
            f"Python {platform.python_version()}; load {os.getloadavg()[0]:.1f} at the start; {ROUNDS} rounds in turn.",
            "## Two profiles of 100,000 samples and 20,000 stacks",
            "Held against Python reading both files and counting their lines (the weight of each stack). "
            "The aim is at most 3 ×. Whole commands, their start included; medians, also of the ratios within a round. "
            "A stack that both files have is taken apart once. Where they have none in common both are read at the "
            "same time: with a free core that is done sooner than its CPU time says.",
            "\n".join(speed(scratch)),
            "## Memory",
            "\n".join(memory(scratch)),
        ]
    text = "\n\n".join(parts) + "\n"
    print(text)
    if not QUICK:
        (ROOT / "docs" / "performance-compare.md").write_text(text)


if __name__ == "__main__":
    main()
