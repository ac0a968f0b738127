"""Measures how much slower guard's profiling makes three kinds of target.

Writes docs/performance-profile.md and the table on docs/practices.md.

    .venv/bin/python scripts/bench_profile.py [--quick] [--blocks N]     (9 minutes; --quick 1 minute, writes nothing)

Whole runs of a command differ by more than the effect. So each target is one long-lived process that counts its rounds
in memory shared with this one, and guard's recording is switched on and off within it: slices of a second, each with
none on either side, which is what it is held against. A machine that gets slower or busier does so for neighbours
alike. The ways come in random order; `nothing` is one of them: a slice like the others in which nothing is done.

The recording is guard's own (`actions.cpu.Recording`, which `guard profile --pid` and `guard run` start), one a way, so
that its pace learns as in one long profile, except that it starts the profiler every second instead of every third.

The first figure is by the wall clock. The second leaves out the time in which the target wanted a processor and others
had it (schedstat). The third is the share of the time in which it neither ran nor wanted to: for a target that never
sleeps that is the profiler stopping it, whatever else the machine does.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from supervisor import profiling, workers  # noqa: E402
from supervisor.actions.cpu import Recording  # noqa: E402
from supervisor.actions.task import Task  # noqa: E402
from supervisor.facts import gather  # noqa: E402
from supervisor.model import Start  # noqa: E402
from supervisor.settings import PRESETS  # noqa: E402

QUICK = "--quick" in sys.argv
NOTHING = "nothing"
WAYS = (NOTHING, "dev", "prod", "ci")
SLICE_S = 1.0
CONFIDENCE_Z = 1.96
COMMON = """
import mmap, os, sys, threading, time

with open(sys.argv[1], "r+b") as file:
    rounds = memoryview(mmap.mmap(file.fileno(), 8)).cast("Q")

def burn(count):
    for _ in range(count):
        rounds[0] += 1
        step(rounds[0])

def step(number):
    total = 0
    for each in range(200):
        total += each * number
    return total
"""
TARGETS = {
    "CPU-bound": COMMON + "while True:\n    burn(1000)\n",
    "I/O-bound": COMMON
    + """
read_end, write_end = os.pipe()
def answer():
    while os.read(read_end, 64):
        time.sleep(0.002)
        done.release()
done = threading.Semaphore(0)
threading.Thread(target=answer, daemon=True).start()
while True:
    os.write(write_end, b"x")
    done.acquire()
    burn(20)
""",
    "64 threads": COMMON
    + """
stop = threading.Event()
for _ in range(63):
    threading.Thread(target=stop.wait, daemon=True).start()
while True:
    burn(1000)
