"""The watching loop: the one place with a clock, joining init, sampler, decision, workers and journal.

Nothing here decides and nothing here waits for anything but one poll.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from supervisor import decide, metrics, notice, pid1, policy, record, restart, retaining, sample, thresholds
from supervisor.acting import Acting
from supervisor.config import Config
from supervisor.ctl.answering import Serving
from supervisor.finish import Finish
from supervisor.floods import Floods
from supervisor.journal import Journal
from supervisor.model import ActionEnded, Asked, Declined, EndLife, Event, Probe, Sample, Start, Stop
from supervisor.profilers import interpreter
from supervisor.wakeups import Wakeups
from supervisor.workers import REACTIONS

if TYPE_CHECKING:
    from supervisor.lives import Lives
    from supervisor.metrics.teller import Teller
    from supervisor.part import Part
    from supervisor.probing import Prober
    from supervisor.reacting import Reacting
    from supervisor.resources import Resources
    from supervisor.shipper import Shipper

# After processor time that could have filled half the headroom: a sample, when this much of it is gone indeed.
_PEEK_SHARE = 0.1
# This many faults of guard's own within this time, and it watches no more.
_MOST_FAULTS = 3
_RESTS_S = (0.1, 1.0)  # after the first and the second of them
_FAULTS_WITHIN_S = 60.0


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
        watched = {"pids": list(roots)} if roots is not None else None
        subject = record.Subject(command, init.target.pid if init.target is not None else None, watched)
        self.journal = Journal(init, config, subject, lives)
        if lives is not None:
            lives.follow(self.journal)
        self.teller = self._teller()
        self.acting = Acting(init, config, self.journal)
        self.workers = self.acting.workers
        self.retaining = retaining.Retaining(config, self.journal, self.workers)
        self.reacting = self._reacting()
        own, again = roots is None, lives is not None
        counts = interpreter.counts if config.remote_exec else policy.never
        self.policy = replace(policy.of_config(config, self.acting.start_s), own=own, lives=again, counts=counts)
        self.state = self.acting.spent.first_state()
        self.sampler = sample.Sampler(config.facts.place, config.facts.memory_bytes, config.metric, roots)
        self.resources, self.prober = self._for_triggers()
        self.noticed = self._first_known()
        self.wakeups = Wakeups(init.poller, config.facts.place)
        self.floods = Floods(self.journal.emit, config.forward if roots is None else None)
        self.serving = Serving(self)
        self.finishing = Finish(self)
        own_parts = (
            self.wakeups, self.prober, self.shipper, self.reacting, self.serving, self.acting, self.retaining,
            self.workers,
        )  # fmt: skip
        self.parts: list[Part] = [part for part in own_parts if part is not None]
        if self.teller is not None and lives is None:
            self.parts.append(self.teller)
        init.parts += self.parts

    @property
    def shipper(self) -> Shipper | None:
        """Who ships evidence, if that is asked for."""
        return self.acting.shipper

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

            prober = Prober(
                self.config, self.policy.rules.response_s, self.init.poller, self.init.helpers, self.journal.emit
            )
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

        known = self.lives.teller if self.lives is not None else None
        tell = self.lives.tell if self.lives is not None else self.journal.emit
        teller = known or Teller(self.config, self.init, tell)
        teller.begin(self.journal, self.journal.life)
        if self.lives is not None and known is None:
            self.lives.teller = teller
            self.lives.add(teller, self.init)
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
                self.own_fault(error, goes_on)
                if not goes_on:
                    break
                self._rest(_RESTS_S[len(faults) - 1])
        self.serving.give_up()
        self.acting.end()
        self.wakeups.end()
        if self.prober is not None:
            self.prober.end()
        if self.teller is not None and self.lives is None:
            self.teller.end()  # nobody hears it any more: its pipe would wake every poll
        for part in self.parts:
            if part is not self.workers:
                self.init.parts.remove(part)  # the fault may be in its turn
        self.parts = [self.workers]
        while not self._over:
            try:
                self.init.pump(None)
            except Exception as error:
                if self.lives is None or not self.lives.lasting:
                    raise
                self.lives.drop(self.init, error)
            self._reload()
            self.handle(self.init.take_backlog())

    @property
    def _over(self) -> bool:
        return self.init.status is not None or (self.roots is not None and self.init.stopped_from_outside)

    def _rest(self, seconds: float) -> None:
        """A moment for it to pass: signals are forwarded meanwhile, children reaped, and nobody stays frozen.

        No part gets a turn: the fault may be in one.
        """
        self.acting.end()
        until_s = time.monotonic() + seconds
        self.init.alone = True
        try:
            while not self._over and (left_s := until_s - time.monotonic()) > 0:
                self.init.pump(left_s)
        finally:
            self.init.alone = False

    def own_fault(self, error: Exception, goes_on: bool) -> None:
        """Tell of a fault of guard's own, as far as that is possible."""
        try:
            self.journal.emit("error", "guard.failed", **record.fault(error), goes_on=goes_on)
        except Exception:  # out of memory, most likely: what is left to do is to be an init
            pass

    def follow(self) -> None:
        """Watch until the target (or the last of `roots`) has ended."""
        next_s = time.monotonic()
        if self.roots is not None:
            self.wakeups.follow_ends(self.roots)
        while True:
            self.handle(self.init.take_backlog())
            if self._over:
                return
            self._reload()
            for probe in self.prober.take() if self.prober is not None else ():
                self.decide(probe)
            if time.monotonic() >= next_s or self._woken():
                reading = self.step()
                if self.roots is not None and not reading.processes:
                    return
                next_s = time.monotonic() + self.state.wait_s
            self.init.pump(next_s - time.monotonic())

    def _woken(self) -> bool:
        """Whether something asks for a sample before its time."""
        why = self.wakeups.take()
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
            self.wakeups.move(self.sampler.place)
        self._notice(reading)
        reading = self._with_extra(reading)
        if self.shipper is not None:
            self.shipper.headroom_bytes = reading.headroom_bytes
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
        self.floods.tell(reading.at_s)
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
        self.policy = replace(self.policy, levels=policy.levels(levels))
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
            self.finishing.hurried |= self.finishing.stays
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

    def _reload(self) -> None:
        """Files that changed end this life; what comes while it ends is what the next one begins with."""
        change = self.lives.changed() if self.lives is not None else None
        if change is not None and self.lives is not None and not self.lives.ended_for:
            self.journal.emit("info", "reload.triggered", **change)
            self.end_life("reload", f"{change['count']} file{'s' if change['count'] != 1 else ''} changed")

    def _state_changed(self, fields: Mapping[str, Any]) -> None:
        if fields.get("guilty_pid"):
            names = ("guilty_pid", "guilty_name", "guilty_rss_bytes")
            self.journal.suspicion.guilty(*(fields[name] for name in names))
        if fields["to"] in ("critical", "profiling") and fields["from"] != "profiling":
            self.journal.alarm(fields["to"])
            if self.shipper is not None:
                self.shipper.want("all", time.monotonic())

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
                self.floods.add(entry, time.monotonic())
            elif (found := self.workers.ended(entry.pid, entry.status)) is not None:
                kind = found[0].start.kind
                if self.reacting is not None and kind in REACTIONS:
                    self.reacting.ended(*found)
                elif kind == retaining.KIND:
                    self.retaining.ended(*found)
                else:
                    self._action_ended(self.acting.ended(*found))
            elif self.config.log_level != "debug":
                continue  # thousands of orphans must not cost a thought each
            elif self.init.target is None or entry.pid != self.init.target.pid:
                self.journal.emit("debug", "orphan.reaped", pid=entry.pid, **record.ending(entry.status))

    def finish(self) -> int:
        """Let workers keep what they have, end what is left of the group, write the record; the exit code."""
        return self.finishing.run()


def watch_target(init: pid1.Init, config: Config, lives: Lives | None = None) -> int:
    """Watch the target that `init` serves until it ends; the exit code."""
    assert init.target is not None
    watch = Watch(init, config, init.target.command, None, lives)
    watch.serve()
    return watch.finish()
