"""Measures how much slower `guard profile` makes three kinds of target; writes docs/performance-profile.md.

    .venv/bin/python scripts/bench_profile.py [--quick]

Every block runs each way once, in random order; a block gives one ratio a way. On a busy machine the wall clock shows
above all who else was there, so the target's main thread tells what the kernel counted of it (schedstat): how long it
ran and how long it waited for a processor. What is left of its life is sleep and being stopped: for a target that never
sleeps that is the profiler's doing, whatever else the machine does. `chrt -r 1` in front of it all keeps the target and
its profiler from waiting for others.
"""

import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from supervisor import overhead  # noqa: E402
from supervisor.facts import gather  # noqa: E402

QUICK = "--quick" in sys.argv
WAYS = (overhead.NONE, overhead.WATCH, "dev", "prod", "ci")
BLOCKS = 2 if QUICK else 9
COMMON = """
import os, sys, threading, time

def burn(rounds):
    total = 0
    for number in range(rounds):
        total += step(number)
    return total

def step(number):
    total = 0
    for each in range(200):
        total += each * number
    return total

def tell():
    # Of the main thread since it began: seconds of life, on a processor, waiting for one.
    life = time.monotonic() - began
    with open("/proc/thread-self/schedstat") as file:
        ran, waited = (int(word) / 1e9 for word in file.read().split()[:2])
    with open(sys.argv[1], "a") as file:
        file.write(f"{life} {ran - ran_before} {waited - waited_before}\\n")

began = time.monotonic()
with open("/proc/thread-self/schedstat") as file:
    ran_before, waited_before = (int(word) / 1e9 for word in file.read().split()[:2])
"""
TARGETS = {
    "CPU-bound": COMMON + "burn(ROUNDS)\ntell()\n",
    "I/O-bound": COMMON
    + """
read_end, write_end = os.pipe()
def answer():
    while data := os.read(read_end, 64):
        time.sleep(0.002)
        done.release()
done = threading.Semaphore(0)
threading.Thread(target=answer, daemon=True).start()
for number in range(ROUNDS // 250):
    os.write(write_end, b"x")
    done.acquire()
    burn(20)
tell()
""",
    "64 threads": COMMON
    + """
stop = threading.Event()
threads = [threading.Thread(target=stop.wait) for _ in range(63)]
for thread in threads:
    thread.start()
burn(ROUNDS)
tell()
stop.set()
""",
}


SLEEPLESS = ("CPU-bound", "64 threads")


class Told:
    """An executor around another that reads what the target tells of itself: `life_s`, `ran_s`, `waited_s`."""

    def __init__(self, inner: overhead.Processes, path: str) -> None:
        self._inner = inner
        self._path = path
        self.life_s = self.ran_s = self.waited_s = 0.0

    def run(self, way: str) -> overhead.Timing:
        """One run."""
        timing = self._inner.run(way)
        with open(self._path) as file:
            self.life_s, self.ran_s, self.waited_s = map(float, file.read().split())
        os.unlink(self._path)
        return timing


class Block:
    """One run a way: as measured, without waits, and the share of its life that the target neither ran nor waited."""

    def __init__(self) -> None:
        self.wall: overhead.Block = {}
        self.own: overhead.Block = {}
        self.stopped: dict[str, float] = {}
        self.waited: dict[str, float] = {}

    def add(self, way: str, told: Told) -> None:
        """Run one way."""
        timing = told.run(way)
        self.wall[way] = timing
        self.own[way] = overhead.Timing(timing.life_s - told.waited_s, timing.whole_s, timing.code, timing.note)
        self.stopped[way] = 1 - (told.ran_s + told.waited_s) / told.life_s
        self.waited[way] = told.waited_s / told.life_s


def blocks(told: Told) -> Iterator[Block]:
    """All blocks but the first."""
    order = random.Random(1)
    for number in range(BLOCKS + 1):
        block = Block()
        for way in order.sample(WAYS, len(WAYS)):
            block.add(way, told)
        if number:
            yield block
            print(".", end="", flush=True)