""",
}
SLEEPLESS = ("CPU-bound", "64 threads")
# How often each way is on: little disturbs a target that mostly sleeps.
BLOCKS = {"CPU-bound": 26, "I/O-bound": 12, "64 threads": 26}


class Reading:
    """The target at one moment: rounds done; seconds of the clock; what its main thread ran and waited to run."""

    def __init__(self, pid: int, rounds: memoryview) -> None:
        with open(f"/proc/{pid}/task/{pid}/schedstat") as file:
            words = file.read().split()
        self.clock_s = time.monotonic()
        self.rounds = rounds[0]
        self.ran_s, self.waited_s = int(words[0]) / 1e9, int(words[1]) / 1e9


class Slice:
    """What the target did between two moments: rounds a second, the same without waits, the share it was stopped."""

    def __init__(self, before: Reading, after: Reading) -> None:
        rounds, clock_s = after.rounds - before.rounds, after.clock_s - before.clock_s
        waited_s = after.waited_s - before.waited_s
        self.clock_s = clock_s
        self.rate = max(1, rounds) / clock_s
        self.own_rate = max(1, rounds) / max(1e-9, clock_s - waited_s)
        self.stopped = 1 - (after.ran_s - before.ran_s + waited_s) / clock_s
        self.waited = waited_s / clock_s


class Figures:
    """What one way did to one target, slice by slice: logs of rates against those of the neighbours, shares stopped."""

    def __init__(self) -> None:
        self.slower: list[float] = []
        self.own: list[float] = []
        self.stopped: list[float] = []

    def add(self, before: Slice, on: Slice, after: Slice) -> None:
        """Take in a slice and its neighbours."""
        self.slower.append(math.log(before.rate * after.rate) / 2 - math.log(on.rate))
        self.own.append(math.log(before.own_rate * after.own_rate) / 2 - math.log(on.own_rate))
        self.stopped.append(on.stopped - (before.stopped + after.stopped) / 2)


def interval(values: list[float]) -> tuple[float, float, float]:
    """The middle of symmetric values and its 95 % interval: Hodges and Lehmann's estimate, by Wilcoxon's test.

    Slices on and off are exchangeable where profiling costs nothing, so their log ratios are symmetric.
    """
    count = len(values)
    means = sorted((values[i] + values[j]) / 2 for i in range(count) for j in range(i, count))
    error = math.sqrt(count * (count + 1) * (2 * count + 1) / 24)
    edge = max(0, math.floor(len(means) / 2 - CONFIDENCE_Z * error))
    return means[edge], statistics.median(means), means[-1 - edge]


def recording(pid: int, way: str, scratch: str) -> Recording:
    """A recording of the target as `guard profile --mode` makes it."""
    config = profiling.settle({}, dict(os.environ), way, pid)
    start = Start("cpu-profile", "profiling", pid, "a measurement")
    place: dict[str, Any] = {"directory": scratch, "name": f"{way}-{pid}", "run": "", "command": [], "duration": None}
    return Recording(Task(workers.spec_of(config, start, None, **place)))


def measured(name: str, blocks: int, scratch: str) -> tuple[dict[str, Figures], dict[str, Recording], float]:
    """Figures of each way, the recordings, and the share of the time that the target waited when left alone."""
    script, shared = Path(scratch, "target.py"), Path(scratch, "rounds")
    script.write_text(TARGETS[name])
    shared.write_bytes(bytes(8))
    target = subprocess.Popen([sys.executable, "-I", "-S", str(script), str(shared)])
    try:
        with open(shared, "rb") as file:
            rounds = memoryview(mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)).cast("Q")
        while not rounds[0]:
            time.sleep(0.05)
        time.sleep(0.5)
        recordings = {way: recording(target.pid, way, scratch) for way in WAYS if way != NOTHING}
        for each in recordings.values():
            each.slice(SLICE_S)  # the first rests on a guess, as the first second of a profile does
        figures = {way: Figures() for way in WAYS}
        waited: list[float] = []
        order = random.Random(time.time_ns())
        length_s = SLICE_S

        def passed(way: str) -> Slice:
            before = Reading(target.pid, rounds)
            if way in recordings:
                recordings[way].slice(SLICE_S)
            else:
                time.sleep(length_s)
            return Slice(before, Reading(target.pid, rounds))

        off = passed(NOTHING)
        for number in range(blocks):
            for way in order.sample(WAYS, len(WAYS)):
                on = passed(way)
                if way != NOTHING:
                    length_s = on.clock_s
                after = passed(NOTHING)
                waited.append(after.waited)
                figures[way].add(off, on, after)
                off = after
            print("." if (number + 1) % 10 else number + 1, end="", flush=True)
    finally:
        target.kill()
        target.wait()
    print(flush=True)
    return figures, recordings, statistics.mean(waited)


def table(name: str, blocks: int, scratch: str) -> tuple[list[str], float]:
    """The table's lines of one target, and how much it waited."""
    figures, recordings, waited = measured(name, blocks, scratch)
    lines = []
    for way, found in figures.items():
        budget = None if way == NOTHING else PRESETS[profiling.MODES[way]].values["overhead-budget"]
        verdicts = [_verdict(interval(found.slower), budget)]
        cells = [name, way, _shown(found.slower), _shown(found.own), "", "", "", ""]
        if name in SLEEPLESS:
            cells[4] = _shown(found.stopped, digits=2)
            verdicts.append(_verdict(interval(found.stopped), budget))
        if budget is not None:
            rates = [entry["rate_hz"] for entry in recordings[way].tally.rates for _ in range(round(entry["seconds"]))]
            cells[5:] = f"{budget * 100:.3g} %", ", ".join(verdicts), f"{statistics.median(rates):.4g} Hz"
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return lines, waited


