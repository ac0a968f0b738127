"""`guard profile`: a profile now, of a command's whole life or of a while of a running process.

The worker is the one that `guard run` starts at the state profiling; here it is asked for by a person.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from supervisor import errors, files, launch, ownprofile, pid1, retaining, sample, settling, workers
from supervisor.actions.task import command_line
from supervisor.config import Config
from supervisor.errors import GuardError, UsageError
from supervisor.model import Start
from supervisor.place import Place
from supervisor.profilers import engine
from supervisor.progress import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MODES = {"smart": "", "dev": "development", "prod": "production", "ci": "ci", "critical": "critical"}
FORMATS = (".md", ".folded", ".svg", ".speedscope.json", ".pb.gz")
CPU_ONLY = ".pb.gz"
PID_DURATION_S = 10.0
_FINISH_S = 30.0  # for a worker to write what it has once its process is gone
_TICK_S = 0.2
_LEAST_HEAP_INTERVAL = 64 << 10  # at 1 KiB a Node took twice as long
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Wish:
    """What the command line asks for. `duration_s` None: the whole life of a command; `output` is absolute or None."""

    __slots__ = ("as_json", "cpu", "duration_s", "flags", "heap", "heap_asked", "mode", "output")

    def __init__(
        self,
        *,
        cpu: bool,
        heap: bool,
        mode: str,
        duration_s: float | None,
        output: str | None,
        flags: dict[str, bool],
        as_json: bool,
    ) -> None:
        if mode not in MODES:
            raise UsageError(f"--mode {mode!r}: not accepted", why=f"it takes {', '.join(MODES)}")
        self.cpu, self.heap = (cpu, heap) if cpu or heap else (True, True)
        self.heap_asked = heap
        if output is not None and not self.cpu and format_of(output) == CPU_ONLY:
            raise UsageError(
                f"--output {output!r}: a heap profile has no such form",
                why=f"its forms are {', '.join(each for each in FORMATS if each != CPU_ONLY)}",
                hint="guard profile --heap --output heap.md ...",
            )
        self.mode = mode
        self.duration_s = duration_s
        self.output = None if output is None else checked_output(output)
        self.flags = flags
        self.as_json = as_json

    @property
    def delivered(self) -> str:
        """The kind of profile that --output is for."""
        return "cpu-profile" if self.cpu else "heap-profile"

    def heap_agent(self, given: str) -> str:
        """The agent for a command: beside a CPU profile the one that costs least, alone the one that tells most."""
        if given != "none" or not self.heap:
            return given
        return "census" if self.cpu else "memray"


def checked_output(path: str) -> str:
    """The absolute path of --output. Raises UsageError for a format that isn't known or a place that can't be."""
    if format_of(path) is None:
        known = ", ".join(FORMATS)
        raise UsageError(f"--output {path!r}: no format goes by that name", why=f"the formats are {known}")
    full = os.path.abspath(path)
    if os.path.isdir(full):
        raise UsageError(f"--output {path!r} is a directory", hint=f"--output {os.path.join(path, 'profile.md')}")
    try:
        os.makedirs(os.path.dirname(full), exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {path!r}", why=os.strerror(error.errno or 0), hint="name a place you own") from None
    if not os.access(os.path.dirname(full), os.W_OK | os.X_OK):
        raise UsageError(f"--output {path!r}", why="its directory can't be written", hint="name a place you own")
    return full


def format_of(path: str) -> str | None:
    """The suffix that names the format, or None."""
    return next((suffix for suffix in FORMATS if os.path.basename(path).endswith(suffix)), None)


def settle(given: dict[str, list[str]], environ: dict[str, str], mode: str, pid: int | str = "self") -> Config:
    """The Config of a mode: that of the environment it names, or the detected one's. Raises UsageError."""
    named = MODES[mode]
    if named == "critical":
        return settling.settle(given, environ, pid, mode=named)
    return settling.settle({**given, "env": [named]} if named else given, environ, pid)


