"""guard in a Python program: a command is run under it, its events are read, it is asked and ended.

    from supervisor.api import start

    with start(["python", "app.py"], warning="60%", restart="on-failure") as run:
        for event in run.events():
            print(event.level, event.name, dict(event.fields))
        print(run.wait())

guard runs as a process of its own, so it takes nothing of this one: no signal, no thread, no terminal, no other child.
Its settings are those of the command line, its events come over a pipe, what it is asked goes over its control socket.
A run is for one thread at a time.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import IO, Any

from supervisor import embedding, evidence
from supervisor.ctl import client
from supervisor.ctl.client import Refused
from supervisor.embedding import Evidence, State
from supervisor.errors import GuardError, UsageError
from supervisor.evidence import Event

__all__ = ["Event", "Evidence", "GuardError", "Refused", "Run", "State", "UsageError", "start"]

Stream = int | IO[Any] | None
_NEXT_LIFE_S = 5.0
_MOST_PENDING = 100_000


def start(
    command: Sequence[str],
    *,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    stdin: Stream = subprocess.DEVNULL,
    stdout: Stream = None,
    stderr: Stream = None,
    **settings: object,
) -> Run:
    """Start the command under guard. It runs when this returns.

    `settings` are `guard run`'s options with underscores (`stop_timeout="3s"`, `restart="always"`,
    `reload_dir=["src", "conf"]`), written as on the command line; numbers and booleans are taken as well.
    `cwd`, `env` and the streams are the command's, as in subprocess.Popen, but that it reads from nowhere by itself.

    Raises UsageError for a setting that guard doesn't take, GuardError when the command can't be started (`code` 126 or
    127, as the shell has it), OSError when there is no process or descriptor to be had.
    """
    options = embedding.options(settings)
    channel = embedding.Channel()
    try:
        line = [*embedding.guard_line(), f"--guard-errors={channel.errors_end}", "run", *options]
        line += [f"--log-file={channel.path}", "--", *command]
        process = subprocess.Popen(
            line, cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True,
            pass_fds=(channel.errors_end,),
        )  # fmt: skip
    except BaseException:
        channel.close()
        raise
    run = Run(process, channel)
    try:
        run.pid = channel.started(run._pidfd)
    except GuardError as error:
        with contextlib.suppress(GuardError):  # who took its exit code away doesn't take the reason as well
            code = run.wait()
            error.code = error.code or code
        run.close()
        raise
    except BaseException:
        run.close()
        raise
    return run


class Run:
    """A command under guard. As a context manager it is stopped and cleaned up at the end of the block.

    `pid` is the command's, of the life that was heard of last; `path` is its run's folder, None without one
    (guard has then no place for evidence).
    """

    def __init__(self, process: subprocess.Popen[Any], channel: embedding.Channel) -> None:
        self.pid = 0
        self.guard_pid = process.pid
        self._path: str | None = None
        self.lost = 0  # events that nobody fetched in time
        self._process = process
        self._channel = channel
        self._pending: deque[Event] = deque()
        self._code: int | None = None
        self._told_code: int | None = None
        self._begun = False
        self._pidfd = _pidfd(process.pid)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if self._code is None:
                self.stop()
        finally:
            self.close()

    @property
    def path(self) -> str | None:
        """The run's folder. Right after the start it waits for guard to say it, which takes some milliseconds."""
        self._until_begun()
        return self._path

    # -- what happens ---------------------------------------------------------------------------------------------

    def events(self) -> Iterator[Event]:
        """What guard tells, as it happens, up to the end of the last life. `at_s` is seconds since the epoch.

        Every event is given once, over all iterators. Who fetches none loses what a pipe of 1 MiB doesn't hold.
        """
        while True:
            while self._pending:
                yield self._pending.popleft()
            if self._code is not None:
                return
            self._pump(None)

    def wait(self, timeout: float | None = None) -> int:
        """The command's exit code, as `guard run` has it: the code, 128+n for signal n; the last life's.

        Raises TimeoutError after so many seconds; GuardError when it can't be known any more.
        """
        deadline_s = None if timeout is None else time.monotonic() + timeout
        while self._code is None:
            left_s = None if deadline_s is None else deadline_s - time.monotonic()
            if left_s is not None and left_s < 0:
                raise TimeoutError(f"the command still runs after {timeout:g} s")
            self._pump(left_s)
        return self._code

    @property
    def returncode(self) -> int | None:
        """The exit code, or None while it runs."""
        if self._code is None:
            self._pump(0.0)
        return self._code

    # -- what is asked --------------------------------------------------------------------------------------------

    def state(self) -> State:
        """How it is now. Raises Refused when guard doesn't answer, also because the run has ended."""
        return embedding.state_of(self._ask({"verb": "state"}))

    def profile(self, duration: float | None = None, *, pid: int | None = None) -> Evidence:
        """A CPU profile over so many seconds (by default the setting `profile_duration`), of the process that grew most
        or of `pid`. Returns when it is written. Raises Refused."""
        return self._take("profile", pid, duration)

    def heap(self, duration: float | None = None, *, pid: int | None = None) -> Evidence:
        """A heap profile, as `profile`."""
        return self._take("heap", pid, duration)

    def stacks(self, *, pid: int | None = None) -> Evidence:
        """The stacks of every thread of a process. Raises Refused."""
        return self._take("stacks", pid, None)

    def snapshot(self) -> Evidence:
        """Every process's memory, threads and descriptors. Raises Refused."""
        return self._take("snapshot", None, None)

    def restart(self) -> None:
        """End this life and begin another; returns when that runs. Raises Refused, also for a run with one life."""
        answer = self._ask({"verb": "restart"})
        self._path, self.pid = answer.get("evidence"), int(answer.get("pid") or 0)

    def stop(self, timeout: float | None = None) -> int:
        """Stop signal, `stop_timeout`, KILL; no restart follows. The exit code. Raises TimeoutError as `wait`."""
        if self.returncode is None:
            try:
                self._ask({"verb": "stop", "wait": False})
            except GuardError:  # no socket: guard forwards the signal, which is a stop as well
                self._signal(signal.SIGTERM)
        return self.wait(timeout)

    def send_signal(self, number: int) -> None:
        """Send a signal to guard, which forwards it to the command."""
        self._signal(number)

    def close(self) -> None:
        """Give everything back. What still runs, runs on."""
        self._begun = True  # or never heard of
        self._channel.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        if self._code is None:
            self._code = self._told_code
        self._process.returncode = self._code if self._code is not None else 0  # so that it isn't waited for elsewhere

    # -- below ----------------------------------------------------------------------------------------------------

    def _take(self, verb: str, pid: int | None, duration: float | None) -> Evidence:
        request: dict[str, Any] = {"verb": verb}
        request |= {"pid": pid} if pid is not None else {}
        request |= {"duration_s": duration} if duration is not None else {}
        return embedding.evidence_of(self._ask(request))

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the life that runs; between two lives the socket moves."""
        deadline_s = time.monotonic() + _NEXT_LIFE_S
        while True:
            self._pump(0.0)
            self._until_begun()
            if self._code is not None:
                raise Refused("the run has ended", why=f"its exit code is {self._code}", hint="guard postmortem")
            if self._path is None:
                hint = "a profiles_dir that can be written to"
                raise Refused("guard can't be asked", why="it has no place for its socket", hint=hint)
            try:
                return client.ask(evidence.read(self._path), request)
            except Refused:
                raise
            except GuardError:
                if time.monotonic() > deadline_s:
                    raise
                self._pump(0.05)

    def _until_begun(self) -> None:
        while not self._begun and self._code is None:
            self._pump(None)

    def _signal(self, number: int) -> None:
        if self._pidfd >= 0 and self._code is None:
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                pass

    def _pump(self, timeout_s: float | None) -> None:
        """Wait for events or for the end, and take what there is."""
        if self._code is not None:
            return
        poller = select.poll()
        poller.register(self._channel.log, select.POLLIN)
        if self._pidfd >= 0:
            poller.register(self._pidfd, select.POLLIN)
        else:  # it had ended, and was reaped by somebody else, before it could be held
            timeout_s = 0.0
        ready = {fd for fd, _ in poller.poll(None if timeout_s is None else max(0.0, timeout_s) * 1000)}
        self._fetch()
        if self._pidfd in ready or self._pidfd < 0:
            self._fetch()  # what it told before its end
            self._code = self._reap()

    def _fetch(self) -> None:
        for event in self._channel.take():
            if event.name == "run.started":
                path, pid = event.fields.get("evidence"), event.fields.get("pid")
                self._path = path if isinstance(path, str) else None
                self.pid = pid if isinstance(pid, int) else self.pid
                self._begun = True
            elif event.name == "run.exited" and isinstance(event.fields.get("code"), int):
                self._told_code = event.fields["code"]
            self._pending.append(event)
        while len(self._pending) > _MOST_PENDING:
            self._pending.popleft()
            self.lost += 1

    def _reap(self) -> int:
        """Its exit code; the record's where another part of this program has taken it (os.wait, SIGCHLD ignored)."""
        try:
            found = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED) if self._pidfd >= 0 else None
        except ChildProcessError:
            found = None
        if found is not None:
            killed = found.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
            return 128 + found.si_status if killed else found.si_status
        recorded = evidence.read(self._path).record.code if self._path is not None else None
        code = recorded if recorded is not None else self._told_code
        if code is None:
            self._code = -1
            hint = "don't wait for children that aren't yours: os.waitpid(PID) instead of os.wait()"
            raise GuardError("the exit code is lost", why="another part of this program took it", hint=hint)
        return code


def _pidfd(pid: int) -> int:
    """What tells of its end; -1 when it is gone and was reaped by somebody else."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return -1
