"""`guard ctl` for one life of a watched run: what is asked goes to deciding, what came of it to whoever asked."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from supervisor.ctl import documents
from supervisor.ctl.server import Control, refusal
from supervisor.model import ActionEnded, Asked, Declined

if TYPE_CHECKING:
    from supervisor.loop import Watch


class Serving:
    """The clients of one life, a part. The connections themselves outlast it (see `server`)."""

    def __init__(self, watch: Watch) -> None:
        """From now on they come to this run; who asked the life before for this one is told."""
        self._watch = watch
        self._final: Mapping[str, Any] | None = None  # the end record
        lives, target, journal = watch.lives, watch.init.target, watch.journal
        known = lives.control if lives is not None else None
        self._control = known or Control(watch.init.poller)
        self._control.attach(journal.door)
        if lives is not None:
            lives.control = self._control
            began = {"run": journal.run, "life": lives.number, "pid": target.pid if target else None}
            self._control.answer_all(("restart",), {"ok": True, **began, "evidence": journal.path})

    def look(self, now_s: float, ready: Collection[int]) -> float:
        """Serve who came, 0 if somebody did; drop who is silent for too long, seconds until somebody is."""
        journal = self._watch.journal
        requests = self._control.serve(ready, now_s)
        for asked in requests:
            self._take(asked)
        for name, fields in self._control.news:
            if journal.once(f"{name} {fields.get('uid')} {fields['reason']}"):
                journal.emit("warning", name, **fields)
        self._control.news.clear()
        left_s = self._control.enforce(now_s)
        return 0.0 if requests else left_s

    def _take(self, asked: Asked) -> None:
        """Answer now, or when it is done."""
        watch, journal = self._watch, self._watch.journal
        who = {"request": asked.verb, "uid": asked.uid, "peer_pid": asked.peer_pid}
        journal.emit("debug" if asked.verb == "state" else "info", "ctl.request", **who, pid=asked.pid)
        if asked.verb == "state":
            pid = watch.init.target.pid if watch.init.target is not None else None
            workers = watch.workers.running.values()
            document = documents.of_run(watch.state, watch.policy, journal, workers, pid, time.monotonic())
            self._control.answer(asked.number, document)
            return
        if watch.acting.ending and asked.verb != "stop":
            reason, hint = "the run is ending", "guard postmortem"
            self._control.answer(asked.number, refusal(reason, hint))
            journal.emit("info", "ctl.refused", **who, reason=reason, hint=hint)
            return
        if asked.verb not in ("restart", "stop"):
            watch.step()  # what there is room for is decided on what is true now
        for effect in watch.decide(asked).effects:
            if isinstance(effect, Declined) and effect.asked == asked.number:
                journal.emit("warning", "ctl.refused", **who, reason=effect.reason, hint=effect.hint)
        self._control.under_way(asked.number)

    def declined(self, effect: Declined) -> None:
        """Tell who asked that it isn't done."""
        self._control.answer(effect.asked, refusal(effect.reason, effect.hint))

    def action_ended(self, ended: ActionEnded) -> None:
        """Tell who asked for it what it left."""
        if ended.asked:
            self._control.answer(ended.asked, documents.of_action(ended))

    def run_ended(self, final: Mapping[str, Any]) -> None:
        """Tell who waits. Others may still come: guard stays for the last deeds, or another life begins."""
        names = ("run", "outcome", "code", "signal", "elapsed_s")
        self._control.answer_all(("stop",), {"ok": True} | {name: final[name] for name in names})
        self._control.answer_all(documents.ACTIONS, refusal("the run ended first", f"guard postmortem {final['run']}"))
        self._final = final

    def give_up(self) -> None:
        """Nobody is served any more."""
        self._control.close("guard has a fault of its own and watches no more")

    def end(self) -> None:
        """There is no other life: who asked for the end meanwhile is told, and nobody else heard."""
        if self._final is not None:
            self.run_ended(self._final)
        self._control.close()
