"""Measures guard against bare Python, tini and dumb-init, in turn in one run, and writes docs/performance.md.

    .venv/bin/python scripts/bench.py [--quick] [--only SECTION ...]

With --only the other sections stay as they were measured.

Figures are medians and ratios of one run on one machine; a noisy machine moves both sides of a ratio.
"""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts import bench_init  # noqa: E402
from supervisor import cgroup, sample  # noqa: E402

PYTHON = sys.executable
GUARD = [PYTHON, "-IS", str(ROOT / "bin" / "guard")]
QUICK = "--quick" in sys.argv
MIB = 1 << 20
# Tells when it runs: the first thing it does is to write.
FIRST = ["/bin/echo", "x"]
LEAK = """
import os, sys, time
rate, threshold, most = (int(word) for word in sys.argv[1:])
page, held, told = os.sysconf("SC_PAGESIZE"), [], False
step = max(1, rate // 100)
start = time.monotonic()
while True:
    held.append(b"x" * step)
    with open("/proc/self/statm") as file:
        rss = int(file.read().split()[1]) * page
    if not told and rss >= threshold:
        told = True
        print(time.time(), flush=True)
    if rss > most:
        time.sleep(8)  # two of the longest waits
        break
    time.sleep(max(0.0, start + len(held) * step / rate - time.monotonic()))
"""


def median(values: list[float]) -> float:
    """The median."""
    return statistics.median(values)


def clean() -> dict[str, str]:
    """The environment without settings of guard's."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("GUARD_", "MEMORY_"))}


def first_output(command: list[str]) -> float:
    """Seconds from the start of the command to its target's first byte."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=clean()) as process:
        assert process.stdout is not None
        os.read(process.stdout.fileno(), 1)
        return time.perf_counter() - began


def whole(command: list[str]) -> float:
    """Seconds of a whole command."""
    began = time.perf_counter()
    subprocess.run(command, env=clean(), check=True)
    return time.perf_counter() - began


def start_up(scratch: str) -> list[str]:
    """First instruction of the target."""
    ways: dict[str, Callable[[], float]] = {
        "`python -I -S -c pass`, whole": lambda: whole([PYTHON, "-I", "-S", "-c", "pass"]),
        "the target alone": lambda: first_output(FIRST),
        "guard run": lambda: first_output([*GUARD, "run", "--profiles-dir", scratch, "--", *FIRST]),
        "guard run --no-watch": lambda: first_output([*GUARD, "run", "--no-watch", "--", *FIRST]),
    }
    for name, options in (("tini", ["-s", "--"]), ("dumb-init", [])):
        if found := shutil.which(name):
            ways[name] = lambda found=found, options=options: first_output([found, *options, *FIRST])  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(5 if QUICK else 40):
        for name, way in ways.items():
            times[name].append(way())
    bare = median(times["`python -I -S -c pass`, whole"])
    rows = [f"| {name} | {median(t) * 1e3:.1f} ms | {median(t) / bare:.2f} |" for name, t in times.items()]
    return ["| to the target's first output | median | × bare Python |", "|---|---|---|", *rows]


def memory(pid: int) -> tuple[float, float]:
    """RSS and anonymous MiB of a process."""
    figures = sample.memory_detail(pid)
    return figures["rss"] / MIB, figures["anonymous"] / MIB


def footprint(scratch: str) -> list[str]:
    """guard's own memory, and its CPU time at the default interval."""
    rows = []
    for name, options in (("watching", ["--profiles-dir", scratch]), ("--no-watch", ["--no-watch"])):
        line = [*GUARD, "run", *options, "--", "sleep", "600"]
        with subprocess.Popen(line, stderr=subprocess.DEVNULL, env=clean()) as guard:
            time.sleep(7 if name == "watching" else 1)
            rss, anonymous = memory(guard.pid)
            before, began = cpu_s(guard.pid), time.monotonic()
            time.sleep(10 if QUICK else 60)
            share = (cpu_s(guard.pid) - before) / (time.monotonic() - began)
            guard.send_signal(signal.SIGTERM)
            guard.wait()
        rows.append(f"| {name} | {rss:.1f} MiB | {anonymous:.1f} MiB | {share * 100:.3f} % |")
    return ["| guard itself, target `sleep` | RSS | anonymous | of one core |", "|---|---|---|---|", *rows]


def cpu_s(pid: int) -> float:
    """Seconds on a processor, to the nanosecond."""
    return int((cgroup.read_text(f"/proc/{pid}/schedstat") or "0").split()[0]) / 1e9


