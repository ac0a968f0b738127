"""What a run tells: its log, its place on disk, its record. No trouble with any of them is the target's trouble."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from supervisor import announcing, output, reactions, record, restart, sample, store
from supervisor.config import Config
from supervisor.ctl import door
from supervisor.log import Log, Stream
from supervisor.screen import Screen
from supervisor.suspicion import Suspicion

if TYPE_CHECKING:
    from supervisor.lives import Lives
    from supervisor.pid1 import Init
    from supervisor.restart import Verdict

TERMINATION_LOG = "/dev/termination-log"
Listener = Callable[[str, str, Mapping[str, Any]], None]


class Journal:
    """One run's log and store."""

    # Events that hooks, signals or messages may be wanted for, until they were looked at.
    heard: deque[tuple[str, dict[str, Any]]] | None = None
    _listeners: tuple[Listener, ...] = ()

    def __init__(self, init: Init, config: Config, subject: record.Subject, lives: Lives | None = None) -> None:
        self.started_s = time.monotonic()
        self.started_at = time.time()
        self.subject = subject
        self.run = store.run_id(subject.command, os.getpid(), self.started_at)
        self.tally = record.Tally(config.facts.oom_kills)
        self.suspicion = Suspicion()
        self.crashed_before = False
        self.crash_loop: dict[str, Any] = {}  # of runs before this one: as `record.crash_loop` tells
        self._init = init
        self._config = config
        self._lives = lives
        self._troubles: set[str] = set()
        if reactions.wanted(config):
            self.heard = deque(maxlen=64)
        headroom = config.facts.limit_bytes
        self.store, moved = store.open_store(config.profiles_dir, self.run, config.evidence_mode, headroom)
        self.door, no_door = self._open_door()
        self.stream = Stream(2)
        self._log_file: tuple[Stream, int] | None = None
        self._screen = Screen(self.stream, 2, self._in_front) if os.isatty(2) else None
        self._log = self._open_log()
        if no_door is not None:
            self.emit("warning", "ctl.failed", reason=no_door.strerror or str(no_door), path=self.path,
                      hint="guard run --profiles-dir DIR on a file system that has sockets")  # fmt: skip
        announcing.announce(self, init, config, moved)

    @property
    def command(self) -> list[str]:
        """What runs."""
        return self.subject.command

    @property
    def path(self) -> str | None:
        """The run's folder, or None when there is only the log."""
        return self.store.run_path if self.store is not None else None

    @property
    def suspect(self) -> dict[str, Any] | None:
        """Whom the run suspects so far."""
        return self.suspicion.found

    @property
    def life(self) -> int:
        """Which of the target's lives this is, from 1."""
        return self._lives.number if self._lives is not None else 1

    @property
    def previous_life(self) -> str | None:
        """The run id of the life before this one."""
        return self._lives.previous if self._lives is not None else None

    def _open_door(self) -> tuple[door.Door | None, OSError | None]:
        """Where `guard ctl` comes to, or why there is no such place; neither without a folder."""
        if self.store is None:
            return None, None
        try:
            return self.store.disk.run(door.open_door, self.store.run_fd, self.run), None
        except OSError as error:
            return None, error

    def _open_log(self) -> Log:
        config = self._config
        sinks: list[Callable[[bytes], None]] = []
        if self.store is not None:
            sinks.append(self._add_event)
        trouble: OSError | None = None
        if config.log_file is not None:
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                fd = os.open(config.log_file, flags, 0o600)
                self._log_file = (Stream(fd), fd)
                sinks.append(self._log_file[0].write)
            except OSError as error:
                trouble = error
        json_lines = config.log_format == "json" or (config.log_format == "auto" and not os.isatty(2))
        level = "error" if config.quiet else config.log_level
        log = Log(self._screen or self.stream, json_lines=json_lines, level=level, files=sinks)
        if trouble is not None:
            self._log = log
            self.trouble("log-file", trouble, config.log_file or "")
        return log

    def listen(self, listener: Listener) -> None:
        """Let `listener` have each event from now on: (level, name, fields). It must not raise or wait."""
        self._listeners = (*self._listeners, listener)

    def emit(self, level: str, name: str, /, **fields: Any) -> None:
        """Log one event. A field may be called `name`, too."""
        self._log.emit(level, name, fields)
        if self.heard is not None and reactions.listens_to(name):
            self.heard.append((name, fields))
        for listener in self._listeners:
            listener(level, name, fields)

    def release(self) -> None:
        """Write console lines that waited for a full screen to end."""
        if self._screen is not None:
            self._screen.release()

    def _in_front(self, group: int) -> bool:
        """Whether this process group is guard's own, the target's or one of the tree's."""
        return group == os.getpgrp() or sample.descends(group, os.getpid())

    def once(self, key: str) -> bool:
        """Whether this is said for the first time. Bounded, so that no flood of kinds takes memory."""
        if key in self._troubles or len(self._troubles) >= 1000:
            return False
        self._troubles.add(key)
        return True

    def trouble(self, what: str, error: OSError, path: str) -> None:
        """A file that can't be written: named once a kind, to whoever still listens; the run goes on."""
        if self.once(f"{what} {error.errno}"):
            why = error.strerror or str(error)
            hint = f"df -h {path or '.'}; ls -ld {path or '.'}"
            self.emit("warning", "store.failed", what=what, path=path, reason=why, hint=hint)

    def _add_event(self, line: bytes) -> None:
        assert self.store is not None
        try:
            self.store.events.add(line)
        except OSError as error:
            self.trouble("events.jsonl", error, self.store.run_path)

    def add_flight(self, line: bytes) -> None:
        """Append a sample's line to the flight record."""
        if self.store is None:
            return
        try:
            self.store.flight.add(line)
        except OSError as error:
            self.trouble("flight.jsonl", error, self.store.run_path)

    def hush(self) -> None:
        """Let the console hear less of this run."""
        self._log.hush()

    def start_record(self) -> dict[str, Any]:
        """The run's record as it is while the run goes on."""
        return record.start_record(
            self.subject,
            self._config,
            run=self.run,
            guard_pid=os.getpid(),
            started_at=self.started_at,
            ctl=self.door.where if self.door is not None else None,
            life=self.life,
            previous_life=self.previous_life,
            crash_loop=self.crash_loop,
            boot_id=store.boot_id(),
            host=os.uname().nodename,
        )

    def _end_record(self, outcome: str, status: int | None) -> dict[str, Any]:
        now_s = time.monotonic()
        self.tally.end(now_s)
        own = sample.read_process(os.getpid())
        return record.end_record(
            self.start_record(),
            self.tally,
            outcome=outcome,
            status=status,
            code=self._init.code,
            ended_at=time.time(),
            elapsed_s=now_s - self.started_s,
            largest_bytes=self._init.largest_bytes,
            suspect=self.suspect,
            evidence=self.store.evidence if self.store else [],
            log_lines_dropped=self.stream.dropped,
            guard_rss_bytes=own.rss_bytes if own else None,
            guard_rss_peak_bytes=sample.peak_bytes(),
        )

    def alarm(self, state: str) -> None:
        """Memory is critical: leave a summary where it outlives everything."""
        self._write_termination(self._end_record(f"running, {state}", None))

    def _outcome(self) -> str:
        """How it ended. Of watched processes there is no status: told to stop, guard leaves while they live on."""
        status, stopped = self._init.status, self._init.stopped_from_outside
        if status is None:
            return "stopped" if stopped else "exited"
        own_kills = self.tally.new_oom_kills - self.tally.oom_kills_of_others
        return record.outcome(status, stopped=stopped, oom_kills=own_kills)

    def end(self, outcome: str | None = None) -> dict[str, Any]:
        """The run is over: its last event, its end record (which it returns), the lines for people.

        `outcome`: what the caller knows better than the target's status tells.
        """
        status, outcome = self._init.status, outcome or self._outcome()
        verdict = self._lives.judge(self._init) if self._lives is not None else None
        again = verdict is not None and verdict.again
        if self._lives is not None and self._lives.ended_for and again:
            outcome = "replaced"
        if self._screen is not None:
            self._screen.close()
        final = self._end_record(outcome, status)
        if verdict is not None:
            final["restart"] = self._told(verdict, final)
        names = ("outcome", "code", "signal", "elapsed_s", "peak_bytes", "limit_bytes", "highest_state", "suspect")
        self.emit("info", "run.exited", run=self.run, **{name: final[name] for name in names}, evidence=self.path)
        if self.store is not None:
            try:
                self.store.end(final)
            except OSError as error:
                self.trouble("run.json", error, self.store.run_path)
        if not again:
            self._write_termination(final)
        if not self._config.quiet and os.isatty(2) and not again:
            lines = "\n".join(record.closing_lines(final, self.path)) + "\n"
            self.stream.write(lines.encode("utf-8", "backslashreplace"))
        return final

    def _told(self, verdict: Verdict, final: Mapping[str, Any]) -> dict[str, Any] | None:
        """Tell what comes after this life; for the record."""
        fields = {"reason": verdict.reason, "in_a_row": verdict.in_a_row}
        ended = {"code": final["code"], "signal": final["signal"]}
        if not verdict.again:
            if verdict.in_a_row and self._config.restart_max is not None and final["code"]:
                hint = f"guard postmortem {self.run}"
                self.emit("error", "restart.given_up", run=self.run, **fields, **ended, hint=hint)
            return None
        if verdict.for_change:
            hint = "save a file, or press Ctrl-C" if self._init.terminal is not None else "save a file"
            self.emit("warning" if final["code"] else "info", "reload.waiting", run=self.run, **ended,
                      reason=verdict.reason, hint=hint)  # fmt: skip
            return fields
        fields["wait_s"] = round(verdict.wait_s, 3)
        loud = verdict.in_a_row > 0 and restart.worth_a_line(verdict.in_a_row)
        self.emit("warning" if loud else "info", "restart.scheduled", run=self.run, **fields, **ended)
        return fields

    def close(self) -> None:
        """Another life begins: give back what this one held open, but for stderr, on which the next's start is told."""
        self._log.close()
        if self._log_file is not None:
            self._log_file[0].close()
            os.close(self._log_file[1])
            self._log_file = None
        if self.store is not None:
            self.store.close()
            self.store = None
        if self._lives is not None:
            self._lives.previous = self.run
            self._lives.journal = self

    def _write_termination(self, final: Mapping[str, Any]) -> None:
        """Kubernetes shows this file in `kubectl describe pod`."""
        if not os.path.isfile(TERMINATION_LOG):
            return
        try:
            fd = os.open(TERMINATION_LOG, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                output.write_all(fd, record.termination_text(final, self.path))
            finally:
                os.close(fd)
        except OSError as error:
            self.trouble("termination-log", error, TERMINATION_LOG)
