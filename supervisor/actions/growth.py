"""`growth`: who takes the memory. Stacks of the guilty process, timed by its growth and weighed by bytes.

Each time the process has gained a step, a trap catches one of its threads in the act of touching new memory (see
`profilers.faults`), its stack is read while it stands there, and it goes on. The stack gets the bytes gained since the
last one, unless memory falls back right after: then what was touched was temporary, and its bytes are carried over to
a stack whose memory stays. The thread stands still for one py-spy dump, so the overhead budget sets the pace.

With hardly any time left (the watcher stopped the process for this, or sends SIGUSR1) the pace is as fast as it goes
for a fraction of a second, and every stack is on disk before its thread goes on: the kernel may kill at any moment.
"""

from __future__ import annotations

import random
import signal
import time
from typing import Any

from supervisor import stops
from supervisor.actions import following, growth_report, mapped, stacks
from supervisor.actions.ledger import STEP_BYTES, Ledger
from supervisor.actions.task import Pass, Task
from supervisor.analysis import folded
from supervisor.profilers import faults, permission, runner, tracing
from supervisor.profilers.failure import Failure
from supervisor.profilers.syscalls import SyscallTrap
from supervisor.profilers.traps import NoTrap, StopTrap, Trap

_SHORTEST_GAP_S = 0.05
_LOOK_S = 0.02
_SETTLE_S = 0.08
# What was touched is looked at again once the thread had this share of the time to run, which a busy machine may not
# give it; and after so many times the time in any case.
_RUN_SHARE = 0.5
_MOST_SETTLES = 10
_WRITE_EVERY_S = 1.0
_WATCH_S = 0.25
# How many page faults a thread is let go on for before it is caught: many enough that a burst of an innocent's isn't
# all that is ever seen, few enough that a slow leak, or one of huge pages, gets there in time.
_MOST_FAULTS = 64
_LEAST_FAULTS = 13
_HASTE_STACKS = 8
_HASTE_S = 0.8
_HASTE_LOOK_S = 0.001
_HASTE_SETTLE_S = 0.004


def take(task: Task) -> dict[str, Any]:
    """Follow a Python until told to stop or it ends. Raises Pass when it can't be read, Failure."""
    frozen_by_watcher = following.is_frozen(task)
    try:
        task.check_target()
        threads = stacks.dump(task.pid, nonblocking=True)  # refuses early, with its reason
    except Failure as failure:
        if failure.reason in stacks.UNREADABLE:
            raise Pass.of(failure) from failure
        if frozen_by_watcher:
            following.write_frame(task, [])
            following.go_on(task)
        raise
    follower = Follower(task, frozen=frozen_by_watcher)
    try:
        if frozen_by_watcher:
            following.write_frame(task, threads, stacks.reader(task.pid))
            follower.hurry(frozen=True)
        elif follower.watch is not None:
            follower.report(follower.ledger)  # where it lies already
        follower.follow()
    except (runner.Interrupted, ProcessLookupError):
        pass
    finally:
        follower.close()
    runner.hold(signal.SIGINT, signal.SIGTERM)  # the end is bounded by itself
    follower.last()
    return follower.report(follower.ledger)


def choose_trap(pid: int) -> tuple[Trap, str, list[dict[str, str]]]:
    """The most exact trap that this place allows, its name, and what refuses a better one."""
    refused: list[dict[str, str]] = []
    try:
        exact = faults.FaultTrap(pid)  # opens perf events
    except OSError as error:
        refused.append(permission.perf_refusal(error))
    else:
        try:
            exact.arm(1 << 30)  # traces
            exact.release()
            return exact, "page-fault", refused
        except OSError as error:
            exact.close()
            return NoTrap(), "running", [permission.ptrace_refusal(f"ptrace: {error.strerror}")]
    try:
        at_calls = SyscallTrap(pid)
        at_calls.arm(1 << 30)
        at_calls.release()
        return at_calls, "syscall", refused
    except OSError as error:
        refused.append(permission.ptrace_refusal(f"ptrace: {error.strerror}"))
    return NoTrap(), "running", refused


