"""The controlling terminal: guard's group and the target's take turns in front of it, and how it was set.

Only imported where there is one. guard ignores SIGTTOU, so that it may do all this from a background group.
"""

from __future__ import annotations

import os
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def modes(fd: int) -> list[Any] | None:
    """How the terminal is set, or None when it is gone."""
    try:
        return termios.tcgetattr(fd)
    except (termios.error, OSError):
        return None


def is_raw(fd: int) -> bool:
    """Whether a program reads key by key, as all that draw a full screen do: no line editing by the kernel."""
    found = modes(fd)
    return found is not None and not found[3] & termios.ICANON


class Terminal:
    """A controlling terminal. `foreground`: the target starts in front; `shared`: another program of the pipeline
    may want the terminal (in `guard run -- app | less` the pager), so the target only gets it when it asks.

    `before`: the group of the target's last life. It is still in front where guard's own is another namespace's.
    """

    __slots__ = ("_modes", "fd", "foreground", "group", "shared")

    def __init__(self, fd: int, shared: bool, before: int = 0) -> None:
        self.fd = fd
        self.group = os.getpgrp()
        self.shared = shared
        self.foreground = not shared and self.front() in (self.group, before or self.group)
        self._modes = modes(fd) if self.foreground else None

    def front(self) -> int:
        """The process group in front: 0 for one of another pid namespace, -1 when there is none for us."""
        try:
            return os.tcgetpgrp(self.fd)
        except OSError:
            return -1

    def guard_in_front(self) -> bool:
        """Whether guard's own group is in front: what the terminal sends goes there and not to the target."""
        return self.front() == self.group

    def give(self, group: int) -> None:
        """Put the target's group in front."""
        try:
            os.tcsetpgrp(self.fd, group)
        except OSError:
            pass

    def take_from(self, group: int) -> bool:
        """Put guard's own group in front again when the target's was; whether that was so."""
        in_front = self.front() == group
        if in_front:
            self.give(self.group)
        return in_front

    def restore(self) -> None:
        """Set it as it was: a target that died of a signal could not, and no shell sees that it was a signal."""
        if self._modes is None or not self.guard_in_front() or modes(self.fd) == self._modes:
            return
        try:
            termios.tcsetattr(self.fd, termios.TCSANOW, self._modes)
        except (termios.error, OSError):
            pass
