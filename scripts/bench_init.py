"""guard as an init beside tini and dumb-init: signal latency, orphans, memory. Part of scripts/bench.py."""

import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
GUARD = [PYTHON, "-IS", str(ROOT / "bin" / "guard"), "run"]
# Waits for a signal and says when it came: no handler of Python's in between, which would cost more than an init.
ANSWERS = """
import os, signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
os.write(1, b"ready\\n")
while True:
    signal.sigwait([signal.SIGUSR1])
    os.write(1, b"%d\\n" % time.monotonic_ns())
"""
# For each count on stdin: that many orphans that wait, `made`; after the next line they all end at once.
ORPHANS = """
import os, sys
for line in sys.stdin:
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        os.close(write_end)
        for _ in range(int(line)):
            if os.fork() == 0:
                os.read(read_end, 1)
                os._exit(0)
        os._exit(0)
    os.wait()
    os.close(read_end)
    os.write(1, b"made\\n")
    sys.stdin.readline()
    os.close(write_end)
"""


def ways(scratch: str) -> dict[str, list[str]]:
    """What stands in front of the target, by name; tini and dumb-init where they are installed."""
    found = {
        "guard run": [*GUARD, "--profiles-dir", scratch, "--"],
        "guard run --no-watch": [*GUARD, "--no-watch", "--"],
    }
    for name, options in (("tini", ["-s", "--"]), ("dumb-init", [])):
        if path := shutil.which(name):
            found[name] = [path, *options]
    return found


class Running:
    """A process and the init in it: the same one, or as PID 1 the child of unshare."""

    def __init__(self, process: subprocess.Popen[bytes], inside: bool) -> None:
        self.process = process
        self.pid = process.pid
        while inside and self.pid == process.pid:
            found = children(process.pid)
            self.pid = int(found[0]) if found else self.pid


@contextmanager
def running(line: list[str], *, inside: bool = False) -> Iterator[Running]:
    """The command in a session of its own, `inside` a PID namespace of its own as well; ended with KILL."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("GUARD_", "MEMORY_"))}
    unshare = ["unshare", "-pf", "--mount-proc", "--kill-child"] if inside else []
    process = subprocess.Popen([*unshare, *line], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, env=environment, start_new_session=True)  # fmt: skip
    with process:
        run = Running(process, inside)
        try:
            yield run
        finally:
            for pid in [*map(int, children(run.pid)), run.pid]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def says(run: Running) -> bytes:
    """The target's next line."""
    assert run.process.stdout is not None
    return run.process.stdout.readline()


def tells(run: Running, line: bytes) -> None:
    """A line for the target."""
    assert run.process.stdin is not None
    run.process.stdin.write(line)
    run.process.stdin.flush()


def ratio_rows(times: dict[str, list[float]], unit: float, name: str) -> list[str]:
    """A row a way: median, 95th percentile and the median's ratio to each peer's."""
    peers = [peer for peer in ("tini", "dumb-init") if peer in times]
    rows = []
    for way, values in times.items():
        middle = statistics.median(values)
        high = statistics.quantiles(values, n=20)[-1]
        ratios = [f"{middle / statistics.median(times[peer]):.2f}" for peer in peers]
        rows.append(f"| {way} | {middle * unit:.0f} {name} | {high * unit:.0f} {name} | {' | '.join(ratios)} |")
    return rows


def ratio_head(title: str, times: dict[str, list[float]]) -> list[str]:
    """The table's head for these rows."""
    peers = [peer for peer in ("tini", "dumb-init") if peer in times]
    columns = [title, "median", "95th percentile", *(f"× {peer}" for peer in peers)]
    return [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]


def signals(scratch: str, quick: bool) -> list[str]:
    """From kill(2) on the init to its target, one signal at a time, the inits in turn."""
    target = [PYTHON, "-ISc", ANSWERS]
    with ExitStack() as stack:
        processes = {name: stack.enter_context(running([*line, *target])) for name, line in ways(scratch).items()}
        direct = stack.enter_context(running(target))
        everything = {"the target itself": direct, **processes}
        for process in everything.values():
            assert says(process) == b"ready\n"
        time.sleep(3)  # guard's imports and first samples
        times: dict[str, list[float]] = {name: [] for name in everything}
        for _ in range(50 if quick else 1000):
            for name, process in everything.items():
                time.sleep(0.001)
                began = time.monotonic_ns()
                os.kill(process.pid, signal.SIGUSR1)
                times[name].append((int(says(process)) - began) / 1e9)
    return [*ratio_head("kill → target", times), *ratio_rows(times, 1e6, "µs")]


def children(pid: int) -> list[str]:
    """The children of a process with one thread, zombies included."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def orphans(scratch: str, quick: bool) -> list[str]:
    """Orphans that all end at once, until the last is reaped: bursts of 1,000 to each init as PID 1, in turn."""
    burst = 1000
    times: dict[str, list[float]] = {}
    target = [PYTHON, "-ISc", ORPHANS]
    with ExitStack() as stack:
        runs = {
            name: stack.enter_context(running([*line, *target], inside=True)) for name, line in ways(scratch).items()
        }
        for _ in range(2 if quick else 5):
            for name, run in runs.items():
                tells(run, b"%d\n" % burst)
                assert says(run) == b"made\n"
                assert len(children(run.pid)) > burst
                began = time.monotonic()
                tells(run, b"\n")
                while len(children(run.pid)) > 1:
                    time.sleep(0.0005)
                times.setdefault(name, []).append(time.monotonic() - began)
    rates = [f"{name} {burst / statistics.median(values):,.0f}" for name, values in times.items()]
    rows = [*ratio_head("1,000 orphans at once", times), *ratio_rows(times, 1e3, "ms")]
    return [*rows, "", f"Orphans in a second, at the median: {', '.join(rates)}."]


def memory(scratch: str) -> list[str]:
    """Resident memory of each init over `sleep`."""
    rows = []
    with ExitStack() as stack:
        processes = {n: stack.enter_context(running([*line, "sleep", "600"])) for n, line in ways(scratch).items()}
        time.sleep(7)
        for name, run in processes.items():
            status = Path(f"/proc/{run.pid}/status").read_text()
            figures = {line.split(":")[0]: int(line.split()[1]) for line in status.splitlines() if line.endswith(" kB")}
            rows.append(f"| {name} | {figures['VmRSS'] / 1024:.1f} MiB | {figures['RssAnon'] / 1024:.1f} MiB |")
    return ["| an init over `sleep` | RSS | anonymous |", "|---|---|---|", *rows]
