"""Whether somebody pressed Ctrl-C or Ctrl-\\ : the terminal sends them to the target's group, and guard isn't in it.

So that a stop from the keyboard isn't answered by a restart, a process of guard's sleeps in that group with all
signals blocked: what the terminal sent is pending there. Only where a target may be started again.
"""

from __future__ import annotations

import _signal
import os
import time

from supervisor import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_MEANT = (1 << _signal.SIGINT - 1) | (1 << _signal.SIGQUIT - 1) | (1 << _signal.SIGHUP - 1)
_AGES_S = 1e9


class Keys:
    """A sleeper in the target's group. `pressed_s`: when a key was last seen to have been pressed."""

    def __init__(self, group: int, helpers: set[int]) -> None:
        """`helpers`: guard's own children, kept by the init. Raises OSError."""
        self.pressed_s: float | None = None
        self._group = group
        self._helpers = helpers
        self.pid = self._fork()

    def _fork(self) -> int:
        before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
        parent = os.getpid()
        try:
            pid = os.fork()
            if pid == 0:
                _sleep(self._group, parent)
            self._helpers.add(pid)
            try:
                os.setpgid(pid, self._group)
            except OSError:
                pass  # the child does the same; the group may have ended
            return pid
        finally:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, before)

    def look(self) -> None:
        """Note a key that was pressed since the last look. Costs the reading of a file."""
        if not _pending(self.pid) & _MEANT:
            return
        self.pressed_s = time.monotonic()
        self.end()
        try:
            self.pid = self._fork()
        except OSError:
            pass  # what is pressed from now on isn't seen; what was, is

    def pressed(self, within_s: float) -> bool:
        """Whether one was pressed so recently."""
        return self.pressed_s is not None and time.monotonic() - self.pressed_s < within_s

    def end(self) -> None:
        """Take the sleeper away; the init reaps it."""
        try:
            os.kill(self.pid, _signal.SIGKILL)
        except OSError:
            pass


def _sleep(group: int, parent: int) -> NoReturn:
    try:
        os.setpgid(0, group)
        libc.prctl(libc.PR_SET_PDEATHSIG, int(_signal.SIGKILL))
        libc.name_process(b"guard-keys")
        os.closerange(0, 1 << 16)
        while os.getppid() == parent:
            time.sleep(_AGES_S)
    finally:
        os._exit(0)


def _pending(pid: int) -> int:
    """The signals that wait for a process, as a bit mask."""
    try:
        with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
            lines = (file.readall() or b"").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1], 16) for line in lines if line.startswith((b"SigPnd:", b"ShdPnd:")))
