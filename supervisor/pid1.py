"""guard as an init: signals in, signals forwarded, children reaped, the target's exit code.

One place reaps, and it reaps everything and routes by pid. Handlers record; the wake-up pipe wakes the loop, which
does the rest. Imported before the watcher's own imports, so that a signal is answered while those still run.
"""

from __future__ import annotations

import _signal
import os
import select
import time

from supervisor.dispositions import at_default, group_members, is_stopped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervisor.config import Config
    from supervisor.keys import Keys
    from supervisor.launch import Target
    from supervisor.part import Part

# signal(7): raised by the process's own faults, or not to be had.
_OWN = ("KILL", "STOP", "CHLD", "SEGV", "BUS", "FPE", "ILL", "ABRT", "TRAP", "SYS")
NEVER_FORWARDED = frozenset(int(getattr(_signal, f"SIG{name}")) for name in _OWN if hasattr(_signal, f"SIG{name}"))
STOPS = frozenset((int(_signal.SIGTSTP), int(_signal.SIGTTIN), int(_signal.SIGTTOU)))
_FROM_TERMINAL = frozenset((int(_signal.SIGTTIN), int(_signal.SIGTTOU)))
# Some live on: QUIT is "show your threads" to a JVM. To others, nginx say, it is a stop that may take minutes.
_SLOW_STOPS = frozenset((int(_signal.SIGINT), int(_signal.SIGQUIT)))
_SLOW_STOP_S = 600.0
_PIPE_BYTES = 65536
_RSS_SLACK_BYTES = 1 << 20  # the kernel counts pages by the batch
_LONGEST_WAIT_S = 3600.0  # poll(2) takes no infinity
_MOST_AT_ONCE = 1000  # children reaped before signals get their turn again


class Ended:
    """A child that ended: `status` as wait(2) gives it."""

    __slots__ = ("pid", "status")

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self.status = status


class Forwarded:
    """Signals sent on; `error` is the errno when the kernel refused."""

    __slots__ = ("count", "error", "sent", "signal")

    def __init__(self, signal: int, sent: int, count: int, error: int | None) -> None:
        self.signal = signal
        self.sent = sent
        self.count = count
        self.error = error


