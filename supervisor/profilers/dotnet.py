"""A running .NET, asked by its own tools where they are on PATH: dotnet-trace (what runs), dotnet-gcdump (its heap).

Both speak to the socket that the runtime opens in its TMPDIR, so that is looked at first: without one they would wait.
Sources: learn.microsoft.com/dotnet/core/diagnostics, and the tools' own source (dotnet/diagnostics): collect writes
NAME.nettrace and then NAME.speedscope.json; report prints `bytes  count  type  [module]`.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import shutil
import stat
import tempfile
import time

from supervisor.analysis import folded, speedscope
from supervisor.analysis.reading import FormatError
from supervisor.profilers import pace, recorder, runner, stdlib
from supervisor.profilers.failure import Failure
from supervisor.profilers.tool import Tool

Histogram = dict[str, tuple[int, int]]  # by type: instances, bytes

_BUFFER_MIB = 16  # in the target; 256 unasked
_SCRATCH = "guard-dotnet-"
_STALE_S = 3600.0
_SLACK_S = 25.0  # the runtime tells at the end which methods it has, and the tool converts
_REPORT_S = 45.0
_MOST_TYPES = 20_000
_MOST_BYTES = 256 << 20
_MICROSECONDS_A_SAMPLE = 1000  # the runtime's sampler stops all threads every millisecond
_ROW = re.compile(r"\s*([\d.,' \u00a0\u202f]*\d)\s{2,}([\d.,'\u00a0\u202f]*\d)\s{2,}(\S.*?)(?:  \[([^\]]*)\])?\s*$")
_BUSY = "CPU_TIME"


def _tool(name: str) -> Tool:
    """A tool of .NET: on PATH, or where `dotnet tool install --global` puts it."""
    hint = f"{name} ps; DOTNET_EnableDiagnostics must not be 0"
    absent, install = f"a .NET is read by {name}, which is not on PATH", f"dotnet tool install --global {name}"
    return Tool(name, absent, install, lambda pid: hint, homes=(".dotnet/tools",))


TRACE, GCDUMP = _tool("dotnet-trace"), _tool("dotnet-gcdump")


def check(pid: int) -> str:
    """The folder in which this runtime listens. Raises Failure where it doesn't.

    A tool is run with that as its TMPDIR, so the folder of another user's target is one that only root and this user
    can write to, or a sticky one, and the socket is the target's user's.
    """
    proc, folder = f"/proc/{pid}", "/tmp"
    try:
        with open(f"{proc}/environ", "rb") as file:
            for entry in file.read(1 << 20).split(b"\0"):
                if entry.startswith(b"TMPDIR="):
                    folder = os.fsdecode(entry[7:]).rstrip("/") or "/"
    except OSError as error:
        raise Failure("dotnet-silent", f"its environment: {error.strerror}", "run guard as the target's user") from None
    try:
        if stdlib.elsewhere(proc):
            raise Failure("dotnet-silent", "the target's files are another root's", "run guard in its container")
        folder = os.path.realpath(folder) if folder.startswith("/") else ""
        if folder and not stdlib.is_own(proc) and not stdlib.only_ours(folder):
            said = f"the target is another user's, and so may be the files in its TMPDIR, {folder}"
            raise Failure("dotnet-silent", said, "run guard as the target's user")
        owner = stdlib.uids(proc)[1]
    except (OSError, IndexError) as error:
        raise Failure("dotnet-silent", f"its TMPDIR: {error}", "run guard as the target's user") from None
    names = glob.glob(f"{glob.escape(folder)}/dotnet-diagnostic-{pid}-*-socket") if folder else []
    if not any(_is_socket_of(name, owner) for name in names):
        said = f"there is no dotnet-diagnostic-{pid}-…-socket in {folder}: its diagnostics are off or elsewhere"
        raise Failure("dotnet-silent", said, "start the target without DOTNET_EnableDiagnostics=0")
    return folder


def _is_socket_of(path: str, uid: int) -> bool:
    try:
        about = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISSOCK(about.st_mode) and about.st_uid == uid


def trace_argv(program: str, pid: int, output: str, seconds: int) -> list[str]:
    """Samples of the managed stacks, for whole seconds."""
    hours, rest = divmod(max(1, seconds), 3600)
    duration = f"00:{hours:02d}:{rest // 60:02d}:{rest % 60:02d}"
    argv = [program, "collect", "--process-id", str(pid), "--format", "Speedscope", "--duration", duration]
    return [*argv, "--buffersize", str(_BUFFER_MIB), "--output", output]


def report_argv(program: str, pid: int) -> list[str]:
    """Types by bytes and count of what is reachable, after a full collection."""
    return [program, "report", "--process-id", str(pid)]


def parse_trace(data: bytes) -> folded.Counts:
    """Samples of a millisecond by stack, of threads that were running managed code. Pure. Raises FormatError."""
    try:
        document = json.loads(data)
    except ValueError as error:
        raise FormatError(f"it is no JSON ({error})") from None
    if not isinstance(document, dict):
        raise FormatError("it is no speedscope file")
    found = speedscope.read(document, keep=True)
    counts: folded.Counts = {}
    for stack, microseconds in (found.stacks or {}).items():
        frames = stack.split(";")
        if frames[-1] != _BUSY:  # it waits, or is outside of managed code
            continue
        own = [text for text in frames[:-1] if "!" in text]  # above them: process, thread, activities
        samples = round(microseconds / _MICROSECONDS_A_SAMPLE)
        if own and samples:
            told = ";".join(map(_frame, own))
            counts[told] = counts.get(told, 0) + samples
    return counts


def _frame(text: str) -> str:
    """`App!App.Cache.Keep(int32)`: the module goes for the file, the framework's own by `[runtime]`."""
    module, _, rest = folded.split_frame(text)[0].partition("!")
    name = rest.partition("(")[0]
    own = module.startswith(("System.", "Microsoft.", "mscorlib", "netstandard")) or module == "System"
    return folded.frame(name, "[runtime]" if own else f"{module}.dll")


