"""Workers: started, bounded in time, their results read; the watcher's side of an action."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from collections.abc import Collection
from typing import Any

from supervisor import launch, sample
from supervisor.config import Config
from supervisor.model import SECRET, Start
from supervisor.version import VERSION

_WORK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "work.py")
# Patience after SIGINT: two seconds for py-spy to write its file, and some for the worker to render.
GRACE_S = 5.0
DEADLINES_S = {
    "snapshot": 20.0,
    "stacks": 15.0,
    "cpu-profile": 30.0,
    "heap-profile": 60.0,
    "growth": float("inf"),  # until memory is back to ok or the process ends
    "retention": 120.0,
    "hook": 10.0,
    "notify": 60.0,
    "pyroscope": 30.0,
    "ship": 0.0,  # its time comes with it
}
_MOST_RESULT = 65536
_LENT_FD = 3
PROFILERS = ("stacks", "growth", "cpu-profile", "heap-profile")
REACTIONS = ("hook", "notify", "pyroscope")  # these belong to no process, and may outlast the run
READ = b"read\n"  # a worker's line: the process that was stopped for it runs again


class Worker:
    """A running worker."""

    def __init__(
        self, start: Start, pid: int, result_fd: int, now_s: float, deadline_s: float, start_ticks: int
    ) -> None:
        self.start = start
        self.start_ticks = start_ticks  # with `start.pid`: the process that is meant
        self.pid = pid
        self.started_s = now_s
        self.deadline_s = deadline_s
        self.asked_to_end = False
        self.timed_out = False
        self.was_stopped = False
        self._fd = result_fd
        self._data = b""

    def drain(self) -> bool:
        """Take what it printed; False when it closed its end."""
        while True:
            try:
                chunk = os.read(self._fd, 65536)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not chunk:
                return False
            self._data = (self._data + chunk)[-_MOST_RESULT:]

    def news(self) -> dict[str, Any]:
        """How far it is, from its last whole line; empty when it told nothing."""
        lines = self._data.rpartition(b"\n")[0].splitlines()
        try:
            found = json.loads(lines[-1]).get("progress", {}) if lines else {}
        except (ValueError, AttributeError):
            found = {}
        return found if isinstance(found, dict) else {}

    def has_read(self) -> bool:
        """Whether it said since the last call that it has read its stopped process, and continued it."""
        found = READ in self._data
        self._data = self._data.replace(READ, b"")
        return found

    def result(self, status: int) -> dict[str, Any]:
        """What came out, from its last line; a worker that died is a failure with what it said."""
        self.drain()
        os.close(self._fd)
        lines = self._data.decode("utf-8", "replace").splitlines()
        try:
            found = json.loads(lines[-1]) if lines else None
        except ValueError:
            found = None
        if isinstance(found, dict) and (os.WIFEXITED(status) or (self.asked_to_end and "outcome" in found)):
            return found  # asked to end when it just had: the signal found it on its way out
        said = lines[-1][:300] if lines else ""
        if os.WIFSIGNALED(status):
            by = signal.Signals(os.WTERMSIG(status)).name
            reason = "deadline" if self.timed_out else "worker-killed"
            return {"outcome": "failed", "reason": reason, "said": said or f"ended by {by}", "hint": "dmesg | tail"}
        return {"outcome": "failed", "reason": "worker-crashed", "said": said, "hint": "guard doctor"}

    def ask_to_end(self, now_s: float) -> None:
        """SIGINT: keep what there is."""
        if not self.asked_to_end:
            self.asked_to_end = True
            self.deadline_s = now_s + GRACE_S
            self._send(signal.SIGINT)

    def hurry(self) -> None:
        """SIGUSR1: there is hardly any time left."""
        self._send(signal.SIGUSR1)

    def enforce(self, now_s: float) -> None:
        """Past the deadline: INT first, then KILL with everything the worker started."""
        if now_s < self.deadline_s:
            return
        self.timed_out = True
        if not self.asked_to_end:
            self.ask_to_end(now_s)
        else:
            self.kill()
            self.deadline_s = now_s + GRACE_S

    def kill(self) -> None:
        """KILL the worker and what it started: they are a session of their own, from before its first statement on."""
        if self._is_child():
            self.kill_group()

    def kill_group(self) -> None:
        """KILL its session where it was reaped just now: as long as anybody is left in that, the number is taken."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except OSError:
            pass

    def _send(self, number: int) -> None:
        if self._is_child():
            try:
                os.kill(self.pid, number)
            except OSError:
                pass

    def _is_child(self) -> bool:
        """Whether it runs or waits to be reaped: somebody else may have the pid of one that was reaped."""
        try:
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True


