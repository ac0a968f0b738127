"""CPU profile of machine code by perf: the kernel reads the stacks, and nobody stops for it.

Stacks are followed by frame pointers, which Go has on x86-64 and ARM, and which most C and C++ leave out; so guard's
own unwinder comes first where it is written for the processor. Sources: perf-record(1), perf-script(1),
perf_event_open(2).
"""

from __future__ import annotations

import os
import re
import time

from supervisor.analysis import folded
from supervisor.profilers import native, pace, permission, recorder, runner
from supervisor.profilers.tool import Tool

INSTALL = "apt-get install linux-perf (Debian), linux-tools-generic (Ubuntu), perf (Fedora, Arch, Alpine)"
_RATE_HZ = 99
_SLACK_S = 10.0  # perf reads what the machine has mapped before and after
_SCRIPT_S = 30.0
_LAST_SCRIPT_S = 2.0  # when guard wants to end
_MOST_FRAMES = 127  # sysctl kernel.perf_event_max_stack
_REFUSED = ("permission", "not permitted", "perf_event_paranoid", "access to performance monitoring")
TOOL = Tool(
    "perf",
    "no perf on PATH",
    INSTALL,
    lambda pid: f"perf record --call-graph fp --pid {pid}",
    gone=("no such process",),
    rules=(
        (_REFUSED, "perf-refused", permission.perf_hint),
        (("not found for kernel",), "perf-missing", lambda: INSTALL),  # Ubuntu's wrapper
    ),
)


def record_argv(program: str, pid: int, output: str, *, rate_hz: int, seconds: float) -> list[str]:
    """Samples for so long from when perf is ready, by a clock that every machine has, a virtual one, too."""
    argv = [program, "record", "--quiet", "--event", "cpu-clock", "--freq", str(rate_hz), "--call-graph", "fp"]
    return [
        *argv,
        "--no-buildid",
        "--no-buildid-cache",
        "--pid",
        str(pid),
        "--output",
        output,
        "--",
        "sleep",
        f"{seconds:.2f}",
    ]


def script_argv(program: str, data: str) -> list[str]:
    """Its samples as text. Inlined functions would need a run of addr2line for each frame."""
    return [program, "script", "--input", data, "--fields", "comm,pid,tid,ip,sym,dso", "--no-inline"]


def parse(text: str, pid: int) -> folded.Counts:
    """What `perf script` prints of one process, as folded stacks. Pure.

    perf follows whom the process starts, too: their samples are left out. A block's head is `comm pid/tid`, and a comm
    may hold anything.
    """
    counts: folded.Counts = {}
    for block in text.split("\n\n"):
        head, tab, rest = block.lstrip("\n").partition("\n\t")
        owner = _OWNER.search(head)
        if not tab or owner is None or int(owner[1]) != pid:
            continue
        frames: list[str] = []
        for line in rest.splitlines():
            if len(frames) < _MOST_FRAMES and line.strip():
                frames.append(_frame(line.strip()))
        while len(frames) > 1 and frames[-1] == _UNKNOWN:
            frames.pop()  # below the first function there is what no frame pointer points to
        if frames:
            stack = ";".join(reversed(frames))
            counts[stack] = counts.get(stack, 0) + 1
    return counts


_OWNER = re.compile(r"\s(\d{1,10})/\d+\s*\Z")
_UNKNOWN = folded.frame("(code without a file)", None)


def _frame(line: str) -> str:
    """`55d8366 main.main (/app/server)`; what has no symbol is `server+0x55d8366`."""
    address, _, rest = line.partition(" ")
    at = next((at for at in (rest.find(" (/"), rest.find(" ([")) if at >= 0), rest.rfind(" ("))
    name, place = (rest[:at], rest[at + 2 :]) if at >= 0 else (rest, "")
    place = place.removesuffix(")").removesuffix(" (deleted)")
    if place in ("[unknown]", "", "//anon"):
        return _UNKNOWN if name in ("[unknown]", "") else folded.frame(name, None)
    if place.startswith("[") and place != "[vdso]":
        return folded.frame(name, "[kernel]")
    if name in ("[unknown]", ""):
        name = f"{os.path.basename(place)}+0x{address}"
    return folded.frame(name, native.RUNTIME if native.is_runtime(name) else place)


def last_words(stderr: str) -> str:
    """What it said, in one line. Pure."""
    return " ".join(stderr.split())


class Perf(recorder.Engine):
    """perf record and perf script, a slice at a time. Raises Failure."""

    name = "perf"
    needs_bytes = 128 << 20  # what it has mapped of samples, and the symbols of all that it reads

    def __init__(self, subject: recorder.Subject) -> None:
        self.program = TOOL.find()

    def ways(self, nonblocking: bool) -> tuple[pace.Way, ...]:
        """The kernel reads stacks."""
        return (pace.Way(True, False),)

    def record(self, pid: int, plan: pace.Plan, seconds: float, meter: recorder.Meter) -> recorder.Piece:
        """One slice. Raises Failure."""
        # A thread that doesn't run costs nothing here, and one that does isn't stopped.
        rate_hz = max(plan.rate_hz, min(_RATE_HZ, meter.asked_hz))
        plan = pace.Plan(pace.Way(True, False), rate_hz, plan.threads, "perf, without stopping the target")
        os.environ.update(PERF_CONFIG=os.devnull, DEBUGINFOD_URLS="")  # nobody's defaults, and no server for symbols
        fd = os.memfd_create("perf.data", 0)  # nothing that could stay when this is killed
        try:
            data = f"/proc/self/fd/{fd}"
            began_s = time.monotonic()
            argv = record_argv(self.program, pid, data, rate_hz=plan.rate_hz, seconds=seconds)
            # Unmetered: most of what it takes is its start, and nobody stands.
            done = TOOL.run(argv, seconds + _SLACK_S, keep=(fd,))
            elapsed_s = time.monotonic() - began_s
            if not os.fstat(fd).st_size:
                raise TOOL.explain(last_words(done.stderr), done.code, hung=done.hung, pid=pid)
            deadline_s = _LAST_SCRIPT_S if done.interrupted else _SCRIPT_S
            told = TOOL.run(script_argv(self.program, data), deadline_s, keep=(fd,))
        finally:
            os.close(fd)
        if told.interrupted or (done.interrupted and told.hung):
            raise runner.Interrupted
        if told.code or told.hung:
            raise TOOL.explain(last_words(told.stderr), told.code, hung=told.hung, pid=pid)
        counts = parse(told.stdout.decode("utf-8", "replace"), pid)
        sampled_s, cpu_s = min(seconds, elapsed_s), done.cpu_s + told.cpu_s
        return recorder.Piece(self.name, counts, plan, meter, sampled_s, interrupted=done.interrupted, cpu_s=cpu_s)
