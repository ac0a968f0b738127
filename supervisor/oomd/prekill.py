"""One kill that systemd-oomd announced: evidence of the group's processes before it, their record after it.

Runs in a process of its own (see `hook`), so that no disk and no process that can't be read delays the answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from supervisor import cgroup, pid1, record, retaining, sample, settling
from supervisor.acting import Acting
from supervisor.actions.task import command_line
from supervisor.config import Config
from supervisor.errors import GuardError
from supervisor.journal import Journal
from supervisor.model import STATES, Process, Sample, Start
from supervisor.profilers import interpreter
from supervisor.workers import Worker

KILLER = "systemd-oomd"
_STATE = "critical"
_MOST_PIDS = 4096
_MOST_STACKS = 4
_AT_ONCE = 2  # a worker and py-spy take some 30 MiB of a machine that is short of memory
_SAMPLE_EVERY_S = 0.25
_MARGIN_S = 0.4  # for a worker to write what it has
_LEAST_GROWTH_S = 0.5
_DEATH_S = 10.0  # from the answer to the kill
_DEATH_LOOK_S = 0.05
_FINISH_S = 6.0
_SIGKILL_STATUS = 9


class Asked:
    """What is asked for: the group's name and directory, when the answer is due (monotonic), how long growth may take.

    `given` and `environ` are the sources of the settings.
    """

    def __init__(
        self, group: str, directory: str, due_s: float, growth_s: float,
        given: dict[str, list[str]], environ: dict[str, str],
    ) -> None:  # fmt: skip
        self.group = group
        self.directory = directory
        self.due_s = due_s
        self.growth_s = growth_s
        self.given = given
        self.environ = environ


class Prekill:
    """The kill. `answer` lets oomd go on; it is called once, with the reason."""

    def __init__(self, asked: Asked, config: Config, processes: list[Process], answer: Callable[[str], None]) -> None:
        self._asked = asked
        self._answer = answer
        self._processes = processes
        self._began_s = time.monotonic()
        self.init = pid1.Init(None, config)
        self.init.install()
        self._journal = Journal(self.init, config, _subject(asked, processes[0]))
        self._acting = Acting(self.init, config, self._journal)
        self._retaining = retaining.Retaining(config, self._journal, self._acting.workers)
        self.init.parts.append(self._acting.workers)
        self._sampler = sample.Sampler(
            config.facts.place, config.facts.memory_bytes, config.metric, tuple(process.pid for process in processes)
        )
        self._last: Sample | None = None
        self._queue = pythons(processes)
        self._read: list[Process] = []  # those whose stacks could be taken, largest first
        self._grew = asked.growth_s < _LEAST_GROWTH_S

    def take(self) -> None:
        """Take evidence, answer, wait for the kill, write the record."""
        reading = self._sample()
        largest = self._processes[0]
        self._journal.suspicion.guilty(largest.pid, largest.name, largest.rss_bytes)
        self._journal.emit("warning", "prekill.asked", cgroup=self._asked.group, pid=self._processes[0].pid,
                           count=len(self._processes), rss_bytes=reading.rss_bytes, use_bytes=reading.use_bytes,
                           patience_s=round(self._asked.due_s - self._began_s, 3))  # fmt: skip
        reason = self._gather()
        self._answer(reason)
        self._journal.emit("info", "prekill.answered", cgroup=self._asked.group, reason=reason,
                           elapsed_s=round(time.monotonic() - self._began_s, 3))  # fmt: skip
        if self._await_kill():
            self.init.status = _SIGKILL_STATUS
        elif not self.init.stopped_from_outside:
            self.init.stopped_from_outside = True
            self._journal.emit("warning", "prekill.survived", cgroup=self._asked.group, pid=self._processes[0].pid,
                               reason=f"it lived on {_DEATH_S:.0f} s after the answer",
                               hint="journalctl -u systemd-oomd")  # fmt: skip
        self._end()

    def _gather(self) -> str:
        """Evidence, until all is taken or no time is left; why it ended."""
        self._start("snapshot", self._processes[0])
        next_s = time.monotonic() + _SAMPLE_EVERY_S
        while not self.init.stopped_from_outside:
            now_s = time.monotonic()
            if now_s >= self._asked.due_s - _MARGIN_S / 4:
                return "the deadline came first"
            if now_s >= self._asked.due_s - _MARGIN_S:
                self._queue.clear()
                self._grew = True
            self._start_more(now_s)
            if not self._acting.workers.running:
                return "evidence was taken"
            if now_s >= next_s:
                self._sample()
                next_s = now_s + _SAMPLE_EVERY_S
            self._step(min(next_s, self._asked.due_s - _MARGIN_S / 4))
        return "guard was told to end"

    def _start_more(self, now_s: float) -> None:
        stacks = [worker for worker in self._acting.workers.running.values() if worker.start.kind == "stacks"]
        while self._queue and len(stacks) < _AT_ONCE:
            worker = self._start("stacks", self._queue.pop(0))
            stacks += [worker] if worker is not None else []
        left_s = self._asked.due_s - _MARGIN_S - now_s
        if stacks or self._queue or self._grew or not self._read or left_s < _LEAST_GROWTH_S:
            return
        self._grew = True
        worker = self._start("growth", min(self._read, key=self._processes.index))
        if worker is not None:
            worker.deadline_s = now_s + min(self._asked.growth_s, left_s)

    def _start(self, kind: str, process: Process) -> Worker | None:
        before = set(self._acting.workers.running)
        reason = f"{KILLER} is about to kill {self._asked.group}"
        self._acting.start(Start(kind, _STATE, process.pid, reason, start_ticks=process.start_ticks), self._last)
        for pid in set(self._acting.workers.running) - before:
            worker = self._acting.workers.running[pid]
            worker.deadline_s = min(worker.deadline_s, self._asked.due_s - _MARGIN_S)
            return worker
        return None

    def _step(self, until_s: float) -> None:
        """Wait for workers until then, and take what they bring."""
        workers = self._acting.workers
        self.init.pump(max(0.0, until_s - time.monotonic()))
        for entry in self.init.take_backlog():
            if not isinstance(entry, pid1.Ended) or (found := workers.ended(entry.pid, entry.status)) is None:
                continue
            if found[0].start.kind == retaining.KIND:
                self._retaining.ended(*found)
                continue
            ended = self._acting.ended(*found)
            if ended is not None and ended.kind == "stacks" and ended.outcome == "ok":
                self._read += [process for process in self._processes if process.pid == ended.pid]

    def _sample(self) -> Sample:
        reading, before = self._sampler.take(()), self._last
        slope = 0.0
        if before is not None and reading.at_s > before.at_s:
            slope = (reading.rss_bytes - before.rss_bytes) / (reading.at_s - before.at_s)
        self._last = reading
        journal = self._journal
        journal.tally.add(reading, STATES.index(_STATE))
        since_s = reading.at_s - journal.started_s
        journal.add_flight(record.flight_line(reading, _STATE, slope, since_s, journal.started_at + since_s))
        return reading

    def _await_kill(self) -> bool:
        """Whether the largest process is gone within the patience: all are waited for."""
        until_s = time.monotonic() + _DEATH_S
        while True:
            left = [process for process in self._processes if _lives(process)]
            now_s = time.monotonic()
            if not left or now_s >= until_s or self.init.stopped_from_outside:
                return not _lives(self._processes[0])
            self._step(now_s + _DEATH_LOOK_S)

    def _end(self) -> None:
        """Let workers come to their end, apply retention, write the record."""
        workers = self._acting.workers
        until_s = time.monotonic() + _FINISH_S
        for worker in workers.running.values():
            worker.ask_to_end(time.monotonic())
        while workers.running and time.monotonic() < until_s:
            self._step(until_s)
        for worker in workers.running.values():
            worker.kill()
        self._sampler.close()
        self._retaining.begin_last(time.monotonic(), _FINISH_S)
        while workers.running:
            self._step(time.monotonic() + 1.0)
        self._journal.end("oom-killed" if self.init.status == _SIGKILL_STATUS else None)
        workers.end()
        self._journal.close()


def _subject(asked: Asked, largest: Process) -> record.Subject:
    """The record of a kill: of processes that guard did not start. Kills are no crash loop of guard's target."""
    more = {"cgroup": asked.directory, "killer": KILLER, "unit": asked.group}
    return record.Subject(command_line(largest.pid) or [largest.name], largest.pid, more, crash_loops=False)


def pythons(processes: list[Process]) -> list[Process]:
    """The largest that run Python, guard itself left out."""
    found: list[Process] = []
    for process in processes:
        if len(found) == _MOST_STACKS:
            break
        if process.name != settling.PROCESS_NAME.decode() and interpreter.look(process.pid) is not None:
            found.append(process)
    return found


def _lives(process: Process) -> bool:
    found = sample.read_process(process.pid)
    return found is not None and found.start_ticks == process.start_ticks and found.state not in ("Z", "X")


def take(asked: Asked, fallback: Config, answer: Callable[[str], None]) -> None:
    """Follow one kill to its end."""
    pids = cgroup.members(asked.directory, _MOST_PIDS)
    read = [process for pid in pids if (process := sample.read_process(pid)) is not None]
    living = [process for process in read if process.state not in ("Z", "X")]
    if not living:
        answer("the group has no process")
        return
    living.sort(key=lambda process: -(process.rss_bytes or 0))
    try:
        config = settling.settle(asked.given, asked.environ, living[0].pid)
    except GuardError:  # a threshold that this group's limit can't reach, for one: evidence is what counts
        config = fallback
    Prekill(asked, config, living, answer).take()
