"""What waits in the watcher's one poll: a child over a pipe, a socket, notices of the kernel, deadlines."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol


class Part(Protocol):
    """One of them. While it stands in `Init.parts` it gets its turn around every wait, whoever waits and what for.

    So a descriptor that is ready never makes a poll return again and again: no loop can forget to read it. A turn
    takes in what came and does what is due; what deciding has to hear of waits in the part until the loop takes it.
    """

    def look(self, now_s: float, ready: Collection[int]) -> float:
        """Take what came, do what is due, without waiting. `ready`: the descriptors that the last poll told of.

        Returns the seconds until something is due again, inf when nothing is, and 0 once for what the loop has to take.
        """

    def end(self) -> None:
        """Give back what it holds. It may still be looked at, and has nothing to do any more."""
