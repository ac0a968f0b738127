"""The target's lives: started, followed to its end, started again as `restart` decides.

Imported before the target starts, and only where an option asks for more than one life.
"""

from __future__ import annotations

import _signal
import os
import time

from supervisor import errors, launch, life, pid1, restart
from supervisor.errors import GuardError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from supervisor.config import Config
    from supervisor.ctl.server import Control
    from supervisor.journal import Journal
    from supervisor.metrics.teller import Teller
    from supervisor.part import Part
    from supervisor.reload.reloader import Reloader

_MOST_UNTOLD = 64


def check_reload(config: Config) -> None:
    """Refuse what can't be, before the target starts; make paths absolute. Raises UsageError."""
    from importlib.util import find_spec

    for name in ("watchfiles", "pathspec"):
        if find_spec(name) is None:
            from supervisor import installing

            why, hint = f"{name} isn't installed", installing.extra("reload")
            raise UsageError("--reload needs watchfiles and pathspec", why=why, hint=hint)
    for directory in config.reload_dir:
        if not os.path.isdir(directory):
            raise UsageError(f"--reload-dir {directory} is no directory", hint="name one that exists")
    config.reload_dir = tuple(os.path.abspath(each) for each in config.reload_dir or (".",))


class Lives:
    """What lasts from one life to the next. `number` counts from 1; `previous` is the run id of the one before."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.number = 1
        self.previous: str | None = None
        self.in_a_row = 0
        self.verdict: restart.Verdict | None = None
        self.ended_for = ""
        self.journal: Journal | None = None  # of this life, or of the one that ended last
        self.lasting: list[Part] = []  # of the init's parts, those that outlast a life
        self._untold: list[tuple[str, str, dict[str, object]]] = []
        self.reloader: Reloader | None = None
        self.teller: Teller | None = None
        self.control: Control | None = None  # where guard ctl comes to, once there is such a place
        self.began_s = time.monotonic()

    def begin(self) -> None:
        """A life begins now."""
        self.began_s = time.monotonic()
        self.verdict, self.ended_for = None, ""

    def judge(self, init: pid1.Init) -> restart.Verdict:
        """Whether there is another life after this one. Asked again it answers the same."""
        if self.verdict is None:
            ending = restart.Ending(
                init.code, time.monotonic() - self.began_s, stopped=init.stopped_from_outside, ended_for=self.ended_for
            )
            self.verdict = restart.verdict(ending, self.config, self.in_a_row, int.from_bytes(os.urandom(4)) / 2**32)
            self.in_a_row = self.verdict.in_a_row
        return self.verdict

    def add(self, part: Part, init: pid1.Init) -> None:
        """One that outlasts a life."""
        self.lasting.append(part)
        init.parts.append(part)

    def leave(self, init: pid1.Init) -> None:
        """A life is over: what a fault of guard's own left of it goes, too."""
        for part in tuple(init.parts):
            if part not in self.lasting:
                init.parts.remove(part)
                try:
                    part.end()
                except Exception:
                    pass

    def drop(self, init: pid1.Init, error: Exception) -> None:
        """A fault in what lasts, most likely: it is told, and nothing lasts any more."""
        try:
            if self.journal is None:
                errors.say(f"guard: a fault of guard's own: {error!r}")
            else:
                from supervisor import record

                self.tell("error", "guard.failed", **record.fault(error), goes_on=True)
        except Exception:
            pass
        lasting, self.lasting = self.lasting, []
        for part in lasting:
            init.parts.remove(part)
            try:
                part.end()
            except Exception:
                pass

    def changed(self) -> dict[str, object] | None:
        """What files changed since the last call, if that is watched."""
        if self.reloader is None:
            return None
        change, self.reloader.change = self.reloader.change, None
        return change

    def follow(self, journal: Journal) -> None:
        """A life has a log: what couldn't be told before is told now, and the last life's isn't needed any more."""
        if self.journal is not None and self.journal is not journal:
            self.journal.stream.close()
        self.journal = journal
        for level, name, fields in self._untold:
            journal.emit(level, name, **fields)
        self._untold.clear()

    def asked(
        self, control: Control, ready: Collection[int], init: pid1.Init, reason: str, wait_s: float | None
    ) -> bool:
        """Between two lives: answer `guard ctl`; True when the next life is asked for now."""
        from supervisor.ctl import documents
        from supervisor.ctl.server import refusal

        begin = False
        for asked in control.serve(ready, time.monotonic()):
            if asked.verb == "state":
                document = documents.of_wait(self.previous or "", self.number, reason, wait_s)
                control.answer(asked.number, document)
            elif asked.verb == "stop":
                init.stopped_from_outside = True
            elif asked.verb == "restart":
                begin = True
            else:
                control.answer(asked.number, refusal("the target isn't running just now", "guard ctl restart"))
            self.tell("info", "ctl.request", request=asked.verb, uid=asked.uid, peer_pid=asked.peer_pid, pid=asked.pid)
        return begin and not init.stopped_from_outside

    def end(self, init: pid1.Init, code: int) -> None:
        """There is no other life: who asked for the end, or for another one, is told."""
        if self.teller is not None:
            from supervisor import stay

            until_s = time.monotonic() + stay.figures_s(self.config)
            try:
                self.teller.end()
                while self.teller.busy and (left_s := until_s - time.monotonic()) > 0:
                    init.pump(left_s)
            except Exception as error:
                self.drop(init, error)
        if self.control is not None:
            document = {"ok": True, "run": self.previous, "outcome": "stopped", "code": code}
            self.control.answer_all(("stop",), document)
            self.control.close()

    def tell(self, level: str, name: str, **fields: object) -> None:
        """An event of what outlasts a life: in the log of this one or, between two, of the one that ended."""
        if self.journal is not None:
            self.journal.emit(level, name, **fields)
        elif len(self._untold) < _MOST_UNTOLD:
            self._untold.append((level, name, fields))