def exit_code(status: int) -> int:
    """The shell's code for a wait status: the exit code, or 128+n for signal n."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _own_largest(told_bytes: int, forked_bytes: int) -> int:
    """A target's largest RSS; 0 where guard's own, which was counted before the exec, may be all of it."""
    return told_bytes if told_bytes > forked_bytes + _RSS_SLACK_BYTES else 0


class Init:
    """The target's init. `target` None: nothing to forward to, signals are only recorded (`guard watch`)."""

    def __init__(self, target: Target | None, config: Config) -> None:
        self.config = config
        self.stopped_from_outside = False  # a stop was forwarded, or what the target took for one
        self.frozen: set[int] = set()  # stopped by guard itself, to be read
        self.helpers: set[int] = set()  # guard's own children beside its workers: no part of the tree
        self._backlog: list[Ended | Forwarded] = []
        self._rewrite = dict(config.rewrite_signal)
        self._recorded: set[int] = set()
        self._more_to_reap = False
        self.begin(target)
        self._read_end, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.poller = select.poll()
        self.poller.register(self._read_end, select.POLLIN)
        self.parts: list[Part] = []
        self.alone = False  # nobody else's descriptor wakes it, and no part gets its turn
        self._own_poller = select.poll()
        self._own_poller.register(self._read_end, select.POLLIN)
        self._ready: set[int] = set()  # what the last poll told of, whoever registered it

    def begin(self, target: Target | None) -> None:
        """Serve this target from now on; the one before it, if any, is gone with its group."""
        self.target = target
        self.terminal = target.terminal if target is not None else None
        self.status: int | None = None  # the target's, once it ended
        self.target_is_stopped = False
        self.stop_signal = 0  # what stopped it
        # Of the target and those it waited for, the most that one held (getrusage(2)): samples can miss a short peak.
        self.largest_bytes = 0
        self._forwarded: set[int] = set()
        self._stop_deadline_s: float | None = None
        self._group_killed = False
        self._group_deadline_s: float | None = None
        self._maybe_until_s = 0.0  # who ends before that took a signal for a stop
        self.keys: Keys | None = None

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Descriptors that have to stay open."""
        own = (self._read_end, self._write_end)
        return own if self.terminal is None else (*own, self.terminal.fd)

    def install(self) -> None:
        """Install handlers and let signals in. Those that waited blocked since the first statement arrive now."""
        _signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        for number in _signal.valid_signals():
            if number in NEVER_FORWARDED and number != _signal.SIGCHLD:
                continue
            try:
                if self.terminal is not None and number in _FROM_TERMINAL:
                    _signal.signal(number, _signal.SIG_IGN)
                else:
                    _signal.signal(number, self._record)
            except (OSError, ValueError):
                continue
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())

    def _record(self, number: int, frame: object) -> None:
        self._recorded.add(number)

    def wait(self, timeout_s: float) -> list[int]:
        """Wait for signals or until the timeout; the numbers that came, in order, SIGCHLD included."""
        wait_ms = max(0.0, min(timeout_s, _LONGEST_WAIT_S)) * 1000
        poller = self._own_poller if self.alone else self.poller
        self._ready = {fd for fd, _ in poller.poll(wait_ms)}
        if self._read_end not in self._ready:
            return []
        try:
            data = os.read(self._read_end, _PIPE_BYTES)
        except BlockingIOError:
            return []
        # A full pipe loses numbers; what is in the record and not in the pipe was lost. With room left, what comes
        # after the read is in the pipe again, so the record may go.
        recorded, self._recorded = self._recorded, set()
        return [*data, *sorted(recorded - set(data))] if len(data) == _PIPE_BYTES else list(data)

    def forward(self, numbers: list[int]) -> list[Forwarded]:
        """Send on what came, in its order; one entry a signal. Also does guard's part of stop and continue."""
        done: dict[int, Forwarded] = {}
        stop = False
        for number in numbers:
            if number in NEVER_FORWARDED:
                continue
            sent = self._rewrite.get(number, number)
            if sent == _signal.SIGTSTP and self.terminal is not None and number not in self._rewrite:
                self._stopped_by_terminal()
                continue
            error: int | None = None
            if sent in STOPS and self.terminal is None:
                error = self._send_stop(sent)
                stop = True
            elif sent:
                if number == _signal.SIGCONT:
                    self._resume_terminal()
                    stop = False
                error = self.send(sent)
                self._forwarded.add(sent)
            if sent in (_signal.SIGTERM, self.config.stop_signal):
                self.stopped_from_outside = True
            elif sent in _SLOW_STOPS or sent == _signal.SIGHUP:
                # Many take a hang-up for "read your settings again" and live on.
                patience_s = _SLOW_STOP_S if sent in _SLOW_STOPS else self.config.stop_timeout
                self.stopped_from_outside |= self.target is None or self.status is not None
                self._maybe_until_s = max(self._maybe_until_s, time.monotonic() + patience_s)
            entry = done.setdefault(number, Forwarded(number, sent, 0, None))
            entry.count += 1
            entry.error = error
        if stop:
            os.kill(os.getpid(), _signal.SIGSTOP)
        return list(done.values())

    def send(self, number: int) -> int | None:
        """Send a signal to the target's group or, with --forward child, to it alone; the errno of a failure."""
        if self.target is None:
            return None
        try:
            if self.config.forward == "child":
                if self.status is None:
                    os.kill(self.target.pid, number)
            else:
                os.killpg(self.target.pid, number)
        except ProcessLookupError:
            return None
        except OSError as error:
            return error.errno
        return None

    def _send_stop(self, number: int) -> int | None:
        """Send TSTP, TTIN or TTOU where there is no terminal; the errno of a failure.

        Away from a terminal the target's group is an orphaned one, in which the kernel doesn't stop processes that
        leave these signals at their default (signal(7), setpgid(2)). Those get SIGSTOP, which looks the same to them.
        """
        target = self.target
        if target is None or self.status is not None:
            return self.send(number)
        pids = [target.pid] if self.config.forward == "child" else group_members(target.pid)
        idle = [pid for pid in pids if at_default(pid, number)]
        error = self.send(number)
        for pid in idle:
            try:
                os.kill(pid, _signal.SIGSTOP)
            except OSError:
                pass  # gone, or not ours: as the signal itself
        return error

    def reap(self) -> list[Ended]:
        """Reap children that ended; note the target's end, and follow it through stop and continue."""
        ended: list[Ended] = []
        self._more_to_reap = False
        while True:
            if len(ended) >= _MOST_AT_ONCE:
                self._more_to_reap = True
                break
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if os.WIFSTOPPED(status):
                if self.target is not None and pid == self.target.pid and pid not in self.frozen:
                    self.target_is_stopped = True
                    self.stop_signal = os.WSTOPSIG(status)
                    self._target_stopped(os.WSTOPSIG(status))
                continue
            if os.WIFCONTINUED(status):
                self.target_is_stopped = self.target_is_stopped and pid != (self.target.pid if self.target else 0)
                continue
            if self.target is not None and pid == self.target.pid:
                self.status = status
                self.stopped_from_outside |= time.monotonic() < self._maybe_until_s
                self._look_at_keys()
                self.largest_bytes = _own_largest(usage.ru_maxrss * 1024, self.target.forked_bytes)
                self._leave_terminal(status)
            self.helpers.discard(pid)
            ended.append(Ended(pid, status))
        return ended

    def _look_at_keys(self) -> None:
        """The target has ended: a key that was pressed just before may be why."""
        if self.keys is not None:
            self.keys.look()
            self.stopped_from_outside |= self.keys.pressed(self.config.stop_timeout)
            self.keys.end()

    def pump(self, timeout_s: float | None) -> None:
        """Wait, forward, reap: what came of it waits in the backlog. Every part gets its turn before and after.

        Forwarding comes first: as long as the target isn't reaped nobody else can have its pid.
        """
        patience_s = min(self._look(), float("inf") if timeout_s is None else timeout_s)
        numbers = self.wait(0 if self._more_to_reap else patience_s)
        self._backlog += self.forward(numbers)
        self._backlog += self.reap()
        self._look()

    def _look(self) -> float:
        """Give every part its turn; seconds until one of them is due."""
        now_s = time.monotonic()
        patience_s = self.enforce_stop(now_s)
        if not self.alone:
            ready, self._ready = self._ready, set()
            for part in tuple(self.parts):
                patience_s = min(patience_s, part.look(now_s, ready))
        return patience_s

    def take_backlog(self) -> list[Ended | Forwarded]:
        """What happened since the last call."""
        backlog, self._backlog = self._backlog, []
        return backlog

    @property
    def code(self) -> int:
        """What guard exits with: the target's code, remapped."""
        code = exit_code(self.status or 0)
        return dict(self.config.remap_exit).get(code, code)

    def end_target(self, now_s: float) -> None:
        """Begin a stop of guard's own: the stop signal now, KILL after the patience (`enforce_stop`)."""
        if self.status is None and self._stop_deadline_s is None:
            self._stop_deadline_s = now_s + self.config.stop_timeout
            self.send(self.config.stop_signal)
            self.send(_signal.SIGCONT)

    def enforce_stop(self, now_s: float) -> float:
        """KILL when the patience with a stop is over; seconds to the next look."""
        if self._stop_deadline_s is None or self.status is not None:
            return float("inf")
        if now_s >= self._stop_deadline_s:
            self._stop_deadline_s = now_s + 1.0
            self.send(_signal.SIGKILL)
        return self._stop_deadline_s - now_s

    def group_left(self, now_s: float) -> float | None:
        """After the target's end: end what is left of its group. Seconds until the next look, None when done."""
        if self.target is None or self.config.keep_group or self.config.forward == "child":
            return None
        try:
            os.killpg(self.target.pid, 0)
        except OSError:
            return None
        if self._group_deadline_s is None:
            self.send(_signal.SIGTERM)
            self.send(_signal.SIGCONT)
            self._group_deadline_s = now_s + self.config.stop_timeout
        if now_s >= self._group_deadline_s:
            if self._group_killed:
                return None  # what survives KILL can only be waited for in vain
            self._group_killed = True
            self._group_deadline_s = now_s + 1.0
            self.send(_signal.SIGKILL)
        return min(0.05, max(0.001, self._group_deadline_s - now_s))

    # -- job control ----------------------------------------------------------------------------------------------

    def _target_stopped(self, number: int) -> None:
        """A stopped target stops guard, so that the shell sees its job stopped; where that can't be, it runs on."""
        target, terminal = self.target, self.terminal
        if target is None or terminal is None or not is_stopped(target.pid):
            return
        if number in _FROM_TERMINAL and terminal.guard_in_front():
            terminal.give(target.pid)
            self.send(_signal.SIGCONT)
            return
        # The kernel decides whether somebody could continue the job: with TSTP at its default it stops guard or, in
        # an orphaned process group and as PID 1, doesn't.
        self._recorded.discard(_signal.SIGCONT)
        if os.getpid() != 1 and (number in STOPS or _parent_is_outside()):
            _signal.signal(_signal.SIGTSTP, _signal.SIG_DFL)
            # The terminal stops all of a foreground group: a pipeline's other members, the `make` that called guard.
            os.killpg(0, _signal.SIGTSTP) if number in STOPS else os.kill(os.getpid(), _signal.SIGTSTP)
            _signal.signal(_signal.SIGTSTP, self._record)
        if number in STOPS and _signal.SIGCONT not in self._recorded:
            self.send(_signal.SIGCONT)  # as the kernel had ignored this stop without guard

    def _leave_terminal(self, status: int) -> None:
        """The target has ended: guard's group is in front again, the terminal as it was before a killed target.

        A Ctrl-C only reached the target's group. Without guard the rest of the pipeline, or the script around it,
        would have got it, too.
        """
        target, terminal = self.target, self.terminal
        if target is None or terminal is None or not terminal.take_from(target.pid) or not os.WIFSIGNALED(status):
            return
        terminal.restore()
        number = os.WTERMSIG(status)
        if number not in (_signal.SIGINT, _signal.SIGQUIT) or number in self._forwarded or os.getpid() == 1:
            return
        if os.getsid(0) != os.getpid():
            _signal.signal(number, _signal.SIG_IGN)
            os.killpg(0, number)
            _signal.signal(number, self._record)

    def _stopped_by_terminal(self) -> None:
        """TSTP under job control. What the terminal sends to the target's group, guard doesn't get; sent to guard's,
        it is meant for the whole pipeline or job."""
        target, terminal = self.target, self.terminal
        if target is not None and terminal is not None and terminal.front() != target.pid:
            self.send(_signal.SIGTSTP)

    def _resume_terminal(self) -> None:
        """A continued job that is in front: the target belongs there, unless it shares the terminal."""
        target, terminal = self.target, self.terminal
        if target is not None and terminal is not None and not terminal.shared and terminal.guard_in_front():
            terminal.give(target.pid)


def _parent_is_outside() -> bool:
    """Whether guard's parent is in another process group, as a shell with job control is."""
    try:
        return os.getpgid(os.getppid()) != os.getpgrp()
    except OSError:
        return True


def serve(init: Init) -> int:
    """A plain init: forward and reap until the target and its group are gone; the exit code."""
    init.alone = True
    try:
        while init.status is None:
            init.pump(None)
            init.take_backlog()
        while (pause := init.group_left(time.monotonic())) is not None:
            init.pump(pause)
            init.take_backlog()
        init.reap()
    finally:
        init.alone = False
    return init.code
