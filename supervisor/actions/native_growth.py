"""`growth` of a process of machine code: C, C++, Rust, Go. The function that takes the memory, and where it lies.

As for Python its threads are caught as they take memory; their stacks are read by guard itself (`profilers.native`),
in a fraction of a millisecond. Beside it growth by mapping is kept, which is what is left where nothing may be traced.
"""

from __future__ import annotations

import signal
from typing import Any

from supervisor.actions import following, growth, mapped
from supervisor.actions.ledger import Ledger
from supervisor.actions.task import Pass, Task
from supervisor.analysis import folded, markdown
from supervisor.profilers import engine, native, runner
from supervisor.profilers.traps import NoTrap

# Their own functions say nothing of the program that they run.
_RUNTIMES = {engine.RUBY: "Ruby", engine.DOTNET: ".NET"}


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
    follower.last()
    return follower.report(follower.ledger)


class NativeFollower(growth.Follower):
    """Trap, ledger and pace are those of Python; stacks are native ones, and mappings are always read beside."""

    def __init__(self, task: Task, reader: native.Reader, *, frozen: bool) -> None:
        self._reader = reader
        self._runtime = _RUNTIMES.get(engine.of(task.pid), "")
        super().__init__(task, frozen=frozen, watch=mapped.Mapped(task, frozen=frozen))
        self.stacks_by = "native stacks"

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
        self.read_mappings()
        following.write_frame(self.task, [], "kernel")

    def instead(self, ledger: Ledger) -> str:
        """Why its functions tell less than where its memory lies; "" where they tell more."""
        if self._runtime:
            return (
                f"The functions below are those of {self._runtime} itself; they don't tell which code of the program "
                "took the memory."
            )
        first = folded.own_functions(ledger.counts)[0].function
        if native.is_named(first):
            return ""
        return (
            f"The function that took it, {markdown.code(first)}, has no name: the program was stripped of its symbols."
        )