def of_command(
    given: dict[str, list[str]],
    wish: Wish,
    command: list[str],
    mask: Iterable[int],
    environ: bytes | None,
    tell: Callable[[Outcome], None],
    keep: tuple[int, ...] = (),
) -> int:
    """Run a command as `guard run` does and profile it; its exit code. `keep`: descriptors that stay open.

    What came out is told as soon as it is there. Raises GuardError only before the target started.
    """
    environment = launch.original_environment() if environ is None else launch.split_environment(environ)
    config = settle(given, settling.text_environment(environment), wish.mode)
    config.heap_agent = wish.heap_agent(config.heap_agent)
    place = Place(config, wish.mode, command)
    try:
        own = _own(wish, command, environment, config, place)
        target = launch.start(own.command, config, own.environment, mask)
    except GuardError:
        place.discard()
        raise
    init = pid1.Init(target, config)
    init.install()
    launch.let_go((*init.descriptors, place.lock_fd, *keep))
    session = _Session(init, config, wish, place, target.pid, command, tell, own)
    try:
        session.begin(whole_life=wish.duration_s is None or bool(own.engine))
        session.follow_target()
    except Exception:  # no fault of guard's may take the target its init or change its exit code
        errors.tell_fault()
        pid1.serve(init)
    return init.code


def _own(
    wish: Wish, command: list[str], environment: dict[bytes, bytes], config: Config, place: Place
) -> ownprofile.Launch:
    """A Node profiles itself for its whole life, a Bun can't be profiled otherwise."""
    program = ownprofile.program_of(command, environment, config.chdir)
    kinds = (*(["cpu-profile"] if wish.cpu else ()), *(["heap-profile"] if wish.heap else ()))
    if wish.duration_s is not None and engine.choose(engine.Facts(program)) != engine.BUN:
        kinds = ()
    return ownprofile.prepare(
        command,
        environment,
        program,
        kinds,
        os.path.join(place.directory, "own"),
        cpu_interval_us=max(1, round(config.sampling_interval * 1e6)),
        heap_interval=max(config.heap_interval, _LEAST_HEAP_INTERVAL if config.overhead_budget else 1),
    )


def of_process(
    given: dict[str, list[str]], wish: Wish, pid: int, environ: bytes | None, tell: Callable[[Outcome], None]
) -> None:
    """Profile a running process. Raises GuardError when there is no such process or it gave nothing."""
    environment = launch.original_environment() if environ is None else launch.split_environment(environ)
    process = sample.read_process(pid)
    if process is None or process.state in ("Z", "X"):
        raise UsageError(f"there is no process {pid}", hint="guard profile --pid PID, with a pid that ps shows")
    config = settle(given, settling.text_environment(environment), wish.mode, pid)
    command = command_line(pid) or [process.name]
    place = Place(config, wish.mode, command)
    init = pid1.Init(None, config)
    init.install()
    os.chdir("/")
    session = _Session(init, config, wish, place, pid, command, tell)
    session.begin(whole_life=False)
    session.follow_worker()
    failures, trouble = session.outcome.failures, session.outcome.trouble
    if not failures:
        return
    if trouble is None or failures[0] is trouble:
        raise failures[0]
    first = failures[0]
    raise GuardError(first.what, why=f"{first.why}; {trouble.what}", hint=first.hint, code=first.code)


