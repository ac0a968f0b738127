"""The end of a watched run: workers keep what they have, the group ends, the record is written, the last deeds done."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from supervisor import pid1, stay
from supervisor.workers import REACTIONS, Worker

if TYPE_CHECKING:
    from supervisor.loop import Watch

_WORKERS_S = 6.0
_GRACE_S = 2.5  # for who was told to give up, before KILL and after it
_LOOK_S = 1.0
_MESSAGES = tuple(kind for kind in REACTIONS if kind != "hook")


class Deed(Protocol):
    """What guard stays for when the run is over, within its bound."""

    @property
    def busy(self) -> bool:
        """Whether there is something to stay for."""

    def begin_last(self, now_s: float, most_s: float) -> None:
        """It is its turn, for so long."""

    def give_up(self, now_s: float, *, told: bool) -> None:
        """Its time is over. `told`: somebody told guard to end."""


class Finish:
    """The end of one life. `hurried`: somebody told guard to end while it stayed for the last deeds."""

    def __init__(self, watch: Watch) -> None:
        self.hurried = False
        self.stays = False  # for the last deeds, of which the next stop is the end
        self._watch = watch

    def run(self) -> int:
        """From the target's end to guard's or the next life's; the exit code."""
        watch, init, journal, lives = self._watch, self._watch.init, self._watch.journal, self._watch.lives
        watch.acting.ending = True
        watch.acting.end()
        watch.retaining.end()
        if watch.prober is not None:
            watch.prober.end()
        watch.wakeups.end()
        if watch.shipper is not None:
            watch.shipper.end()
        journal.tally.oom_kills_of_others = watch.noticed.others(time.monotonic())
        self._end_workers_and_group()
        self._last_look()
        watch.floods.tell(float("inf"))
        tally = journal.tally
        final = journal.end()
        again = lives is not None and lives.judge(init).again
        watch.serving.run_ended(final)
        self.stays = True
        self._last_deeds(again)
        if watch.reacting is not None:
            watch.reacting.end()
        watch.workers.end()
        if not again:
            watch.serving.end()
        for part in watch.parts:
            init.parts.remove(part)
        if lives is not None:  # another life's begins where this one's ended
            watch.config.facts.oom_kills = tally.oom_kills
            journal.close()
        return init.code

    def _end_workers_and_group(self) -> None:
        """Let workers keep what they have, end what is left of the group."""
        watch, init = self._watch, self._watch.init
        deadline_s = time.monotonic() + _WORKERS_S
        for worker in self._evidence_workers():
            worker.ask_to_end(time.monotonic())
        while True:
            now_s = time.monotonic()
            left_s = init.group_left(now_s) if watch.roots is None else None
            if left_s is None and (not self._evidence_workers() or now_s >= deadline_s):
                break
            timeout_s = deadline_s - now_s if now_s < deadline_s else 1.0
            init.pump(min(timeout_s, left_s) if left_s is not None else timeout_s)
            watch.handle(init.take_backlog())
        for worker in self._evidence_workers():
            worker.kill()

    def _last_look(self) -> None:
        """What can be read once more. If reading is what failed, the end record is written all the same."""
        # Its descriptors may be the last that the end record can get: they go first.
        for step in (self._tell_of_the_left, self._count_kills, self._watch.sampler.close):
            try:
                step()
            except Exception as error:
                self._watch.own_fault(error, goes_on=True)

    def _count_kills(self) -> None:
        tally = self._watch.journal.tally
        tally.oom_kills = self._watch.sampler.oom_kills() or tally.oom_kills

    def _tell_of_the_left(self) -> None:
        """What left the target's group isn't ended with it: that it lives on is told."""
        watch, config = self._watch, self._watch.config
        if watch.roots is not None or config.keep_group or config.forward == "child":
            return
        left = watch.sampler.left((*watch.workers.running, *watch.init.helpers))
        if not left:
            return
        largest = max(left, key=lambda process: process.rss_bytes or 0)
        fate = "it ends with guard, which is PID 1" if os.getpid() == 1 else "it outlives guard"
        watch.journal.emit("info", "leftover.found", count=len(left), pid=largest.pid, name=largest.name,
                           rss_bytes=sum(process.rss_bytes or 0 for process in left),
                           reason=f"it left the target's process group; {fate}",
                           hint="kill " + " ".join(str(process.pid) for process in left[:5]))  # fmt: skip

    def _evidence_workers(self) -> list[Worker]:
        return [worker for worker in self._watch.workers.running.values() if worker.start.kind not in REACTIONS]

    def _last_deeds(self, again: bool) -> None:
        """Hooks, which the target's end may have caused, then all else, within one deadline; a stop now ends that."""
        watch, reacting = self._watch, self._watch.reacting
        verdict = watch.lives.judge(watch.init) if watch.lives is not None else None
        wait_s = verdict.wait_s if verdict is not None and not verdict.for_change else None
        hooks = 0
        if reacting is not None:
            reacting.look(time.monotonic(), ())  # what the end asks for
            hooks = reacting.left(("hook",))
        stopped = watch.init.stopped_from_outside
        bounds = stay.bounds(watch.config, stopped=stopped, hooks=hooks, again=again, wait_s=wait_s)
        began_s = time.monotonic()
        if reacting is not None:
            self._do([(reacting.last(("hook",)), bounds.hooks_s)], began_s + bounds.hooks_s)
        hooks_ended_s = time.monotonic()
        deeds: list[tuple[Deed, float]] = [(watch.retaining, bounds.retention_s)]
        if reacting is not None:
            deeds.append((reacting.last(_MESSAGES), bounds.messages_s))
        if watch.shipper is not None and not self.hurried:
            deeds.append((watch.shipper, bounds.shipping_s))
        if watch.teller is not None:
            watch.teller.life_ended(again=again)
            if not again:
                deeds.append((watch.teller, bounds.figures_s))
        self._do(deeds, began_s + bounds.whole_s)
        if verdict is not None:
            verdict.wait_s = max(0.0, verdict.wait_s - (time.monotonic() - hooks_ended_s))

    def _do(self, deeds: list[tuple[Deed, float]], until_s: float) -> None:
        """Stay for these, for each as long as is said, until then at the latest."""
        init = self._watch.init
        now_s = time.monotonic()
        bounded = [(deed, min(now_s + most_s, until_s)) for deed, most_s in deeds]
        for deed, deadline_s in bounded:
            deed.begin_last(now_s, deadline_s - now_s)
        given_up: dict[int, float] = {}
        while left := [(deed, deadline_s) for deed, deadline_s in bounded if deed.busy]:
            now_s = time.monotonic()
            due_s = [now_s + _LOOK_S]
            for deed, deadline_s in left:
                if not self.hurried and now_s < deadline_s:
                    due_s.append(deadline_s)
                elif id(deed) not in given_up:
                    given_up[id(deed)] = now_s
                    deed.give_up(now_s, told=self.hurried)
            if all(now_s - given_up.get(id(deed), now_s) >= _GRACE_S for deed, _ in left):
                return  # one that KILL doesn't end waits for a disk
            init.pump(max(0.0, min(due_s) - now_s))
            backlog = init.take_backlog()
            self.hurried |= self._told_to_end(backlog)
            self._watch.handle(backlog)

    def _told_to_end(self, backlog: Iterable[pid1.Ended | pid1.Forwarded]) -> bool:
        """Whether a signal among these means it: not a window's new size, say."""
        ending = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, self._watch.config.stop_signal)
        return any(isinstance(entry, pid1.Forwarded) and entry.signal in ending for entry in backlog)
