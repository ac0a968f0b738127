"""guard in every place it can stand: as PID 1 or not, with a controlling terminal or without, watching or not."""

from __future__ import annotations

import fcntl
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
GUARD = [sys.executable, "-IS", str(ROOT / "bin" / "guard")]
PATIENCE_S = 30.0
UNSHARE = ["unshare", "-pf", "--mount-proc", "--kill-child"]


class Mode(NamedTuple):
    """Where guard stands."""

    pid1: bool
    terminal: bool
    watch: bool

    @property
    def options(self) -> list[str]:
        return ["--log-format", "json"] if self.watch else ["--no-watch"]

    def __str__(self) -> str:
        parts = ("pid1" if self.pid1 else "child", "terminal" if self.terminal else "bare")
        return "-".join((*parts, "watching" if self.watch else "init"))


BOTH = (False, True)
MODES = [Mode(pid1, terminal, watch) for pid1 in BOTH for terminal in BOTH for watch in BOTH]
BARE = [mode for mode in MODES if not mode.terminal]
IN_TERMINAL = [mode for mode in MODES if mode.terminal]
CHILD = [mode for mode in MODES if not mode.pid1]


def modes(chosen: list[Mode]) -> Any:
    """A test in each of these modes."""
    return pytest.mark.parametrize("mode", chosen, ids=str)


def needs_namespaces(mode: Mode) -> None:
    """Skip where a PID namespace can't be had."""
    if mode.pid1 and not _namespaces():
        pytest.skip("no PID namespace can be made here: it needs root (or sudo unshare)")


def _namespaces() -> bool:
    if not shutil.which("unshare"):
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0


def clean_environment(tmp_path: Path, **more: str) -> dict[str, str]:
    """The environment without settings of guard's."""
    found = {key: value for key, value in os.environ.items() if not key.startswith(("GUARD_", "MEMORY_"))}
    return {**found, "GUARD_PROFILES_DIR": str(tmp_path / "profiles"), "TERM": "xterm", **more}