class Outcome:
    """What came out: `results` by kind (`outcome` ok or failed, see `work`), the `files`, and what is missing."""

    def __init__(self, place: Place, pid: int, command: list[str]) -> None:
        self.run = place.run
        self.directory = place.directory
        self.moved = place.moved
        self.pid = pid
        self.command = command
        self.results: dict[str, dict[str, Any]] = {}
        self.absent: dict[str, str] = {}
        self.output: str | None = None
        self.trouble: GuardError | None = None

    @property
    def files(self) -> list[str]:
        """Paths of all evidence."""
        return [path for kind in sorted(self.results) for path in self.results[kind].get("paths", ())]

    @property
    def failures(self) -> list[GuardError]:
        """What failed, explained."""
        failed = [
            GuardError(
                f"no {kind} of process {self.pid}: {result.get('reason', '')}",
                why=str(result.get("said", "")),
                hint=str(result.get("hint", "")),
            )
            for kind, result in self.results.items()
            if result.get("outcome") != "ok"
        ]
        return failed + ([self.trouble] if self.trouble else [])


class _Session:
    """The workers of one `guard profile`, beside an init that goes on."""

    def __init__(
        self,
        init: pid1.Init,
        config: Config,
        wish: Wish,
        place: Place,
        pid: int,
        command: list[str],
        tell: Callable[[Outcome], None],
        own: ownprofile.Launch | None = None,
    ) -> None:
        self.init = init
        self.own = own
        self.config = config
        self.wish = wish
        self.place = place
        self.pid = pid
        self.command = command
        self.workers = workers.Workers(init.poller)
        init.parts.append(self.workers)
        self.outcome = Outcome(place, pid, command)
        duration = wish.duration_s
        self._duration_s = duration if init.target is not None else duration or PID_DURATION_S
        self._tell = tell
        self._progress = Progress(config.quiet)
        self._began_s = time.monotonic()

    def begin(self, *, whole_life: bool) -> None:
        """Start the workers."""
        kinds = ["cpu-profile"] if self.wish.cpu else []
        if self.wish.heap:
            kinds.append("heap-profile")
        process = sample.read_process(self.pid)
        now_s = time.monotonic()
        for kind in kinds:
            start = Start(kind, "profiling", self.pid, "guard profile")
            spec = self._spec(start, process.start_ticks if process else None)
            extra_s = float("inf") if whole_life else self._duration_s or 0.0
            memory_fd = workers.lend(start, self.config)
            try:
                worker = self.workers.begin(start, spec, now_s, extra_s, memory_fd, self.config.go_pprof)
            finally:
                if memory_fd is not None:
                    os.close(memory_fd)
            worker.was_stopped = process is not None and process.state in ("T", "t")
        self._make_room(now_s)
        self._progress.begin(self._duration_s, f"profiling {self.pid}")

    def _make_room(self, now_s: float) -> None:
        """Old runs go, as when `guard run` takes their place."""
        place = self.place
        try:
            retaining.start(self.workers, self.config, now_s, place.run, place.directory, place.root, place.root_id)
        except OSError:
            pass  # the next run tries again

    def _spec(self, start: Start, start_ticks: int | None) -> dict[str, Any]:
        return workers.spec_of(
            self.config,
            start,
            start_ticks,
            directory=self.place.directory,
            name=self.place.next_name(start.state, start.kind),
            run=self.place.run,
            command=self.command,
            profile_mode=self.wish.mode,
            duration=self._duration_s,
            patient=self.init.target is not None,
            progress=True,
            attach=self.wish.heap_asked and not self.wish.cpu and self.init.target is None,
            own=self._own(start.kind),
            **self.wish.flags,
        )

    def _own(self, kind: str) -> dict[str, str] | None:
        own = self.own
        return {"engine": own.engine, "directory": own.directory} if own is not None and kind in own.kinds else None

    # -- waiting --------------------------------------------------------------------------------------------------

    def follow_target(self) -> None:
        """Serve the target until it, its group and the workers have ended."""
        ending = False
        while True:
            now_s = time.monotonic()
            left_s: float | None = None
            if self.init.status is not None:
                if not ending:
                    ending = True
                    self._target_ended(now_s)
                left_s = self.init.group_left(now_s)
                if left_s is None and not self.workers.running:
                    break
            self._step(left_s)
        self.init.reap()

    def _target_ended(self, now_s: float) -> None:
        for worker in self.workers.running.values():
            worker.deadline_s = min(worker.deadline_s, now_s + _FINISH_S)
        self._progress.end()

    def follow_worker(self) -> None:
        """Wait for the workers; what asks guard to end asks them to keep what they have."""
        while self.workers.running:
            self._step(None)

    def _step(self, left_s: float | None) -> None:
        wait_s = left_s if left_s is not None else float("inf")
        if self._progress.shown:
            wait_s = min(wait_s, _TICK_S)
        self.init.pump(max(0.0, wait_s))
        for entry in self.init.take_backlog():
            if isinstance(entry, pid1.Forwarded):
                if self.init.target is None and entry.signal in _ENDS:
                    for worker in self.workers.running.values():
                        worker.ask_to_end(time.monotonic())
            elif (found := self.workers.ended(entry.pid, entry.status)) is not None:
                worker, result = found
                if worker.start.kind != "retention":
                    self._take_in(worker.start.kind, result)
                if not self.workers.running:
                    self._done()
        if self._progress.shown:
            news = next((worker.news() for worker in self.workers.running.values()), {})
            self._progress.show(time.monotonic() - self._began_s, news.get("samples"))

    def _take_in(self, kind: str, result: dict[str, Any]) -> None:
        """A result; what wasn't asked for by its name and can't be had is absent and no failure."""
        if kind == "heap-profile" and not self.wish.heap_asked and result.get("outcome") != "ok":
            # Of a command that has ended there is nothing to try.
            hint = str(result.get("hint", ""))
            ended = self.init.target is not None and self.init.status is not None and _names_a_process(hint)
            then = "" if result.get("reason") == "target-gone" or ended else f"; try: {hint}"
            self.outcome.absent[kind] = f"{result.get('said', '')}{then}"
        else:
            self.outcome.results[kind] = result

    def _done(self) -> None:
        """The last worker ended: put the profile where it was wished for, and tell."""
        self._progress.end()
        output = self.wish.output
        if output is not None:
            try:
                self.outcome.output = self._deliver(output)
            except OSError as error:
                why = os.strerror(error.errno or 0)
                self.outcome.trouble = GuardError(f"--output {output} could not be written", why=why)
            else:
                if self.outcome.output is None:
                    self.outcome.trouble = _undelivered(output, self.wish.delivered, self.outcome.results)
        self.place.discard()
        self._tell(self.outcome)

    def _deliver(self, output: str) -> str | None:
        """Put the profile of the kind that was asked for where --output says, in the format of its name."""
        found = to_deliver(self.outcome.results, self.wish.delivered, format_of(output) or "")
        if found is None:
            return None
        with open(found, "rb") as file:
            data = file.read()
        place = os.path.realpath(os.path.dirname(output))
        files.put_at(place, os.path.basename(output), data, self.config.evidence_mode)
        return output


def to_deliver(results: dict[str, dict[str, Any]], kind: str, suffix: str) -> str | None:
    """The file of this kind of profile in this format, where there is one; never one of another kind."""
    result = results.get(kind, {})
    paths = [path for path in result.get("paths", ()) if path.endswith(suffix)]
    # What the runtime or another thread of it wrote (`.bun.md`, `-PID-TID.folded`) has a longer name.
    return min(paths, key=len) if result.get("outcome") == "ok" and paths else None


def _undelivered(output: str, kind: str, results: dict[str, dict[str, Any]]) -> GuardError:
    came = results.get(kind, {}).get("outcome") == "ok"
    why = f"the {kind} has no {format_of(output)}" if came else f"there is no {kind}"
    stays = "; the file that is there is an older one" if os.path.exists(output) else ""
    return GuardError(f"--output {output} was not written", why=why + stays)


def _names_a_process(hint: str) -> bool:
    """Whether what is to be typed has a pid in it."""
    return any(word.isdigit() for word in hint.replace(",", " ").split())