def sampling() -> list[str]:
    """One sample of a tree against a bare read of the same files."""
    rows = []
    for count in (10, 100, 500):
        children = [subprocess.Popen(["sleep", "600"]) for _ in range(count)]
        try:
            place = cgroup.find()
            sampler = sample.Sampler(place, cgroup.machine_memory() or 0, "rss", None)
            files = [f"/proc/{c.pid}/{name}" for c in children for name in ("stat", f"task/{c.pid}/children")]
            for directory in place.memory:
                files += [str(path) for path in Path(directory).glob("memory.*") if path.name in CGROUP_FILES]
            sampler.take(())
            bare, taken = [], []
            for _ in range(50):
                began = time.perf_counter()
                for path in files:
                    fd = os.open(path, os.O_RDONLY)
                    os.read(fd, 16384)
                    os.close(fd)
                middle = time.perf_counter()
                sampler.take(())
                taken.append(time.perf_counter() - middle)
                bare.append(middle - began)
            ratio = median([one / other for one, other in zip(taken, bare, strict=True)])
            rows.append(f"| {count} | {median(bare) * 1e6:.0f} µs | {median(taken) * 1e6:.0f} µs | {ratio:.2f} |")
        finally:
            for child in children:
                child.kill()
                child.wait()
    return ["| processes | bare read | a sample | ratio |", "|---|---|---|---|", *rows]


CGROUP_FILES = (
    "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat", "memory.oom_control",
    "memory.max", "memory.current", "memory.events",
)  # fmt: skip


def crossing(scratch: str) -> list[str]:
    """From a threshold's crossing to its event."""
    rows = []
    for rate in (10, 100, 800):
        delays = []
        for _ in range(1 if QUICK else 5):
            threshold = 100
            most = threshold + max(80, rate) if rate < 800 else 4000
            arguments = [str(rate * MIB), str(threshold * 10**6), str(most * 10**6)]
            options = ["--warning", str(threshold), "--critical", "15GB", "--profiling", "16GB", "--no-profiling"]
            line = [*GUARD, "run", *options, "--profiles-dir", scratch, "--", PYTHON, "-c", LEAK, *arguments]
            done = subprocess.run(line, capture_output=True, text=True, env=clean())
            changed = [e for e in map(json_or_none, done.stderr.splitlines()) if e and e["event"] == "state.changed"]
            if changed and done.stdout:
                at = time.strptime(changed[0]["timestamp"][:19], "%Y-%m-%dT%H:%M:%S")
                event_s = calendar_s(at) + float("0" + changed[0]["timestamp"][19:-1])
                delays.append(event_s - float(done.stdout.split()[0]))
        shown = f"{median(delays):.2f} s | {max(delays):.2f} s" if delays else "not seen | not seen"
        rows.append(f"| {rate} MiB/s | {shown} | {len(delays)} |")
    head = "| leak, no cgroup limit near, default interval | median | longest | runs seen |"
    return [head, "|---|---|---|---|", *rows]


def calendar_s(at: time.struct_time) -> float:
    """Seconds since the epoch of a UTC time."""
    import calendar

    return float(calendar.timegm(at))


def json_or_none(line: str) -> dict[str, Any] | None:
    """A JSON object, or None."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def main() -> None:
    """Measure, print, write."""
    machine = f"{os.cpu_count()} cores, kernel {os.uname().release}, Python {sys.version.split()[0]}"
    head = f"Written by `scripts/bench.py` on {machine}. Medians of one run, in turn."
    only = sys.argv[sys.argv.index("--only") + 1 :] if "--only" in sys.argv else []
    page = ROOT / "docs" / "performance.md"
    kept = dict(part.split("\n\n", 1) for part in page.read_text().split("\n## ")[1:])
    parts = ["# Measured performance", "", head]
    with tempfile.TemporaryDirectory() as scratch:
        sections: tuple[tuple[str, Callable[[], list[str]]], ...] = (
            ("Start", lambda: start_up(scratch)),
            ("Signals", lambda: bench_init.signals(scratch, QUICK)),
            ("Orphans", lambda: bench_init.orphans(scratch, QUICK)),
            ("Memory beside other inits", lambda: bench_init.memory(scratch)),
            ("Memory and CPU", lambda: footprint(scratch)),
            ("One sample", sampling),
            ("From crossing to event", lambda: crossing(scratch)),
        )
        for title, measure in sections:
            if only and title not in only:
                if title in kept:
                    parts += ["", f"## {title}", "", kept[title].strip()]
                continue
            table = measure()
            print("\n".join(["", title, *table]), flush=True)
            parts += ["", f"## {title}", "", *table]
    if not QUICK:
        page.write_text("\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
