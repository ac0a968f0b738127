"""A leak as fast as Python can take memory, in a small container: how often guard's evidence names the function.

    .venv/bin/python scripts/bench_burst.py [--runs 100] [--limit 512] [--rate 800] [--answers all,clocks,none]

Every run is a whole `guard run` in a memory cgroup of its own (v1 or v2, what this machine has), which ends in an OOM
kill. `all` is guard as it is; `clocks` takes away what needs to write to the cgroup, as in a container; `none` takes
away everything that is quicker than the timer. Prints a Markdown table; exits 1 when `all` missed a run.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from supervisor import cgroup  # noqa: E402
from supervisor.analysis import folded  # noqa: E402

MIB = 1 << 20
# Beside the leak, more processor time goes to a function that keeps nothing.
LEAK = """
import sys, time
rate, kept = int(sys.argv[1]), []
def compute():
    end = time.process_time() + 0.003
    while time.process_time() < end:
        sum(range(1000))
def keep_pages():
    kept.append(b"x" * (4 << 20))
def serve():
    start, taken = time.monotonic(), 0
    while True:
        compute()
        # As much as the rate has come to since: `compute` takes none of it away.
        while taken < rate * (time.monotonic() - start):
            keep_pages()
            taken += 4 << 20
time.sleep(0.3)
serve()
"""
WITHOUT = {
    "all": "",
    "clocks": "wakeups.Wakeups._eventfd = wakeups.Wakeups._file = lambda *a: None",
    "none": "wakeups.Wakeups.take = lambda *a: ''; wakeups.Wakeups.arm = lambda *a: None; "
    "plan.before_the_end = lambda state, *a: state",
}
# guard as bin/guard starts it, with some of its answers taken away.
START = """
import _signal, sys
_signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
sys.path[:0] = {path!r}
from supervisor import plan, wakeups
{without}
from supervisor import quickparse, run
line = quickparse.parse(sys.argv[1:])
run.execute(line.given, line.command, (), None)
"""


class Group:
    """A memory cgroup below this process's own."""

    def __init__(self, limit_bytes: int) -> None:
        place = cgroup.find()
        if not place.memory:
            sys.exit("bench_burst: there is no memory cgroup here; in the VM there is: see tests/vm")
        parent = Path(place.memory[0])
        if place.memory_version == 2 and parent == Path("/sys/fs/cgroup"):
            (parent / "cgroup.subtree_control").write_text("+memory")
        self.version = place.memory_version
        self.path = parent / f"guard-bench-{os.getpid()}"
        self.path.mkdir(exist_ok=True)
        name = "memory.max" if self.version == 2 else "memory.limit_in_bytes"
        (self.path / name).write_text(str(limit_bytes))

    def enter(self) -> None:
        """Move this process in."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def close(self) -> None:
        """Remove it, as soon as the kernel lets go of it."""
        for _ in range(200):
            try:
                self.path.rmdir()
                return
            except OSError:
                time.sleep(0.01)


def one(options: argparse.Namespace, answers: str, folder: Path) -> dict[str, Any]:
    """One run to its OOM kill: what its evidence names."""
    leak = folder / "leak.py"
    leak.write_text(LEAK)
    paths = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    start = START.format(path=paths, without=WITHOUT[answers])
    line = [sys.executable, "-IS", "-c", start, "--env", "production", "--log-level", "error"]
    line += ["--profiles-dir", str(folder / "profiles"), "--", sys.executable, str(leak), str(options.rate * MIB)]
    group = Group(options.limit * MIB)
    try:
        process = subprocess.Popen(line, stderr=subprocess.DEVNULL, preexec_fn=group.enter)  # noqa: PLW1509
        try:
            code = process.wait(120)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            code = process.wait(30)
    finally:
        group.close()
    events = [json.loads(line) for path in folder.rglob("events.jsonl") for line in path.read_text().splitlines()]
    thawed = [event["elapsed_s"] for event in events if event["event"] == "target.thawed"]
    return {
        "code": code,
        "growth": any(_first(path) == "keep_pages" for path in folder.rglob("*growth.folded")),
        "stacks": any("keep_pages" in path.read_text() for path in folder.rglob("*.stacks.json")),
        "frozen_s": max(thawed, default=None),
        "late": any(event["event"] == "target.thawed" and event["level"] == "warning" for event in events),
    }


def _first(path: Path) -> str:
    counts = folded.parse(path.read_text().splitlines())
    return folded.own_functions(counts)[0].function.split(" ")[0] if counts else ""


def main() -> int:
    """All runs, the answers in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--limit", type=int, default=512, help="MiB")
    parser.add_argument("--rate", type=int, default=800, help="MiB/s")
    parser.add_argument("--answers", default="all,clocks,none")
    parser.add_argument("--keep", type=Path, help="Keep the evidence of runs that named nothing here.")
    options = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in options.answers.split(",")}
    for number in range(options.runs):
        for name, found in results.items():
            with tempfile.TemporaryDirectory() as folder:
                found.append(one(options, name, Path(folder)))
                if options.keep and not (found[-1]["growth"] or found[-1]["stacks"]):
                    os.rename(folder, options.keep / f"{name}-{number}")
                    os.mkdir(folder)
            if sys.stderr.isatty():
                print(f"\r{number + 1}/{options.runs} {name}      ", end="", file=sys.stderr)
    print(f"A leak of {options.rate} MiB/s under {options.limit} MiB, cgroup v{cgroup.find().memory_version}:\n")
    print(
        "| answers | runs | OOM kills | stacks or growth name it | growth names it first | stopped, median | longest |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, found in results.items():
        stops = [each["frozen_s"] for each in found if each["frozen_s"] is not None]
        shown = [f"{value * 1000:.0f} ms" for value in (statistics.median(stops), max(stops))] if stops else ["–", "–"]
        killed = sum(each["code"] == 137 for each in found)
        either = sum(each["growth"] or each["stacks"] for each in found)
        growth = sum(each["growth"] for each in found)
        print(f"| {name} | {len(found)} | {killed} | {either} | {growth} | {' | '.join(shown)} |")
    return any(not (each["growth"] or each["stacks"]) for each in results.get("all", []))


if __name__ == "__main__":
    sys.exit(main())