def _verdict(found: tuple[float, float, float], budget: float | None) -> str:
    low, _, high = found
    return "" if budget is None else "inside" if high <= budget else "over" if low > budget else "open"


def _shown(values: list[float], digits: int = 1) -> str:
    low, middle, high = (math.expm1(each) * 100 for each in interval(values))
    return f"{middle:+.{digits}f} % ({low:+.{digits}f} to {high:+.{digits}f})"


def practices(text: str, lines: list[str]) -> str:
    """The table on docs/practices.md with the figures of the CPU-bound target."""
    found = {cells[1]: cells for line in lines if (cells := line.split(" | "))[0] == "| CPU-bound"}
    rows = []
    for row in text.splitlines():
        cells = row.split(" | ")
        new = found.get(cells[1].strip("`")) if len(cells) == 6 else None
        rows.append(" | ".join([*cells[:2], new[2], new[4], *cells[4:]]) if new else row)
    return "\n".join(rows) + "\n"


def _policy() -> str:
    if os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR):
        return ", target and profiler under a real-time policy (`chrt -r 1`)"
    return ""


def main() -> None:
    """Measure, print, write."""
    given = dict(zip(sys.argv, sys.argv[1:], strict=False)).get("--blocks")
    blocks = {name: int(given) if given else 3 if QUICK else count for name, count in BLOCKS.items()}
    lines, waits = [], []
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        for name, count in blocks.items():
            print(f"{name}, {count} blocks ", end="", flush=True)
            found, waited = table(name, count, scratch)
            lines += found
            waits.append(f"{name} {waited:.1%}")
    counts = ", ".join(f"{name} {count}" for name, count in blocks.items())
    text = (
        f"""# What profiling costs

Written by `scripts/bench_profile.py`: {gather(dict(os.environ)).cores:g} cores, kernel {os.uname().release}, Python \
{sys.version.split()[0]}; load {load:.1f} before, {os.getloadavg()[0]:.1f} after{_policy()}.

Each target is one process that counts its rounds; guard's recording is switched on and off in it for a second at a
time, in random order, and each slice is held against its two neighbours in which nothing was done. Slices a way:
{counts}. Estimates and 95 % intervals are Hodges and Lehmann's, of the logs of the ratios.

*Slower* is by the wall clock; *without waits* leaves out the time in which the target wanted a processor and others had
it (left alone that was {", ".join(waits)}); *stopped* is the share of the time in which it neither ran nor wanted
to, measured by the kernel for targets that never sleep. The verdicts are about *slower* and *stopped*: `inside` when
the whole interval is inside the budget, `open` when it reaches beyond, `over` when all of it does. `nothing` is a slice
in which nothing was done, held against its neighbours in the same way: what is left there is the machine.

| target | mode | slower | without waits | stopped | budget | verdicts | rate |
|---|---|---|---|---|---|---|---|
"""
        + "\n".join(lines)
        + "\n"
    )
    if not QUICK:
        (ROOT / "docs" / "performance-profile.md").write_text(text)
        page = ROOT / "docs" / "practices.md"
        page.write_text(practices(page.read_text(), lines))
    print(json.dumps({"blocks": blocks, "load": os.getloadavg()}))


if __name__ == "__main__":
    main()
