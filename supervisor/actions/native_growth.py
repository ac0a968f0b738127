"""`growth` of a process of machine code: C, C++, Rust, Go. The function that takes the memory, and where it lies.

As for Python its threads are caught as they take memory; their stacks are read by guard itself (`profilers.native`),
in a fraction of a millisecond. Beside it growth by mapping is kept, which is what is left where nothing may be traced.
"""

from __future__ import annotations

import signal
import time
from typing import Any

from supervisor.actions import following, growth, growth_report, mapped
from supervisor.actions.ledger import Ledger
from supervisor.actions.task import Pass, Task
from supervisor.profilers import native, runner
from supervisor.profilers.traps import NoTrap

_WRITE_EVERY_S = 1.0


def take(task: Task) -> dict[str, Any]:
    """Follow the process until told to stop or it ends. Raises Pass, Failure, OSError."""
    frozen = following.is_frozen(task)
    task.check_target()
    if not native.possible():
        raise Pass("machine-unknown", "guard unwinds x86-64 only", "")
    try:
        reader = native.Reader(task.pid, ahead=not frozen)
    except OSError as error:
        raise Pass("memory-refused", f"its memory: {error.strerror}", "guard doctor") from error
    follower = NativeFollower(task, reader, frozen=frozen)
    if isinstance(follower.trap, NoTrap):
        follower.close()
        refused = follower.course.refused
        reason = "; ".join(f"{entry['capability']}: {entry['reason']}" for entry in refused)
        raise Pass("trace-refused", reason, "guard doctor", refused)
    try:
        if frozen:
            follower.write_frame()
            follower.hurry(frozen=True)
        else:
            follower.report(follower.ledger)  # where it lies already
        follower.follow()
    except (runner.Interrupted, ProcessLookupError):
        pass
    finally:
        follower.close()
    runner.hold(signal.SIGINT, signal.SIGTERM)  # the end is bounded by itself
    follower.watch.last()
    return follower.report(follower.ledger)


class NativeFollower(growth.Follower):
    """Trap, ledger and pace are those of Python; stacks are native ones, and mappings are read beside."""

    def __init__(self, task: Task, reader: native.Reader, *, frozen: bool) -> None:
        self.watch = mapped.Watch(task, frozen=frozen)
        self._reader = reader
        self._unwritten = False
        self._write_due_s = 0.0
        super().__init__(task)

    def close(self) -> None:
        """Let the process go."""
        super().close()
        self._reader.close()

    def stack(self, tid: int) -> str:
        """The folded native stack of a thread that the trap holds. Raises OSError."""
        self._unwritten = True
        return self._reader.stack(tid)

    def write_frame(self) -> None:
        """The stopped process as it stands: where its memory lies."""
        self.watch.read(hasty=True)
        following.write_frame(self.task, [], "kernel")

    def report(self, ledger: Ledger) -> dict[str, Any]:
        """By function where enough stacks tell, else by mapping."""
        facts, by_mapping, _, notes = self.watch.told()
        self.watch.frozen_s, self.watch.haste = self.course.frozen_s, self.course.haste
        if not ledger.enough:
            return {**self.watch.write(), "refused": self.course.refused}
        self.course.notes = notes
        self.course.facts = {**facts, "engine": f"native stacks, {self.course.engine}"}
        result = growth_report.write(self.task, ledger, self.course)
        if by_mapping is not None and "suspect" in result:
            if native.is_named(result["suspect"]["function"]):
                result["suspect"]["mapping"] = by_mapping["mapping"]
            else:  # the program was stripped of its symbols: where its memory lies tells more
                result["suspect"] = by_mapping
        return result

    def _read(self) -> int | None:
        rss = super()._read()
        if rss is not None and self.watch.look(rss):
            self._unwritten = True
        if self._unwritten and time.monotonic() >= self._write_due_s:
            self._write()  # also when nothing more comes
        return rss

    def _write(self) -> None:
        began_s = time.monotonic()
        if began_s < self._write_due_s:
            return
        self.report(self.ledger)
        self._written_s = time.monotonic()
        cost_s = self._written_s - began_s
        self._write_due_s = self._written_s + max(_WRITE_EVERY_S, cost_s / max(0.001, self._budget))
        self._unwritten = False