def run_all(command: list[str], config: Config, environment: dict[bytes, bytes], mask: Iterable[int]) -> int:
    """Life after life; the last one's exit code. Raises GuardError when the first can't be started."""
    if config.reload:
        check_reload(config)
    again = launch.Again()
    started_at = time.time()
    target = launch.start(command, config, environment, mask)
    init = pid1.Init(target, config)
    init.install()
    errors.tell(started=target.pid)
    launch.let_go(init.descriptors, inherited=False)
    lives = Lives(config)
    if config.reload:
        from supervisor.reload.reloader import Reloader

        lives.reloader = Reloader(config, init.poller, init.helpers, lives.tell)
        lives.add(lives.reloader, init)
        lives.reloader.begin(started_at)
    while True:
        lives.begin()
        _watch_keys(init)
        code = life.follow(init, config, lives)
        lives.leave(init)
        verdict = lives.judge(init)
        _let_terminal_go(init)
        again.group = init.target.pid if init.target is not None else 0
        init.begin(None)
        while verdict.again:
            if not _wait(init, verdict, lives):
                lives.end(init, code)
                return code
            try:
                init.begin(_start(command, config, environment, mask, again))
                lives.number += 1
                break
            except (GuardError, OSError) as error:
                code = error.code if isinstance(error, GuardError) else 126
                verdict = _not_started(lives, error, code)
        if init.target is None:
            lives.end(init, code)
            return code


def _start(
    command: list[str], config: Config, environment: dict[bytes, bytes], mask: Iterable[int], again: launch.Again
) -> launch.Target:
    """Start it once more: signals wait meanwhile, as for the first start."""
    _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    try:
        return launch.start(command, config, environment, mask, again)
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def _not_started(lives: Lives, error: GuardError | OSError, code: int) -> restart.Verdict:
    """It can't be started any more, which counts as a failure: a deployment may be replacing it just now."""
    config = lives.config
    verdict = restart.verdict(restart.Ending(code, 0.0), config, lives.in_a_row, 0.5)
    lives.in_a_row = verdict.in_a_row
    if not verdict.again or restart.worth_a_line(verdict.in_a_row):
        hint = error.hint if isinstance(error, GuardError) else "ulimit -n -u"
        wait = {"wait_s": round(verdict.wait_s, 3)} if verdict.again else {}
        why = error.why if isinstance(error, GuardError) else ""
        reason = f"{error}: {why}" if why else str(error)
        lives.tell("error", "restart.failed", reason=reason, hint=hint, in_a_row=verdict.in_a_row, code=code, **wait)
    return verdict


class _Pause:
    """The wait for the next life: the part that `guard ctl` asks meanwhile. `begin`: the next life is asked for."""

    def __init__(self, init: pid1.Init, lives: Lives, verdict: restart.Verdict) -> None:
        self.begin = False
        self._init = init
        self._lives = lives
        self._reason = verdict.reason
        self._deadline_s = None if verdict.for_change else time.monotonic() + verdict.wait_s

    @property
    def left_s(self) -> float | None:
        """Seconds until it is over by itself; None when it isn't."""
        return self._deadline_s - time.monotonic() if self._deadline_s is not None else None

    def look(self, now_s: float, ready: Collection[int]) -> float:
        """Answer who asks, 0 if that ends the wait; seconds until somebody has been silent for too long."""
        control = self._lives.control
        if control is None:
            return float("inf")
        self.begin |= self._lives.asked(control, ready, self._init, self._reason, self.left_s)
        left_s = control.enforce(now_s)
        return 0.0 if self.begin or self._init.stopped_from_outside else left_s

    def end(self) -> None:
        """It holds nothing of its own."""


def _wait(init: pid1.Init, verdict: restart.Verdict, lives: Lives) -> bool:
    """Until it is time for the next life; False when somebody asked guard to stop meanwhile, which ends it at once."""
    pause = _Pause(init, lives, verdict)
    init.parts.append(pause)
    try:
        while True:
            if init.stopped_from_outside:
                return False
            if (change := lives.changed()) is not None:
                lives.tell("info", "reload.triggered", **change)
                return True
            if pause.begin:
                return True
            left_s = pause.left_s
            if left_s is not None and left_s <= 0:
                return True
            try:
                init.pump(left_s)
            except Exception as error:
                if init.alone:
                    raise
                init.alone = not lives.lasting  # or it is in what waits here
                lives.drop(init, error)
            init.take_backlog()
    finally:
        init.alone = False
        init.parts.remove(pause)


def _watch_keys(init: pid1.Init) -> None:
    """A target in front of a terminal gets what is typed there, and guard doesn't."""
    if init.target is None or init.terminal is None or not init.terminal.foreground:
        return
    from supervisor.keys import Keys

    try:
        init.keys = Keys(init.target.pid, init.helpers)
    except OSError as error:
        errors.say(f"guard: Ctrl-C can't be told from a crash: {error.strerror}")


def _let_terminal_go(init: pid1.Init) -> None:
    """The next life opens its terminal anew."""
    if init.terminal is not None:
        os.close(init.terminal.fd)