def spec_of(config: Config, start: Start, start_ticks: int | None, **place: Any) -> dict[str, Any]:
    """What a worker of an action has to know of its process and of the settings.

    `place` is where its evidence goes: `directory`, `name`, `run`, `command`; and whatever else its caller knows.
    """
    return {
        "action": start.kind,
        "state": start.state,
        "trigger": start.trigger,
        "idle": start.idle,
        "pid": start.pid,
        "start_ticks": start_ticks,
        "reason": start.reason,
        "mode": config.evidence_mode,
        "version": VERSION,
        "python": sys.version.split()[0],
        "sampling_interval": config.sampling_interval,
        "max_samples": config.max_samples,
        "heap_interval": config.heap_interval,
        "node_inspector": config.node_inspector,
        "go_pprof": config.go_pprof is not None,  # where, is the worker's secret
        "overhead_budget": config.overhead_budget,
        "cores": config.facts.cores,
        "duration": start.duration_s or config.profile_duration,
        "source_locations": config.source_locations,
        "library_frames": config.library_frames,
        "heap_agent": config.heap_agent,
        "remote_exec": config.remote_exec,
        **place,
    }


def lend(start: Start, config: Config) -> int | None:
    """A descriptor of the process's memory: Yama 1 lets ancestors read, which guard is and its workers aren't.

    None where nothing has to be lent; see `profilers.lent`. To be written by it is lent for `profilers.remote` only.
    """
    if start.kind not in PROFILERS or not config.allow_ptrace or launch.yama_scope() != 1:
        return None
    return sample.open_memory(start.pid, write=start.kind == "heap-profile" and config.remote_exec)


class Workers:
    """All that run now."""

    def __init__(self, poller: select.poll) -> None:
        self._poller = poller
        self.running: dict[int, Worker] = {}
        self._open: dict[int, Worker] = {}

    def begin(
        self,
        start: Start,
        spec: dict[str, Any],
        now_s: float,
        extra_s: float,
        memory_fd: int | None = None,
        secret: str | None = None,
    ) -> Worker:
        """Start a worker for an action, with a descriptor of its process's memory if that is lent to it.

        `secret` is what nobody may read in its arguments; the action takes it by `Task.secret`.

        Raises OSError (EAGAIN, ENOMEM, EMFILE, ...).
        """
        spec["path"] = [path for path in sys.path if path]
        spec["parent"] = os.getpid()
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        null = -1
        try:
            os.set_blocking(read_end, False)
            null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            actions: list[tuple[Any, ...]] = [
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, write_end, 1),
                (os.POSIX_SPAWN_DUP2, write_end, 2),
            ]
            if memory_fd is not None:
                actions.append((os.POSIX_SPAWN_DUP2, memory_fd, _LENT_FD))
                spec["memory_fd"] = _LENT_FD
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-IS", _WORK, json.dumps(spec)],
                os.environ if secret is None else {**os.environ, SECRET: secret},
                file_actions=actions,
                setsid=True,
                setsigmask=(signal.SIGINT, signal.SIGUSR1),  # until the worker is ready for them
                setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
            )
        except OSError:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
            if null >= 0:
                os.close(null)
        ticks = int(spec.get("start_ticks") or 0)
        worker = Worker(start, pid, read_end, now_s, now_s + DEADLINES_S[start.kind] + extra_s, ticks)
        self.running[pid] = worker
        self._open[read_end] = worker
        self._poller.register(read_end, select.POLLIN)
        return worker

    def of_kind(self, kind: str) -> Worker | None:
        """The running worker of an action, or None."""
        return next((worker for worker in self.running.values() if worker.start.kind == kind), None)

    def look(self, now_s: float, ready: Collection[int]) -> float:
        """Read what they print, so that none waits for a full pipe; enforce deadlines, seconds to the next one."""
        self._drain()
        for worker in list(self.running.values()):
            worker.enforce(now_s)
        return min((worker.deadline_s - now_s for worker in self.running.values()), default=float("inf"))

    def _drain(self) -> None:
        for fd, worker in list(self._open.items()):
            if not worker.drain():
                self._poller.unregister(fd)
                del self._open[fd]

    def ended(self, pid: int, status: int) -> tuple[Worker, dict[str, Any]] | None:
        """The worker of a reaped pid with its result, or None when the pid is no worker's."""
        worker = self.running.pop(pid, None)
        if worker is None:
            return None
        for fd, other in list(self._open.items()):
            if other is worker:
                self._poller.unregister(fd)
                del self._open[fd]
        if os.WIFSIGNALED(status):
            worker.kill_group()  # what it started must not outlive it
        return worker, worker.result(status)

    def end(self) -> None:
        """Kill those that are left, and forget them."""
        for worker in self.running.values():
            worker.kill()
        for fd in self._open:
            self._poller.unregister(fd)
            os.close(fd)
        self._open.clear()
        self.running.clear()
