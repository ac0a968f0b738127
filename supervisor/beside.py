"""Work done in a forked process beside this one, on the other core, its answer handed back as plain data."""

from __future__ import annotations

import marshal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Beside:
    """A process that does `work`, whose answer is made of numbers, texts, tuples, lists, dicts and None."""

    def __init__(self, work: Callable[[], Any]) -> None:
        """Raises OSError when there can be no process."""
        self._from, to_parent = os.pipe()
        try:
            self._pid = os.fork()
        except OSError:
            os.close(self._from)
            os.close(to_parent)
            raise
        if self._pid == 0:
            try:
                os.close(self._from)
                data = marshal.dumps(work())
                while data:
                    data = data[os.write(to_parent, data) :]
            finally:
                os._exit(0)  # whatever happened: what is no whole answer, the parent sees
        os.close(to_parent)

    def answer(self) -> Any:
        """The answer, once it is there; None where the process didn't get to one."""
        data = b""
        with open(self._from, "rb") as file:
            data = file.read()
        os.waitpid(self._pid, 0)
        try:
            return marshal.loads(data) if data else None
        except (EOFError, ValueError, TypeError):
            return None

    def end(self) -> None:
        """Nobody wants the answer any more."""
        os.close(self._from)
        os.kill(self._pid, 9)
        os.waitpid(self._pid, 0)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))
