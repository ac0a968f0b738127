"""The watching loop: the one place with a clock, joining init, sampler, decision, workers and journal.

Nothing here decides and nothing here waits for anything but one poll.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from supervisor import decide, metrics, notice, pid1, policy, record, restart, sample, thresholds, triggers
from supervisor.acting import Acting
from supervisor.config import Config
from supervisor.floods import Floods
from supervisor.journal import Journal
from supervisor.lives import Lives
from supervisor.model import ActionEnded, Asked, Declined, EndLife, Event, Probe, Sample, Start, Stop
from supervisor.profilers import interpreter
from supervisor.serving import Serving
from supervisor.wakeups import Wakeups
from supervisor.workers import REACTIONS, Worker

if TYPE_CHECKING:
    from supervisor.metrics.teller import Teller
    from supervisor.probing import Prober
    from supervisor.reacting import Reacting
    from supervisor.resources import Resources

_FINISH_S = 6.0
_LEAST_STAY_S = 1.0  # a wait for the next life that is worth a batch to ship
# After processor time that could have filled half the headroom: a sample, when this much of it is gone indeed.
_PEEK_SHARE = 0.1
# This many faults of guard's own within this time, and it watches no more.
_MOST_FAULTS = 3
_RESTS_S = (0.1, 1.0)  # after the first and the second of them
_FAULTS_WITHIN_S = 60.0


def policy_of(config: Config, start_s: float = 0.0) -> policy.Policy:
    """The part of the settings that deciding needs. `start_s`: what guard's own start took, as a worker's does."""
    levels = levels_of(config.levels)
    at = config.restart_at
    metric = "cgroup" if at is not None and at.share is not None and config.facts.in_cgroup else config.metric
    restart_at = policy.Level("restart-at", metric, at.size_bytes, at.share) if at is not None else None
    return policy.Policy(
        levels, config.interval, config.cooldown, config.max_actions, profile=not config.no_profiling,
        ready_s=min(max(0.5, 5 * start_s), 2.0), restart_at=restart_at,
        rules=triggers.rules_of(config),
        heap_agent=config.heap_agent != "none", counts=interpreter.counts if config.remote_exec else policy.never,
    )  # fmt: skip


def levels_of(levels: Iterable[thresholds.Level]) -> tuple[policy.Level, ...]:
    """Thresholds as deciding needs them."""
    return tuple(
        policy.Level(level.name, level.metric, level.threshold.size_bytes, level.threshold.share) for level in levels
    )


class Watch:
    """One watched run: of a target guard started, or of processes that were there (`roots`).

    `lives`: the target may be started again, and this is one of its lives.
    """

    def __init__(
        self,
        init: pid1.Init,
        config: Config,
        command: list[str],
        roots: tuple[int, ...] | None,
        lives: Lives | None = None,
    ) -> None:
        self.init = init
        self.config = config
        self.roots = roots
        self.lives = lives
        self.journal = Journal(init, config, command, lives)
        self.teller = self._teller()
        self.acting = Acting(init, config, self.journal)
        self.workers = self.acting.workers
        self.reacting = self._reacting()
        own, again = roots is None, lives is not None
        self.policy = replace(policy_of(config, self.acting.start_s), own=own, lives=again)
        self.state = self.acting.first_state()
        self.sampler = sample.Sampler(config.facts.place, config.facts.memory_bytes, config.metric, roots)
        self.resources, self.prober = self._for_triggers()
        self.noticed = self._first_known()
        self.wakeups = Wakeups(init.poller, config.facts.place)
        self._floods = Floods(self.journal.emit, config.forward)
        self.serving = Serving(self)

    def _reacting(self) -> Reacting | None:
        if self.journal.heard is None:
            return None
        from supervisor.reacting import Reacting

        return Reacting(self.init, self.config, self.journal, self.workers, self.roots)

    def _for_triggers(self) -> tuple[Resources | None, Prober | None]:
        """What triggers beside memory need, where one is on."""
        resources, prober = None, None
        if self.policy.rules.sampled:
            from supervisor.resources import Resources

            resources = Resources(self.policy.rules)
        if self.policy.rules.probing:
            from supervisor.probing import Prober

            prober = Prober(self.config, self.policy.rules.response_s, self.init.poller, self.init.helpers)
        return resources, prober

    def _first_known(self) -> notice.Known:
        """The surroundings as they were before the target ran, which its thresholds rest on."""
        facts = self.config.facts
        high = facts.high.high_bytes if facts.high is not None else None
        return notice.Known(limit_bytes=facts.limit_bytes, high_bytes=high, oom_kills=facts.oom_kills)

    def _teller(self) -> Teller | None:
        """Who tells figures to others, if that is asked for; the same one for all lives."""
        if not metrics.wanted(self.config):
            return None
        from supervisor.metrics.teller import Teller

        teller = self.lives.teller if self.lives is not None else None
        teller = teller or Teller(self.config, self.init)
        teller.begin(self.journal, self.journal.life)
        if self.lives is not None:
            self.lives.teller = teller
        return teller

    def serve(self) -> None:
        """Follow, through faults of guard's own; when they don't end, be the target's init and nothing more."""
        faults: list[float] = []
        while True:
            try:
                return self.follow()
            except Exception as error:
                now_s = time.monotonic()
                faults = [at_s for at_s in faults if now_s - at_s < _FAULTS_WITHIN_S] + [now_s]
                goes_on = len(faults) < _MOST_FAULTS
                self._own_fault(error, goes_on)
                if not goes_on:
                    break
                self._rest(_RESTS_S[len(faults) - 1])
        self.acting.freezer.release()
        self.serving.give_up()
        # Nobody listens to these any more, and what they have to say would wake the poll again and again.
        if self.prober is not None:
            self.prober.end()
        self.wakeups.close()
        while self.init.status is None and not (self.roots is not None and self.init.stopped_from_outside):
            now_s = time.monotonic()
            self.init.pump(min(self.workers.enforce(now_s), self.init.enforce_stop(now_s)))
            self.workers.drain()
            self._hear_teller(now_s)
            self.handle(self.init.take_backlog())

    def _rest(self, seconds: float) -> None:
        """A moment for it to pass: signals are forwarded meanwhile, children reaped, and nobody stays frozen."""
        self.acting.freezer.release()
        until_s = time.monotonic() + seconds
        while self.init.status is None and not (self.roots is not None and self.init.stopped_from_outside):
            now_s = time.monotonic()
            if now_s >= until_s:
                break
            self.init.pump(min(until_s - now_s, self.workers.enforce(now_s), self.init.enforce_stop(now_s)))
            self.workers.drain()

    def _own_fault(self, error: Exception, goes_on: bool) -> None:
        try:
            import traceback

            trace = "".join(traceback.format_exception(error)[-6:])
            self.journal.emit("error", "guard.failed", reason=f"{type(error).__name__}: {error}", goes_on=goes_on,
                              traceback=trace, hint="report it with these lines")  # fmt: skip
        except Exception:  # out of memory, most likely: what is left to do is to be an init
            pass

    def follow(self) -> None:
        """Watch until the target (or the last of `roots`) has ended."""
        next_s = time.monotonic()
        if self.roots is not None:
            self.wakeups.follow_ends(self.roots)
        while True:
            self.handle(self.init.take_backlog())
            if self.init.status is not None or (self.roots is not None and self.init.stopped_from_outside):
                return
            now_s = time.monotonic()
            self._reload(now_s)
            self._hear_teller(now_s)
            self._probe(now_s)
            if now_s >= next_s or self._woken():
                reading = self.step()
                if self.roots is not None and not reading.processes:
                    return
                now_s = time.monotonic()
                next_s = now_s + self.state.wait_s
                self.acting.retain(now_s)
            if self.reacting is not None:
                self.reacting.look()
            patience_s = min(self.workers.enforce(now_s), self.acting.thaw(now_s), self.init.enforce_stop(now_s))
            if self.lives is not None and self.lives.reloader is not None:
                patience_s = min(patience_s, self.lives.reloader.left_s)
            if self.teller is not None:
                patience_s = min(patience_s, self.teller.left_s)
            if self.prober is not None:
                patience_s = min(patience_s, self.prober.left_s)
            if self.acting.shipper is not None:
                patience_s = min(patience_s, self.acting.shipper.look(now_s, self.state.last))
            self.init.pump(min(next_s - now_s, patience_s, self.serving.enforce(now_s)))
            self.workers.drain()
            self.serving.look()

    def _woken(self) -> bool:
        """Whether something asks for a sample before its time."""
        why = self.wakeups.take(self.init.ready)
        last = self.state.last
        if why != "cpu" or last is None:
            return bool(why)
        # Busy isn't growing: a look at the cgroup alone mostly shows that.
        use_bytes = self.sampler.peek()
        if use_bytes is None or use_bytes - last.use_bytes > last.headroom_bytes * _PEEK_SHARE:
            return True
        self.wakeups.arm(last, self.state.cpu_wait_s)
        return False

    def step(self) -> Sample:
        """Sample, decide, act."""
        place = self.sampler.place
        if self.init.keys is not None:
            self.init.keys.look()
        reading = self.sampler.take((*self.workers.running, *self.init.helpers))
        if self.sampler.place is not place:
            self.journal.emit("warning", "cgroup.moved", limit_bytes=reading.limit_bytes, use_bytes=reading.use_bytes,
                              path=next(iter(self.sampler.place.memory), None))  # fmt: skip
            self.wakeups.close()
            self.wakeups = Wakeups(self.init.poller, self.sampler.place)
            if self.roots is not None:
                self.wakeups.follow_ends(self.roots)
        self._notice(reading)
        reading = self._with_extra(reading)
        decision = decide.decide(self.state, reading, self.policy, reading.at_s)
        self.state = decision.state
        journal = self.journal
        journal.tally.add(reading, self.state.level)
        since_s = reading.at_s - journal.started_s
        wall_s = journal.started_at + since_s
        shown = record.trigger_fields(self.state.watched, self.policy.rules)
        journal.add_flight(record.flight_line(reading, self.state.name, self.state.slope, since_s, wall_s, shown))
        for path, why in reading.missing.items():
            if journal.once(f"sample {path} {why}"):
                journal.emit("warning", "sample.failed", path=path, reason=why)
        if self.config.log_level == "debug":
            journal.emit("debug", "sample.taken", rss_bytes=reading.rss_bytes, use_bytes=reading.use_bytes,
                         processes=len(reading.processes), wait_s=round(self.state.wait_s, 3))  # fmt: skip
        self.wakeups.arm(reading, self.state.cpu_wait_s)
        self.carry_out(decision)
        if self.teller is not None:
            self.teller.tell(reading, self.state, self.policy.levels)
        self._floods.tell(reading.at_s)
        journal.release()
        return reading

    def _with_extra(self, reading: Sample) -> Sample:
        """What triggers ask for besides."""
        if self.resources is None:
            return reading
        directories = self.sampler.place.memory
        extra = self.resources.read(reading.processes, directories[0] if directories else None, reading.at_s)
        for what, (reason, hint) in self.resources.missing.items():
            if self.journal.once(f"capability {what}"):
                self.journal.emit("warning", "capability.missing", capability=what, reason=reason, hint=hint)
        return replace(reading, extra=extra)

    def _probe(self, now_s: float) -> None:
        """Decide on what probes told."""
        if self.prober is None:
            return
        probes = self.prober.take(now_s)
        for level, name, fields in self.prober.news:
            self.journal.emit(level, name, **fields)
        self.prober.news.clear()
        for probe in probes:
            self.decide(probe)

    def _notice(self, reading: Sample) -> None:
        """What the kernel did meanwhile; thresholds follow a limit that changed."""
        before = self.noticed
        self.noticed, events = notice.follow(before, reading)
        for event in events:
            self.journal.emit(event.level, event.name, **event.fields)
        limit, high = self.noticed.limit_bytes, self.noticed.high_bytes
        if limit is None or (limit, high) == (before.limit_bytes, before.high_bytes):
            return
        levels, beyond = thresholds.levels_under(self.config, limit, high, reading.in_cgroup)
        self.policy = replace(self.policy, levels=levels_of(levels))
        # Of nested groups now one may bind and now the other: each turn is told once.
        if self.journal.once(f"limit {before.limit_bytes} {before.high_bytes} {limit} {high}"):
            self.journal.emit("warning" if beyond else "info", "limit.changed", from_bytes=before.limit_bytes,
                              to_bytes=limit, high_bytes=high, thresholds=record.thresholds(levels),
                              unreachable=beyond)  # fmt: skip

    def carry_out(self, decision: policy.Decision) -> None:
        """Turn effects into deeds."""
        for effect in decision.effects:
            if isinstance(effect, Event):
                self.journal.emit(effect.level, effect.name, **effect.fields)
                if effect.name == "state.changed":
                    self._state_changed(effect.fields)
            elif isinstance(effect, Start):
                self._action_ended(self.acting.start(effect, self.state.last))
            elif isinstance(effect, Stop):
                self.acting.stop(effect)
            elif isinstance(effect, EndLife):
                self.end_life(effect.why, effect.reason)
            elif isinstance(effect, Declined):
                self.serving.declined(effect)
            else:
                self.acting.hurry(effect)

    def end_life(self, why: str, reason: str) -> None:
        """End the target so that its next life begins. `why`: one of `restart.ASKED`, or MEMORY; STOP: for good."""
        if why == restart.STOP:
            self.init.stopped_from_outside = True
        elif self.lives is None or self.lives.ended_for:
            return
        else:
            self.lives.ended_for = why
        if self.init.status is not None:
            return
        level = "warning" if why == restart.MEMORY else "info"
        self.journal.emit(level, "target.stopping", pid=self.init.target.pid if self.init.target else None,
                          why=why, reason=reason, patience_s=self.config.stop_timeout)  # fmt: skip
        self.init.end_target(time.monotonic())

    def _reload(self, now_s: float) -> None:
        """Files that changed end this life; what comes while it ends is what the next one begins with."""
        if self.lives is None or self.lives.reloader is None:
            return
        change = self.lives.changed(now_s)
        for level, name, fields in self.lives.reloader.news:
            self.journal.emit(level, name, **fields)
        self.lives.reloader.news.clear()
        if change is not None and not self.lives.ended_for:
            self.journal.emit("info", "reload.triggered", **change)
            self.end_life("reload", f"{change['count']} files changed")

    def _hear_teller(self, now_s: float) -> None:
        for level, name, fields in self.teller.take(now_s) if self.teller is not None else ():
            self.journal.emit(level, name, **fields)

    def _state_changed(self, fields: Mapping[str, Any]) -> None:
        if fields.get("guilty_pid"):
            self.acting.note_guilty(fields)
        if fields["to"] in ("critical", "profiling") and fields["from"] != "profiling":
            self.journal.alarm(fields["to"])
            if self.acting.shipper is not None:
                self.acting.shipper.want("all", time.monotonic(), self.state.last)

    def _action_ended(self, ended: ActionEnded | None) -> None:
        if ended is None:
            return
        self.serving.action_ended(ended)
        self.decide(ended)

    def decide(self, event: ActionEnded | Asked | Probe) -> policy.Decision:
        """Decide on what is no sample, and act; what was decided."""
        decision = decide.decide(self.state, event, self.policy, time.monotonic())
        self.state = decision.state
        self.carry_out(decision)
        return decision

    # -- what the init saw ----------------------------------------------------------------------------------------

    def handle(self, backlog: list[pid1.Ended | pid1.Forwarded]) -> None:
        """Log and route it."""
        for entry in backlog:
            if isinstance(entry, pid1.Forwarded):
                self._floods.add(entry, time.monotonic())
            elif (found := self.workers.ended(entry.pid, entry.status)) is not None:
                if self.reacting is not None and found[0].start.kind in REACTIONS:
                    self.reacting.ended(*found)
                else:
                    self._action_ended(self.acting.ended(*found, self.state.last))
            elif self.config.log_level != "debug":
                continue  # thousands of orphans must not cost a thought each
            elif self.init.target is None or entry.pid != self.init.target.pid:
                self.journal.emit("debug", "orphan.reaped", pid=entry.pid, **record.ending(entry.status))

    def finish(self) -> int:
        """Let workers keep what they have, end what is left of the group, write the record; the exit code."""
        self.acting.ending = True
        self.acting.freezer.release()
        if self.prober is not None:
            self.prober.end()
        now_s = time.monotonic()
        self.journal.tally.oom_kills_of_others = self.noticed.others(now_s)
        deadline_s = now_s + _FINISH_S
        if self.acting.shipper is not None:
            self.acting.shipper.leave()
        for worker in self._evidence_workers():
            worker.ask_to_end(now_s)
        while True:
            now_s = time.monotonic()
            left_s = self.init.group_left(now_s) if self.roots is None else None
            if left_s is None and (not self._evidence_workers() or now_s >= deadline_s):
                break
            timeout_s = min(deadline_s - now_s if now_s < deadline_s else 1.0, self.workers.enforce(now_s))
            self.init.pump(min(timeout_s, left_s) if left_s is not None else timeout_s)
            self.workers.drain()
            self._hear_teller(now_s)
            self.serving.look()
            self.handle(self.init.take_backlog())
        for worker in self._evidence_workers():
            worker.kill()
        self._floods.tell(float("inf"))
        tally = self.journal.tally
        tally.oom_kills = self.sampler.oom_kills() or tally.oom_kills
        self.sampler.close()  # first: its descriptors may be the last that the end record can get
        final = self.journal.end()
        again = self.lives is not None and self.lives.judge(self.init).again
        self.serving.run_ended(final, again=again)
        self._last_reactions(again)
        self._ship_the_rest()
        self.wakeups.close()
        self.workers.close()
        if self.teller is not None:
            self.teller.life_ended(again=again)
            if not again:
                self.teller.end()
        if self.lives is not None:  # another life's begins where this one's ended
            self.config.facts.oom_kills = tally.oom_kills
            self.journal.close()
        return self.init.code

    def _evidence_workers(self) -> list[Worker]:
        return [worker for worker in self.workers.running.values() if worker.start.kind not in REACTIONS]

    def _told_to_end(self, backlog: list[pid1.Ended | pid1.Forwarded]) -> bool:
        """Whether a signal among these means it: not a window's new size, say."""
        ending = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, self.config.stop_signal)
        return any(isinstance(entry, pid1.Forwarded) and entry.signal in ending for entry in backlog)

    def _last_reactions(self, again: bool) -> None:
        """Stay for hooks and messages, which the target's end may have caused; a signal now ends that.

        `again`: another life follows.
        """
        if self.reacting is None:
            return
        while (left_s := self.reacting.last(time.monotonic(), again=again)) is not None:
            self.init.pump(min(left_s, self.workers.enforce(time.monotonic())))
            self.workers.drain()
            self._hear_teller(time.monotonic())
            self.serving.look()
            backlog = self.init.take_backlog()
            self.reacting.hurried |= self._told_to_end(backlog)
            self.handle(backlog)
        for worker in self.workers.running.values():
            worker.kill()

    def _ship_the_rest(self) -> None:
        """Stay until the end's evidence is away, but no longer than is set, and not when a signal comes meanwhile.

        Before another life there is the time that it waits anyway: a crash loop may never have another. Where that is
        short, the next life's shipping begins with what this one left.
        """
        shipper = self.acting.shipper
        verdict = self.lives.judge(self.init) if self.lives is not None else None
        if shipper is None:
            return
        began_s = time.monotonic()
        if verdict is not None and verdict.again and not verdict.for_change:
            if verdict.wait_s < _LEAST_STAY_S:
                return
            shipper.most_s = verdict.wait_s
        if self.reacting is not None and self.reacting.hurried:
            return
        shipper.stopped = self.init.stopped_from_outside
        while (left_s := shipper.last(time.monotonic())) is not None:
            self.init.pump(left_s)
            self.workers.drain()
            self._hear_teller(time.monotonic())
            backlog = self.init.take_backlog()
            shipper.hurried |= self._told_to_end(backlog)
            self.handle(backlog)
        if verdict is not None:
            verdict.wait_s = max(0.0, verdict.wait_s - (time.monotonic() - began_s))


def watch_target(init: pid1.Init, config: Config, lives: Lives | None = None) -> int:
    """Watch the target that `init` serves until it ends; the exit code."""
    assert init.target is not None
    watch = Watch(init, config, init.target.command, None, lives)
    watch.serve()
    return watch.finish()