class Follower:
    """One process followed: trap, ledger, pace.

    Where nothing may be stopped, stacks may tell nothing: growth by mapping is kept beside them (`watch`).
    """

    def __init__(self, task: Task, *, frozen: bool = False, watch: mapped.Mapped | None = None) -> None:
        self.task = task
        self.trap, way, refused = choose_trap(task.pid)
        self._rss = following.Rss(task.pid)
        rss = self._rss.read() or 0
        self.ledger = Ledger(rss)
        self.course = growth_report.Course(way, refused, rss)
        self._budget: float = task.spec.get("overhead_budget", 0.03)
        self._written_s = self._write_due_s = 0.0
        self._unwritten = False
        self._faults = _MOST_FAULTS
        self._run: following.Run | None = None  # of the thread that was caught last, since it was let go
        self.stacks_by = stacks.reader(task.pid)
        self.watch = watch
        if watch is None and isinstance(self.trap, NoTrap):
            self.watch = mapped.Mapped(task, frozen=frozen)

    def close(self) -> None:
        """Let the process go."""
        try:
            self.trap.close()
        except (OSError, runner.Interrupted):
            pass

    def follow(self) -> None:
        """Until the process ends, or for the spec's `seconds`."""
        seconds = self.task.spec.get("seconds")  # no bound but for a trial
        deadline = time.monotonic() + (float("inf") if seconds is None else seconds)
        while time.monotonic() < deadline:
            rss = self._read()
            if rss is None:
                return
            if not self.ledger.due(rss, STEP_BYTES):
                tracing.sweep()
                if following.rest(self.task, _LOOK_S):
                    self.hurry(frozen=self._frame())
                continue
            began = time.monotonic()
            caught, pause = self._catch(self.trap, 0.25)
            gap_s = max(_SHORTEST_GAP_S, pause / self._budget - pause)
            if not self._settle(caught, min(gap_s, _SETTLE_S)):
                return
            if self.ledger.counts and time.monotonic() - self._written_s >= _WRITE_EVERY_S:
                self._write()
            if self._rest_until(began + pause + gap_s):
                self.hurry(frozen=self._frame())

    def _rest_until(self, due_s: float) -> bool:
        """Sleep, but for looks at its mappings; True when the watcher calls for haste. Raises Interrupted.

        A thread that couldn't be let go yet is looked after, too.
        """
        while tracing.sweep() and due_s - time.monotonic() > _LOOK_S:
            if following.rest(self.task, _LOOK_S):
                return True
            if self._read() is None:
                return False
        while self.watch is not None and due_s - time.monotonic() > _WATCH_S:
            if following.rest(self.task, _WATCH_S):
                return True
            if self._read() is None:
                return False
        return following.rest(self.task, due_s - time.monotonic())

    def hurry(self, *, frozen: bool = False) -> None:
        """Some stacks as fast as they come. A process that the watcher stopped is continued with the trap set."""
        trap = StopTrap(self.task.pid) if isinstance(self.trap, NoTrap) else self.trap
        deadline = time.monotonic() + _HASTE_S
        for number in range(_HASTE_STACKS):
            while not frozen:
                rss = self._read()
                if rss is None or time.monotonic() >= deadline:
                    return
                if self.ledger.due(rss, STEP_BYTES):
                    break
                tracing.sweep()
                time.sleep(_HASTE_LOOK_S)
            last = number + 1 == _HASTE_STACKS
            caught, _ = self._catch(trap, 0.1, frozen=frozen, finish=last)
            frozen = False
            self.course.haste += caught is not None
            if not self._settle(caught, _HASTE_SETTLE_S) or time.monotonic() >= deadline:
                break
        self.report(self.ledger)
        self._written_s = time.monotonic()

    def report(self, ledger: Ledger) -> dict[str, Any]:
        """Put the whole report in place; the result for the watcher."""
        if self.stacks_by != "py-spy":
            self.course.facts = {"engine": f"{self.stacks_by}, {self.course.engine}"}
        if self.watch is None:
            return growth_report.write(self.task, ledger, self.course)
        return self.watch.report(ledger, self.course, self.instead(ledger) if ledger.enough else "")

    def instead(self, ledger: Ledger) -> str:
        """Why its functions tell less than where its memory lies; "" where they tell more."""
        return ""

    def last(self) -> None:
        """Its mappings once more, while it lives."""
        if self.watch is not None:
            self.watch.last()

    def read_mappings(self) -> None:
        """Of the stopped process. Raises ProcessLookupError."""
        if self.watch is not None:
            self.watch.read(hasty=True)

    def stack(self, tid: int) -> str:
        """The folded stack of a thread that the trap holds. Raises Failure, OSError."""
        return _stack_of(stacks.dump(self.task.pid, nonblocking=True), tid)

    def write_frame(self) -> None:
        """The stopped process as it stands. Raises Failure, OSError."""
        self.read_mappings()
        threads = stacks.dump(self.task.pid, nonblocking=True)
        following.write_frame(self.task, threads, stacks.reader(self.task.pid))

    def _frame(self) -> bool:
        """The watcher called for haste: whether it stopped the process, which is then written down as it stands."""
        if not stops.await_stop(self.task.pid):
            self.task.spec["freeze"] = False
            return False
        try:
            self.write_frame()
        except Failure as failure:
            self.course.failed(f"{failure.reason}: {failure.said}")
        return True

    def _read(self) -> int | None:
        rss = self._rss.read()
        if rss is not None:
            self.course.peak_bytes = max(self.course.peak_bytes, rss)
            self.ledger.fell(rss)
            if self.watch is not None:
                self._unwritten |= self.watch.look(rss)
        if self.watch is not None and self._unwritten:
            self._write()  # also when nothing more comes
        return rss

    def _catch(
        self, trap: Trap, timeout_s: float, *, frozen: bool = False, finish: bool | None = None
    ) -> tuple[tuple[str, int] | None, float]:
        """One stack with what the process held then, and how long its thread stood. Raises Failure when it is over.

        `finish` is given in a hurry: what there is gets written before the thread goes on, on True the whole report.
        """
        caught: tuple[str, int] | None = None
        tid: int | None = None
        armed_s = stopped_s = time.monotonic()
        try:
            try:
                trap.arm(random.randint(1, _LEAST_FAULTS if finish is not None else self._faults))
            finally:
                if frozen:
                    following.go_on(self.task)
                    self.course.frozen_s = time.time() - self.task.started_at
            tid = trap.wait(timeout_s)
            stopped_s = time.monotonic()
            held = self._rss.read()
            if tid is not None and held is not None:
                stack = self.stack(tid)
                caught = (stack, held) if stack else None
                if caught is not None and finish is not None:
                    self._write_before_release(caught, whole=finish)
        except Failure as failure:
            self.course.failed(f"{failure.reason}: {failure.said}")
            if failure.reason in ("target-gone", "py-spy-missing"):
                raise ProcessLookupError from None
        except OSError as error:
            self.course.failed(str(error))
        finally:
            trap.release()
        self._run = following.Run(self.task.pid, tid) if tid else None
        self._faults = max(_LEAST_FAULTS, self._faults // 4) if caught is None else min(_MOST_FAULTS, self._faults * 2)
        pause = time.monotonic() - stopped_s
        self.course.stopped(pause)
        return caught, pause + trap.cost_share * (stopped_s - armed_s)

    def _write_before_release(self, caught: tuple[str, int], *, whole: bool) -> None:
        """As if the memory stayed, which nobody can know yet; it is written again when one does."""
        ahead = self.ledger.copy()
        ahead.caught(*caught)
        ahead.settle(caught[1])
        if whole:
            self.report(ahead)
        else:
            self.task.write(".folded", folded.render(ahead.counts))

    def _settle(self, caught: tuple[str, int] | None, seconds: float) -> bool:
        """See whether what was touched stays; False when the process is gone.

        After `seconds` it is only waited for the thread to run: there is little processor then, and looks cost some.
        """
        if caught is not None:
            self.ledger.caught(*caught)
        stays: bool | None = None
        looks = 0
        least: int | None = None  # RSS
        began_s = time.monotonic()
        while True:
            rss = self._rss.read()
            if rss is None:
                return False
            least = rss if least is None else min(least, rss)
            tracing.sweep()
            past_s = time.monotonic() - began_s
            waits = past_s >= seconds
            over = waits and (past_s >= _MOST_SETTLES * seconds or self._has_run(seconds))
            if caught is not None and (over or (looks % 4 == 0 and not waits)):
                stays = self.trap.stays()
            if over or stays is False:
                break
            looks += 1
            time.sleep(seconds / 4 if waits else min(0.002, seconds / 4))
        if stays is False:
            self.ledger.discard()
        else:
            self.ledger.settle(least, stays=stays is True)
        return True

    def _has_run(self, seconds: float) -> bool:
        return self._run is None or self._run.has_run(_RUN_SHARE * seconds)

    def _write(self) -> None:
        began_s = time.monotonic()
        if self.watch is None:
            self.task.write(".folded", folded.render(self.ledger.counts))
            self._written_s = began_s
        elif began_s >= self._write_due_s:
            self.report(self.ledger)
            self._written_s = time.monotonic()
            cost_s = self._written_s - began_s
            self._write_due_s = self._written_s + max(_WRITE_EVERY_S, cost_s / max(0.001, self._budget))
            self._unwritten = False


def _stack_of(threads: list[dict[str, Any]], tid: int) -> str:
    """The folded stack of the caught thread; without one, of the thread that holds the GIL or runs."""
    chosen = [thread for thread in threads if thread.get("os_thread_id") == tid] if tid else []
    if not chosen and not tid:
        chosen = [thread for thread in threads if thread.get("owns_gil")]
        chosen = chosen or [thread for thread in threads if thread.get("active")]
    if not chosen:
        return f"(native thread {tid})" if tid else ""
    frames = reversed(chosen[0]["frames"])
    return ";".join(folded.frame(str(f["name"]), f.get("filename"), f.get("line")) for f in frames)
