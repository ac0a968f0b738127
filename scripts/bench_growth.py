"""How often growth attribution names the leaking function: every program of tests/integration/leaks, many times.

.venv/bin/python scripts/bench_growth.py [--runs 10] [--trap page-fault|syscall|running] [--only LEAK]

With page-fault, which is what guard takes where it may, each run is a whole `guard run`. The other traps are what is
left where perf events or ptrace are refused: there the action runs in this process with that trap put in its place.
Prints a Markdown table; exits 1 when a leak is named in fewer than nine of ten runs.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from supervisor.actions import growth  # noqa: E402
from supervisor.actions.task import Task  # noqa: E402
from supervisor.analysis import folded  # noqa: E402
from supervisor.profilers import faults, traps  # noqa: E402
from supervisor.profilers.syscalls import SyscallTrap  # noqa: E402
from tests.integration.leaks import LEAKS  # noqa: E402

TRAPS: dict[str, Callable[[int], traps.Trap]] = {
    "page-fault": faults.FaultTrap,
    "syscall": SyscallTrap,
    "running": lambda pid: traps.NoTrap(),
}
UNTIL_MB = "400"
WARNING_MB = 40
OPTIONS = ["--env", "development", "--warning", str(WARNING_MB), "--critical", "80", "--profiling", "150",
           "--interval", "200ms", "--profile-duration", "2s", "--log-format", "json"]  # fmt: skip
LEAST_SHARE = 0.9
PATIENCE_S = 120


class Outcome:
    """One run: whether the leak was first by bytes, its share of them, and the facts of the profile."""

    def __init__(self, counts: dict[str, int], name: str, meta: dict[str, Any]) -> None:
        functions = folded.own_functions(counts) if counts else []
        total = sum(counts.values())
        theirs = sum(each.self_weight for each in functions if name in each.function.split("."))
        self.first = bool(functions) and name in functions[0].function.split(".")
        self.share = theirs / total if total else 0.0
        self.winner = functions[0].function if functions else "nothing"
        self.engine = str(meta.get("engine", "none"))
        self.stacks = int(meta.get("samples", 0))
        self.longest_s = float(meta.get("longest_stop_s", 0.0))


def read(directory: Path, name: str) -> Outcome:
    """The growth profile below a directory."""
    profiles = sorted(directory.rglob("*-growth.folded"))
    if not profiles:
        return Outcome({}, name, {})
    counts = folded.parse(profiles[0].read_text().splitlines())
    return Outcome(counts, name, json.loads(profiles[0].with_suffix(".meta.json").read_text()))


def under_guard(leak: Path, name: str, directory: Path) -> Outcome:
    """One whole run of guard."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("GUARD_", "MEMORY_"))}
    command = [sys.executable, "-IS", str(ROOT / "bin" / "guard"), "run", *OPTIONS]
    command += ["--profiles-dir", str(directory), "--", sys.executable, str(leak), UNTIL_MB]
    subprocess.run(command, check=True, env=environment, cwd=directory, capture_output=True, timeout=PATIENCE_S)
    return read(directory, name)


def in_process(leak: Path, name: str, directory: Path, trap: str) -> Outcome:
    """The action alone, begun when the program holds what would be a warning, with this trap."""

    def chosen(pid: int) -> tuple[traps.Trap, str, list[dict[str, str]]]:
        return TRAPS[trap](pid), trap, []

    usual = growth.choose_trap
    target = subprocess.Popen([sys.executable, str(leak), UNTIL_MB])
    growth.choose_trap = chosen
    try:
        while rss_bytes(target.pid) < WARNING_MB * 1_000_000 and target.poll() is None:
            time.sleep(0.02)
        spec = {"action": "growth", "state": "warning", "pid": target.pid, "run": "bench", "directory": str(directory),
                "name": "001-warning-growth", "overhead_budget": 0.10}  # fmt: skip
        growth.take(Task(spec))
    finally:
        growth.choose_trap = usual
        target.kill()
        target.wait()
        # take() blocks these before it writes, as nothing comes after it in a worker.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
    return read(directory, name)


def rss_bytes(pid: int) -> int:
    """The resident size; 0 when the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, IndexError):
        return 0


def main() -> int:
    """Run and print; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, help="runs of each leak (%(default)d)")
    parser.add_argument("--trap", choices=TRAPS, default="page-fault", help="how threads are caught (%(default)s)")
    parser.add_argument("--only", choices=LEAKS, help="this leak alone")
    options = parser.parse_args()
    # A trap waits for SIGCHLD, which its caller has to have blocked; a worker of guard's does so, too.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
    print("| leak | first by bytes | median share | engine | median stacks | longest stop |")
    print("|---|---:|---:|---|---:|---:|", flush=True)
    good = True
    for leak, name in LEAKS.items():
        if options.only not in (None, leak):
            continue
        path = ROOT / "tests" / "integration" / "leaks" / f"{leak}.py"
        found: list[Outcome] = []
        for _ in range(options.runs):
            with tempfile.TemporaryDirectory() as directory:
                place = Path(directory)
                whole = options.trap == "page-fault"
                found.append(under_guard(path, name, place) if whole else in_process(path, name, place, options.trap))
            if not found[-1].first:
                print(f"{leak}: {found[-1].winner} came first", file=sys.stderr)
        first = sum(outcome.first for outcome in found)
        good = good and first >= LEAST_SHARE * options.runs
        share = statistics.median(outcome.share for outcome in found)
        stacks = statistics.median(outcome.stacks for outcome in found)
        longest_ms = max(outcome.longest_s for outcome in found) * 1000
        engines = ", ".join(sorted({outcome.engine for outcome in found}))
        row = f"| {leak} (`{name}`) | {first} of {options.runs} | {share:.1%} | {engines} | {stacks:g} |"
        print(f"{row} {longest_ms:.0f} ms |", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