def until(check: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """What `check` gives, as soon as that is true."""
    deadline = time.monotonic() + patience_s
    while not (found := check()):
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
    return found


def gone(pid: int) -> bool:
    """Whether the process is gone, or dead and only not collected."""
    return state_of(pid) in "ZX"


def state_of(pid: int) -> str:
    """The state's letter; X when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def children_of(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def signals_of(pid: int, name: str) -> int:
    """A signal mask from /proc/PID/status: SigBlk, SigCgt, SigIgn, ..."""
    match = re.search(rf"^{name}:\t(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1], 16)


def handles(pid: int, number: int) -> bool:
    """Whether the process catches this signal and lets it in."""
    bit = 1 << number - 1
    return bool(signals_of(pid, "SigCgt") & bit) and not signals_of(pid, "SigBlk") & bit


class Terminal:
    """The outer side of a pseudo-terminal; what was written to it is kept in `text`."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        self.text = ""
        self._at = 0
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, b"\x18\x00\x50\x00\0\0\0\0")
        self.first_modes = self.modes()

    def become(self) -> None:
        """In a child before its exec: this is its controlling terminal, for a session of its own."""
        os.setsid()
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        size = rows.to_bytes(2, sys.byteorder) + columns.to_bytes(2, sys.byteorder) + bytes(4)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def read(self, seconds: float = 0.0) -> bool:
        """Take what there is; False at the end (the last process has closed its side)."""
        if not select.select([self.master], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.text += data.decode(errors="replace")
        return bool(data)

    def expect(self, pattern: str, patience_s: float = PATIENCE_S) -> re.Match[str]:
        """The next match of what is shown, from behind the last one."""
        deadline = time.monotonic() + patience_s
        while True:
            if match := re.compile(pattern, re.DOTALL).search(self.text, self._at):
                self._at = match.end()
                return match
            left = deadline - time.monotonic()
            alive = left > 0 and self.read(left)
            assert alive or re.compile(pattern, re.DOTALL).search(self.text, self._at), (
                f"{pattern!r} did not come after {self.text[: self._at]!r}: {self.text[self._at :]!r}"
            )

    def modes(self) -> list[Any]:
        return termios.tcgetattr(self.slave)

    def front(self) -> int:
        return os.tcgetpgrp(self.master)

    def raw(self) -> bool:
        return not self.modes()[3] & termios.ICANON

    def close(self) -> None:
        for fd in (self.master, self.slave):
            try:
                os.close(fd)
            except OSError:
                continue


class Placed:
    """A guard somewhere with a witness (or another target) below."""

    def __init__(self, process: subprocess.Popen[bytes], mode: Mode, terminal: Terminal | None, tmp_path: Path) -> None:
        self.process = process
        self.mode = mode
        self.terminal = terminal
        self.profiles = tmp_path / "profiles"
        self._out = -1
        self._in = -1
        self._rest = b""
        self._lines: list[str] = []

    @property
    def guard(self) -> int:
        """guard's pid."""
        if not self.mode.pid1:
            return self.process.pid
        return int(until(lambda: children_of(self.process.pid), "unshare started nothing")[0])

    @property
    def target(self) -> int:
        """The target's pid, seen from outside."""
        return int(until(lambda: children_of(self.guard), "guard started nothing")[0])

    def open_fifos(self, tmp_path: Path) -> None:
        self._out = os.open(tmp_path / "out", os.O_RDONLY | os.O_NONBLOCK)
        assert self.line().startswith("ready ")
        self._in = os.open(tmp_path / "in", os.O_WRONLY)

    def line(self, patience_s: float = PATIENCE_S) -> str:
        """The witness's next line; "" at its end."""
        deadline = time.monotonic() + patience_s
        while not self._lines:
            if self.terminal is not None:
                self.terminal.read()
            left = deadline - time.monotonic()
            assert left > 0, "the witness says nothing"
            if not select.select([self._out], [], [], min(left, 0.2))[0]:
                continue
            data = os.read(self._out, 65536)
            if not data:
                if self._started():
                    return ""
                time.sleep(0.005)  # a fifo that nobody has opened yet is at its end
                continue
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._lines += [line.decode() for line in lines]
        return self._lines.pop(0)

    def _started(self) -> bool:
        return self._in >= 0

    def order(self, text: str) -> None:
        os.write(self._in, text.encode() + b"\n")

    def tell(self, text: str) -> None:
        """An order, until it is answered."""
        self.order(text)
        assert self.line() == text.split()[0]

    def kill(self, number: int) -> None:
        os.kill(self.guard, number)

    def ready(self) -> None:
        """Until guard has its handlers."""
        until(lambda: handles(self.guard, signal.SIGUSR1), "guard installs no handlers")

    def end(self, patience_s: float = PATIENCE_S) -> int:
        """The exit code, once it has ended by itself."""
        deadline = time.monotonic() + patience_s
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "guard did not end"
            if self.terminal is not None:
                self.terminal.read()
            time.sleep(0.005)
        return self.process.returncode

    def events(self, name: str) -> list[dict[str, Any]]:
        """The run's events of this name so far."""
        import json

        text = "".join(path.read_text() for path in self.profiles.glob("monitored/*/events.jsonl"))
        found = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        return [event for event in found if event["event"] == name]

    def close(self) -> None:
        if self.process.poll() is None:
            for number in (signal.SIGCONT, signal.SIGKILL):
                for pid in {self.process.pid, *children_of(self.process.pid)}:
                    try:
                        os.kill(pid, number)
                    except OSError:
                        continue
        self.process.wait()
        for fd in (self._out, self._in):
            if fd >= 0:
                os.close(fd)
        if self.terminal is not None:
            self.terminal.close()


@contextmanager
def placed(
    mode: Mode,
    tmp_path: Path,
    options: list[str],
    command: list[str],
    *,
    prefix: list[str] | None = None,
    starter: list[str] | None = None,
    **popen: Any,
) -> Iterator[Placed]:
    """guard in that mode; `starter` replaces `guard run OPTIONS --` (tini, dumb-init)."""
    needs_namespaces(mode)
    line = [*(UNSHARE if mode.pid1 else []), *(prefix or [])]
    line += [*starter] if starter is not None else [*GUARD, "run", *mode.options, *options, "--"]
    terminal = Terminal() if mode.terminal else None
    if terminal is None:
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL,
                                   "stderr": subprocess.DEVNULL, "start_new_session": True}  # fmt: skip
    else:
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal.slave) | {"preexec_fn": terminal.become}
    streams |= {"cwd": tmp_path, "env": clean_environment(tmp_path), **popen}
    run = Placed(subprocess.Popen([*line, *command], **streams), mode, terminal, tmp_path)
    try:
        yield run
    finally:
        target = children_of(run.guard) if run.process.poll() is None else []
        run.close()
        for pid in target:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue


@contextmanager
def witnessed(mode: Mode, tmp_path: Path, *options: str, **more: Any) -> Iterator[Placed]:
    """guard in that mode over a witness that is ready, and guard is ready, too."""
    for name in ("out", "in"):
        os.mkfifo(tmp_path / name)
    command = [sys.executable, "-IS", str(HERE / "witness.py"), str(tmp_path / "out"), str(tmp_path / "in")]
    with placed(mode, tmp_path, list(options), command, **more) as run:
        run.open_fifos(tmp_path)
        if "starter" not in more:
            run.ready()
        yield run
