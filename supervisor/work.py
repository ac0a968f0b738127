"""The worker: one action in a process of its own, so that the watcher stays lean and never waits.

Started as `python -IS work.py SPEC`; writes evidence, prints one JSON line with what came out, and ends. SIGINT asks
it to come to an end with what it has.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from typing import Any


def main(argument: str) -> int:
    """Do what the spec says; the result goes to stdout as one JSON line. Always 0 but for a bug."""
    spec = json.loads(argument)
    parent = spec.pop("parent")
    for path in spec.pop("path"):
        if path not in sys.path:
            sys.path.append(path)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
    # A profiler that crashes is no reason to dump a core where guard happens to be.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    from supervisor import libc, sooner
    from supervisor.actions.task import Task
    from supervisor.profilers import lent, runner
    from supervisor.profilers.failure import Failure

    if (memory_fd := spec.pop("memory_fd", None)) is not None:
        lent.keep(spec["pid"], memory_fd)

    def interrupted(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise runner.Interrupted

    signal.signal(signal.SIGINT, interrupted)
    # Killed, guard can't ask: then the kernel does. `growth` would otherwise trace on as long as its process lives.
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != parent:
        _let_go(spec)
        return 0
    result: dict[str, Any] = {"outcome": "ok"}
    task: Task | None = None
    try:
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
            task = Task(spec)
            result |= _module(task.kind).take(task)
        finally:  # one that comes now must not cut off the telling of what came out
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    except Failure as failure:
        result |= {"outcome": "failed", "reason": failure.reason, "said": failure.said, "hint": failure.hint}
    except runner.Interrupted:
        result |= {"outcome": "failed", "reason": "interrupted", "said": "guard ended it", "hint": ""}
    except OSError as error:
        reason, hint = "evidence-not-written", f"df -h {spec['directory']}; ls -ld {spec['directory']}"
        if str(error.filename or "").startswith(f"/proc/{spec['pid']}/"):
            reason, hint = "target-gone", sooner.HINT
        result |= {"outcome": "failed", "reason": reason, "said": str(error), "hint": hint}
    _let_go(spec)
    result["paths"] = task.paths if task is not None else []
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
    return 0


def _let_go(spec: dict[str, Any]) -> None:
    """A process that was stopped for this worker, and that it had no time to read, goes on all the same.

    `freeze` is taken back by the one who continues it; SIGUSR1 waits when a stop came later and wasn't answered yet.
    """
    if not spec.get("freeze") and signal.SIGUSR1 not in signal.sigpending():
        return
    from supervisor import sample, stops

    stopped = stops.await_stop(spec["pid"])
    process = sample.read_process(spec["pid"])
    if stopped and process is not None and process.start_ticks == spec.get("start_ticks"):
        stops.resume(process.pid)


def _module(action: str) -> Any:
    """The table's, where what the process is decides how it goes; else the module that is called as the action."""
    from importlib import import_module

    from supervisor.actions import ways

    return ways if action in ways.WAYS else import_module(f"supervisor.actions.{action.replace('-', '_')}")


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.exit(main(sys.argv[1]))