def parse_report(text: str) -> Histogram:
    """What `dotnet-gcdump report` prints, in whatever way the locale writes numbers. Pure."""
    found: Histogram = {}
    for line in text.splitlines():
        row = _ROW.match(line)
        if row is None or len(found) >= _MOST_TYPES:
            continue
        size, count = (int(re.sub(r"\D", "", row[group])) for group in (1, 2))
        before = found.get(row[3], (0, 0))
        found[row[3]] = (before[0] + count, before[1] + size)
    return found


def histogram(pid: int) -> Histogram:
    """Instances and bytes by type. Raises Failure, Interrupted."""
    program = GCDUMP.find()
    done = run(GCDUMP, report_argv(program, pid), _REPORT_S, check(pid))
    if done.interrupted:
        raise runner.Interrupted
    found = parse_report(done.stdout.decode("utf-8", "replace"))
    if done.code or done.hung or not found:
        raise GCDUMP.explain(last_words(done), done.code, hung=done.hung, pid=pid)
    return found


def last_words(done: runner.Completed) -> str:
    """What a tool said, in one line; it tells on both streams. Pure."""
    return " ".join((done.stderr or done.stdout[-4096:].decode("utf-8", "replace")).split())


def run(tool: Tool, argv: list[str], deadline_s: float, folder: str) -> runner.Completed:
    """Run one of them beside the runtime that listens in `folder`. Raises Failure.

    It is a .NET itself: its double mapping would reserve a file larger than guard lets what it runs write.
    """
    # By the last one it opens no socket of its own in that folder.
    own = {"TMPDIR": folder, "DOTNET_EnableWriteXorExecute": "0", "DOTNET_EnableDiagnostics": "0"}
    os.environ.update(own, DOTNET_CLI_TELEMETRY_OPTOUT="1", NO_COLOR="1")
    return tool.run(argv, deadline_s, most_bytes=_MOST_BYTES)


def sweep() -> None:
    """Remove what a worker that was killed has left: folders of guard's name, this user's, unused for an hour."""
    since_s = time.time() - _STALE_S
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.name.startswith(_SCRATCH) and _is_stale(entry, since_s):
                    shutil.rmtree(entry.path, ignore_errors=True)


def _is_stale(entry: os.DirEntry[str], since_s: float) -> bool:
    """Raises OSError."""
    about = entry.stat(follow_symlinks=False)
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mtime > since_s:
        return False
    with os.scandir(entry.path) as inner:
        return all(each.stat(follow_symlinks=False).st_mtime <= since_s for each in inner)


class Trace(recorder.Engine):
    """dotnet-trace, a slice at a time: the runtime itself samples its managed stacks. Raises Failure."""

    name = TRACE.name
    needs_bytes = 512 << 20  # it is a .NET itself, which converts all of it in memory

    def __init__(self, subject: recorder.Subject) -> None:
        self.program = TRACE.find()
        self._folder = check(subject.pid)
        self._pid = subject.pid

    def ways(self, nonblocking: bool) -> tuple[pace.Way, ...]:
        """The runtime stops its threads."""
        return (pace.Way(False, False),)

    def serves(self, pid: int) -> bool:
        """Whether it is the same process."""
        return pid == self._pid

    def record(self, pid: int, plan: pace.Plan, seconds: float, meter: recorder.Meter) -> recorder.Piece:
        """One slice. Raises Failure."""
        asked_s = max(1, round(seconds))
        rate_hz = 1_000_000 // _MICROSECONDS_A_SAMPLE
        plan = pace.Plan(pace.Way(False, False), rate_hz, plan.threads, "the rate of .NET's own sampler")
        sweep()
        with tempfile.TemporaryDirectory(prefix=_SCRATCH) as folder:
            output = os.path.join(folder, "trace.nettrace")
            argv = trace_argv(self.program, pid, output, asked_s)
            done = run(TRACE, argv, asked_s + _SLACK_S, self._folder)
            written = output.removesuffix(".nettrace") + ".speedscope.json"
            if not os.path.exists(written):
                if done.interrupted:
                    raise runner.Interrupted
                raise TRACE.explain(last_words(done), done.code, hung=done.hung, pid=pid)
            with open(written, "rb") as file:
                data = file.read(_MOST_BYTES)
        try:
            counts = parse_trace(data)
        except FormatError as error:
            raise Failure("dotnet-trace-garbage", f"{self.name}: {error}"[:300], f"{self.name} --version") from error
        return recorder.Piece(
            self.name, counts, plan, meter, float(asked_s), interrupted=done.interrupted, cpu_s=done.cpu_s
        )