def rounds_for(seconds: float) -> int:
    """How many rounds of `burn` take so long here, other work on the machine left out."""
    space: dict[str, object] = {}
    exec(COMMON, space)
    burn = space["burn"]
    assert callable(burn)
    began_s = time.process_time()
    burn(20_000)
    return int(20_000 * seconds / (time.process_time() - began_s))


def measure(name: str, rounds: int, scratch: str) -> list[str]:
    """The table's lines of one target."""
    path = os.path.join(scratch, "waited")
    script = os.path.join(scratch, "target.py")
    Path(script).write_text(TARGETS[name].replace("ROUNDS", str(rounds)))
    guard = [sys.executable, "-IS", str(ROOT / "bin" / "guard")]
    told = Told(overhead.Processes([sys.executable, script, path], guard, scratch), path)
    found = list(blocks(told))
    wall = overhead.summarise([block.wall for block in found], WAYS)
    own = overhead.summarise([block.own for block in found], WAYS)
    waited = statistics.median(block.waited[overhead.NONE] for block in found)
    print(f"\n{name}: without guard it waited for a processor {waited * 100:.0f} % of the time", flush=True)
    lines = []
    for row, lean in zip(wall, own, strict=True):
        budget = "" if row.budget is None else f"{row.budget * 100:.3g} %"
        rate = "" if row.rate_hz is None else f"{row.rate_hz:.4g} Hz"
        cells = [name, row.way, f"{row.median_s:.2f} s", "", "", "", budget, "", rate]
        if row.way != overhead.NONE:
            cells[3], cells[4] = _interval(row.overhead, row.interval), _interval(lean.overhead, lean.interval)
            cells[7] = row.verdict if row.budget is not None else ""
        if name in SLEEPLESS:
            shares = [block.stopped[row.way] for block in found]
            low, high, _ = overhead.median_interval(shares)
            cells[5] = _interval(statistics.median(shares), (low, high), digits=2)
            if row.budget is not None:
                cells[7] += ", " + ("inside" if high <= row.budget else "over" if low > row.budget else "open")
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return lines


def _interval(middle: float, interval: tuple[float, float], digits: int = 1) -> str:
    low, high = interval
    return f"{middle * 100:+.{digits}f} % ({low * 100:+.{digits}f} to {high * 100:+.{digits}f})"


def _policy() -> str:
    if os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR):
        return ", target and profiler under a real-time policy (`chrt -r 1`)"
    return ""


def main() -> None:
    """Measure, print, write."""
    lines: list[str] = []
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        rounds = rounds_for(1.0 if QUICK else 3.0)
        for name in TARGETS:
            lines += measure(name, rounds, scratch)
    cores = gather(dict(os.environ)).cores
    _, _, coverage = overhead.median_interval([float(each) for each in range(BLOCKS)])
    text = [
        "# What profiling costs",
        "",
        f"Written by `scripts/bench_profile.py`: {cores:g} cores, kernel {os.uname().release}, Python "
        f"{sys.version.split()[0]}; load {load:.0f} before, {os.getloadavg()[0]:.0f} after{_policy()}.",
        f"{BLOCKS} blocks, each way once a block in random order; median of the blocks' ratios with an interval of "
        f"{coverage * 100:.0f} % confidence.",
        "",
        "*Slower* is by the wall clock; *without waits* leaves out the time in which the target wanted a processor",
        "and others had it; *stopped* is the share of its life in which it neither ran nor wanted to, measured by the",
        "kernel for targets that never sleep. The verdicts are about *slower* and *stopped*: `inside` when the whole",
        "interval is inside the budget, `open` when it reaches beyond. How wide an interval is where nothing is",
        "profiled (`watch`) tells how much of it is the machine.",
        "",
        "| target | way | life | slower | without waits | stopped | budget | verdicts | rate |",
        "|---|---|---|---|---|---|---|---|---|",
        *lines,
    ]
    if not QUICK:
        (ROOT / "docs" / "performance-profile.md").write_text("\n".join(text) + "\n")
    print(json.dumps({"blocks": BLOCKS, "load": os.getloadavg()}))


if __name__ == "__main__":
    main()
