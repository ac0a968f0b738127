"""Effects become deeds: workers are started, hurried and ended, processes stopped for them and continued.

What came of an action goes back to the caller as an ActionEnded, for the next decision.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from supervisor import freeze, pid1, sample, sooner, stops
from supervisor.budget import Spent
from supervisor.config import Config
from supervisor.journal import Journal
from supervisor.model import ActionEnded, Hurry, Sample, Start, Stop
from supervisor.quantities import human_bytes
from supervisor.workers import PROFILERS, Worker, Workers, lend, spec_of

if TYPE_CHECKING:
    from supervisor.shipper import Shipper

_ADDS = {"ptrace-refused": "SYS_PTRACE", "perf-refused": "PERFMON"}  # by a reason: the capability that lets it


class Acting:
    """The actions of one run. `ending`: the run is over, nothing new starts."""

    def __init__(self, init: pid1.Init, config: Config, journal: Journal) -> None:
        self.ending = False
        self.workers = Workers(init.poller)
        started_s = init.target.started_s if init.target is not None else journal.started_s
        self.start_s = journal.started_s - started_s  # guard's own: a measure of this machine
        self.freezer = freeze.Freezer(init.frozen, self.start_s)
        self._init = init
        self._config = config
        self._journal = journal
        self.spent = Spent(config, journal)
        self.shipper = self._shipper()

    def _shipper(self) -> Shipper | None:
        if self._config.ship is None or self._journal.store is None:
            return None
        from supervisor.shipper import Shipper

        return Shipper(self._config, self._journal, self.workers)

    def look(self, now_s: float, ready: Collection[int]) -> float:
        """Continue processes that were stopped to be read; seconds until the next look at them."""
        worker = self.workers.of_kind("growth")
        read = {worker.start.pid} if worker is not None and worker.has_read() else set()
        left_s, running = self.freezer.enforce(now_s, read)
        for pid, elapsed_s, late in running:
            reason = "its deadline passed" if late else "it was read"
            self._journal.emit("warning" if late else "info", "target.thawed", pid=pid, elapsed_s=round(elapsed_s, 3),
                              reason=reason)  # fmt: skip
        return left_s

    def end(self) -> None:
        """Leave nobody stopped."""
        self.freezer.release()

    def stop(self, stop: Stop) -> None:
        """Let a running action come to its end."""
        worker = self.workers.of_kind(stop.kind)
        if worker is not None:
            worker.ask_to_end(time.monotonic())

    def hurry(self, hurry: Hurry) -> None:
        """There is hardly any time left: the process stands still until it is read."""
        worker = self.workers.of_kind(hurry.kind)
        if worker is not None and hurry.freeze:
            worker.hurry()  # first: should guard end here, the worker waits for a stop that doesn't come
            self._freeze(hurry.pid, worker.start_ticks, hurry.reason)

    def start(self, start: Start, last: Sample | None) -> ActionEnded | None:
        """Start a worker; what came of it when that failed at once."""
        store = self._journal.store
        if self.ending:
            return self._refuse(start, "skipped", "the run ended first", sooner.hint(self._config.interval))
        if store is None:
            return self._refuse(
                start, "skipped", "there is no place for evidence (log only)", "guard run --profiles-dir DIR"
            )
        if store.full:
            size = human_bytes(store.most_bytes or 0)
            reason = f"the profiles directory is memory, and its share of {size} is used up"
            return self._refuse(start, "skipped", reason, "guard run --profiles-dir DIR")
        try:
            spec = self._spec(start, last)
            extra_s = spec["duration"] if start.kind in ("cpu-profile", "heap-profile") else 0.0
            memory_fd = lend(start, self._config)
            try:
                worker = self.workers.begin(start, spec, time.monotonic(), extra_s, memory_fd, self._config.go_pprof)
            finally:
                if memory_fd is not None:
                    os.close(memory_fd)
        except OSError as error:
            return self._refuse(start, "failed", error.strerror or str(error), f"ulimit -n -u; df -h {store.root}")
        worker.was_stopped = sample.stopped(start.pid)
        if start.freeze and not self._freeze(start.pid, worker.start_ticks, start.reason):
            worker.ask_to_end(time.monotonic())  # gone, or stopped by somebody else: it isn't guard's to continue
        self.spent.add(start)
        path = os.path.join(spec["directory"], spec["name"])
        self._journal.emit("info", "action.started", **_named(start), reason=start.reason, path=path)
        return None

    def _freeze(self, pid: int, start_ticks: int, reason: str) -> bool:
        """Its worker is on the way: stop the process until it has been read, and no longer than a moment."""
        if self._init.target_is_stopped or not self.freezer.stop(pid, start_ticks, time.monotonic()):
            return False
        self._journal.emit("warning", "target.frozen", pid=pid, reason=reason)
        return True

    def _refuse(self, start: Start, how: str, reason: str, hint: str) -> ActionEnded:
        self._journal.emit("warning", f"action.{how}", **_named(start), reason=reason, said=reason,
                          tried=f"start of a worker for {start.kind}", hint=hint)  # fmt: skip
        return ActionEnded(start.kind, start.pid, how, reason, start.asked, said=reason, hint=hint)

    def _spec(self, start: Start, last: Sample | None) -> dict[str, Any]:
        """What a worker has to know."""
        store, config = self._journal.store, self._config
        assert store is not None
        processes = last.processes if last is not None else ()
        guilty = next((process for process in processes if process.pid == start.pid), None)
        tracing = self.workers.of_kind("growth")
        return spec_of(
            config,
            start,
            start.start_ticks or (guilty.start_ticks if guilty else None),
            pids=[process.pid for process in processes],
            headroom_bytes=last.headroom_bytes if last is not None else None,
            # What somebody asked for stands with what `guard profile` takes.
            directory=store.category(config.detected.name if start.asked else _category(start.trigger)),
            root=store.root,
            root_id=store.root_id,
            name=store.next_name(start.state, start.kind),
            run=self._journal.run,
            command=self._journal.command,
            freeze=start.freeze,
            # Two tracers can't hold one thread: beside a running growth attribution py-spy reads without stopping.
            nonblocking=tracing is not None and start.kind != "growth" and tracing.start.pid == start.pid,
        )

    def ended(self, worker: Worker, result: dict[str, Any]) -> ActionEnded | None:
        """Log what a worker left, and note whom it found."""
        start = worker.start
        if start.kind == "ship":
            if self.shipper is not None:
                self.shipper.ended(worker, result)
            return None
        elapsed_s = round(time.monotonic() - worker.started_s, 3)
        paths = [str(path) for path in result.pop("paths", [])]
        outcome = result.pop("outcome", "failed")
        if "hint" in result:
            result["hint"] = sooner.fitting(str(result["hint"]), self._config.interval)
        if self._journal.store is not None:
            self._journal.store.add_evidence(paths)
            if self.shipper is not None and paths:
                self.shipper.want("evidence", time.monotonic())
        if result.pop("continued", False) or self._continue_if_left(worker, outcome):
            self._journal.emit("warning", "target.continued", pid=start.pid, reason=f"{start.kind} had left it stopped")
        self._missing_capability(start, result)
        ends = (".md", ".stacks.json", ".snapshot.json")
        main = next((path for end in ends for path in paths if path.endswith(end)), None)
        fields = {**_named(start), "path": main}
        if outcome == "ok":
            if start.kind == "growth":
                self._journal.suspicion.growth(start.pid, result)
            elif start.kind == "heap-profile":
                self._journal.suspicion.heap(start.pid, result)
            self._journal.emit("info", "action.finished", **fields, elapsed_s=elapsed_s, **result)
        elif outcome == "skipped":
            self._journal.emit("info", "action.skipped", **fields, elapsed_s=elapsed_s, **result)
        elif result.get("reason") == "interrupted":
            self._journal.emit(
                "info",
                "action.skipped",
                **fields,
                elapsed_s=elapsed_s,
                reason="the run ended first" if self.ending else "it was ended before it had anything",
            )
        else:
            tried = f"{start.kind} of process {start.pid} for {elapsed_s} s"
            self._journal.emit("warning", "action.failed", **fields, tried=tried, elapsed_s=elapsed_s, **result)
        said, hint = (str(result.get(name, "")) for name in ("said", "hint"))
        first = [main, *(path for path in paths if path != main)] if main is not None else paths
        reason = str(result.get("reason", ""))
        return ActionEnded(start.kind, start.pid, outcome, reason, start.asked, tuple(first), said, hint)

    def _missing_capability(self, start: Start, result: dict[str, Any]) -> None:
        """What this place refuses, said once, with what to add."""
        refused: list[dict[str, str]] = result.pop("refused", [])
        reason = result.get("reason", "")
        if reason in ("ptrace-refused", "perf-refused", "py-spy-missing"):
            fields = {"capability": reason.rpartition("-")[0], "reason": result.get("said", "")}
            add = {"add": _ADDS[reason]} if reason in _ADDS else {}
            refused = [*refused, {**fields, **add, "hint": result.get("hint", "")}]
        for fields in refused:
            if self._journal.once(f"capability {fields['capability']}"):
                level = "info" if fields["capability"] == "page-fault trap" else "warning"
                self._journal.emit(level, "capability.missing", **fields)

    def _continue_if_left(self, worker: Worker, outcome: str) -> bool:
        """A profiler that died can leave its process stopped: continue it, unless it or its job was stopped before."""
        if worker.start.kind not in PROFILERS or worker.was_stopped:
            return False
        if self._init.target_is_stopped and (self._init.stop_signal != signal.SIGSTOP or outcome == "ok"):
            return False  # by job control, or by somebody else; what failed may have left the stop that attaching sends
        process = sample.read_process(worker.start.pid)
        return process is not None and process.state == "T" and stops.resume(worker.start.pid)


def _named(start: Start) -> dict[str, Any]:
    """The fields by which every event of an action names it."""
    fields: dict[str, Any] = {"action": start.kind, "state": start.state, "pid": start.pid}
    return fields | ({"trigger": start.trigger} if start.trigger else {})


def _category(trigger: str) -> str:
    """Where evidence goes: by what asked for it."""
    if trigger in ("", "pressure:memory:some", "pressure:memory:full"):
        return "auto-memory"
    return "auto-cpu" if trigger.startswith(("cpu", "pressure:cpu")) else "auto-latency"
