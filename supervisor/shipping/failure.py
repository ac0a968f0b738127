"""Why a file did not arrive."""

from __future__ import annotations


class Undelivered(Exception):
    """`reason` is a stable word, `said` what the other side or the system said, `hint` what to type next.

    `again`: the same may work in a moment. `whole`: no other file would get through either. None of it holds a secret.
    """

    def __init__(self, reason: str, said: str, hint: str, *, again: bool = False, whole: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.said = said
        self.hint = hint
        self.again = again
        self.whole = whole
