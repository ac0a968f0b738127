"""Below `api`: settings as options, guard's command line, the pipe its events come by, its answers as records."""

from __future__ import annotations

import difflib
import fcntl
import os
import select
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from supervisor import installing
from supervisor.errors import GuardError, UsageError
from supervisor.evidence import Event
from supervisor.evidence.fields import decoded, mapping, number, sequence, text, whole
from supervisor.evidence.flights import event_of
from supervisor.quantities import BadValue
from supervisor.quickparse import switches
from supervisor.settings import BY_NAME, SETTINGS

_PIPE_BYTES = 1 << 20
_MOST_LINE = 1 << 20
_MARK = b'{"timestamp"'  # how every line begins
_OWN = {
    "log_file": "events() reads it",
    "log_format": "events() reads it",
    "watch": "without the watcher there is nothing to ask and nothing to read",
}


@dataclass(frozen=True, slots=True)
class State:
    """A run at one moment; what isn't known yet is None. `answer` is all that guard said.

    `state`: ok, warning, critical, profiling, or waiting: between two lives.
    """

    state: str
    run: str
    life: int
    pid: int | None = None
    elapsed_s: float | None = None
    rss_bytes: int | None = None
    use_bytes: int | None = None
    limit_bytes: int | None = None
    headroom_bytes: int | None = None
    slope_bytes_per_s: float | None = None
    time_to_limit_s: float | None = None
    actions: tuple[str, ...] = ()
    answer: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an action left: its files, the one to read first in front."""

    action: str
    pid: int
    paths: tuple[str, ...]


def state_of(answer: Mapping[str, Any]) -> State:
    """An answer to `state`, typed."""
    return State(
        state=text(answer.get("state")) or "ok",
        run=text(answer.get("run")) or "",
        life=whole(answer.get("life")) or 1,
        pid=whole(answer.get("pid")),
        elapsed_s=number(answer.get("elapsed_s")),
        rss_bytes=whole(answer.get("rss_bytes")),
        use_bytes=whole(answer.get("use_bytes")),
        limit_bytes=whole(answer.get("limit_bytes")),
        headroom_bytes=whole(answer.get("headroom_bytes")),
        slope_bytes_per_s=number(answer.get("slope_bytes_per_s")),
        time_to_limit_s=number(answer.get("time_to_limit_s")),
        actions=tuple(text(mapping(each).get("action")) or "?" for each in sequence(answer.get("actions"))),
        answer=dict(answer),
    )


def evidence_of(answer: Mapping[str, Any]) -> Evidence:
    """An answer to an action, typed."""
    paths = tuple(path for each in sequence(answer.get("paths")) if (path := text(each)) is not None)
    return Evidence(text(answer.get("action")) or "", whole(answer.get("pid")) or 0, paths)


def options(settings: Mapping[str, object]) -> list[str]:
    """Settings by key as options of `guard run`. Raises UsageError."""
    known = {setting.key: setting for setting in SETTINGS}
    found = [] if "quiet" in settings else ["--quiet"]  # stderr is this program's
    for key, value in settings.items():
        setting = known.get(key)
        if setting is None:
            near = next(iter(difflib.get_close_matches(key, known, 1, 0.6)), "")
            raise UsageError(f"there is no setting {key!r}", hint=f"{near}=..." if near else "guard run --help")
        if key in _OWN:
            raise UsageError(f"{key} is not to be set here", why=_OWN[key])
        if value is None:
            continue
        values = value if setting.repeat and isinstance(value, Sequence) and not isinstance(value, str) else [value]
        for each in values:
            words = _text(each)
            try:
                parsed = setting.parse(words)
            except BadValue as error:
                raise UsageError(f"{key}={each!r} is not accepted", why=f"it takes {error}") from None
            if setting.kind == "switch":
                found.append(f"--{setting.name}" if parsed else _off(setting.name))
            else:
                found.append(f"--{setting.name}={words}")
    return [option for option in found if option]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return os.fspath(value) if isinstance(value, str | os.PathLike) else str(value)


def _off(name: str) -> str:
    return next((option for option, value in switches(BY_NAME[name]).items() if value == "0"), "")


def guard_line() -> list[str]:
    """How guard is started: the checkout's or the installed `guard` under this interpreter. Raises GuardError."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    places = [os.path.join(here, "bin"), sysconfig.get_path("scripts"), os.path.dirname(sys.executable or "")]
    places += (os.environ.get("PATH") or "").split(os.pathsep)
    for place in places:
        script = os.path.join(place, "guard")
        if place and os.path.isfile(script):
            return [sys.executable, "-IS", script] if sys.executable else [script]
    raise GuardError(
        "the command guard is not installed beside this package",
        hint=installing.package("--force-reinstall", "guard-supervisor"),
    )


class Channel:
    """Where guard tells: a named pipe in a private folder for its events, and a pipe for how it started."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._folder = tempfile.mkdtemp(prefix="guard-")  # 0700
        self.path = os.path.join(self._folder, "log")
        self._rest = b""
        self.log = self._errors = self.errors_end = -1
        try:
            os.mkfifo(self.path, 0o600)
            # For writing as well: between two lives nobody else has it open, which must not look like the end.
            self.log = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
            self._errors, self.errors_end = os.pipe2(os.O_CLOEXEC)
            try:
                fcntl.fcntl(self.log, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            except OSError:
                pass  # the pipes of this user have reached their bound
        except BaseException:
            self.close()
            raise

    def started(self, pidfd: int) -> int:
        """Wait until the command runs; its pid. Raises GuardError as guard explained it, `code` 0 if it didn't."""
        os.close(self.errors_end)
        self.errors_end = -1
        poller = select.poll()
        for fd in (self._errors, pidfd):
            if fd >= 0:
                poller.register(fd, select.POLLIN)
        data = b""
        while b"\n" not in data:
            ready = {fd for fd, _ in poller.poll()}
            if self._errors in ready and (chunk := os.read(self._errors, 65536)):
                data += chunk
            elif pidfd in ready or self._errors in ready:
                break  # it ended without a word, or let go of the pipe
        told = mapping(decoded(data.partition(b"\n")[0]) if data else None)
        pid = whole(told.get("started"))
        if pid is not None:
            return pid
        what = text(told.get("what")) or "guard could not be started"
        why, hint = text(told.get("why")) or "", text(told.get("hint")) or ""
        code = whole(told.get("code")) or 0
        if code == 2:
            raise UsageError(what, why=why, hint=hint)
        raise GuardError(what, why=why, hint=hint, code=code)

    def take(self) -> Iterator[Event]:
        """The events that came since the last call."""
        while self.log >= 0:
            try:
                chunk = os.read(self.log, 1 << 16)
            except BlockingIOError:
                return
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            self._rest = self._rest[-_MOST_LINE:]
            for line in lines:
                # Of a line that the full pipe cut off, the next one is the rest.
                found = event_of(mapping(decoded(line[max(0, line.rfind(_MARK)) :])))
                if found is not None:
                    yield found

    def close(self) -> None:
        """Give everything back."""
        for fd in (self.log, self._errors, self.errors_end):
            if fd >= 0:
                os.close(fd)
        self.log = self._errors = self.errors_end = -1
        try:
            os.unlink(self.path)
        except OSError:
            pass
        try:
            os.rmdir(self._folder)
        except OSError:
            pass
