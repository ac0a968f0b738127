"""The ledger of `growth`: which stack gained how many bytes. Pure."""

from __future__ import annotations

STEP_BYTES = 1 << 20
ENOUGH_SAMPLES = 5
ENOUGH_BYTES = 4 << 20
_TOLERANCE_BYTES = 256 << 10
_MOST_STACKS = 5000


class Ledger:
    """Bytes by stack. Pure: readings in, weights out."""

    def __init__(self, rss_bytes: int) -> None:
        self.counts: dict[str, int] = {}
        self.samples = 0
        self.temporary = 0
        self.start_bytes = rss_bytes
        self._accounted = rss_bytes
        self._pending: tuple[str, int] | None = None

    def copy(self) -> Ledger:
        """The same, to go on differently."""
        other = Ledger(self.start_bytes)
        other.__dict__.update(self.__dict__)
        other.counts = dict(self.counts)
        return other

    def caught(self, stack: str, rss_bytes: int) -> None:
        """A thread was caught at this stack when the process held this much."""
        self._pending = (stack, rss_bytes)

    def discard(self) -> None:
        """What was touched is known to be given back."""
        if self._pending is not None:
            self._pending = None
            self.temporary += 1

    def settle(self, least_bytes: int, *, stays: bool = False) -> bool:
        """The least the process held in the moment after: did what it touched stay?

        `stays`: it is known to, so that what else was given back meanwhile says nothing of it.
        """
        if self._pending is None:
            return False
        stack, rss_bytes = self._pending
        self._pending = None
        if stays:
            rss_bytes = min(rss_bytes, least_bytes)
        elif least_bytes < rss_bytes - _TOLERANCE_BYTES:
            self.temporary += 1
            self._accounted = min(self._accounted, least_bytes)
            return False
        gained = rss_bytes - self._accounted
        if gained <= 0:
            return False
        if stack not in self.counts and len(self.counts) >= _MOST_STACKS:
            stack = "(other stacks)"
        self.counts[stack] = self.counts.get(stack, 0) + gained
        self.samples += 1
        self._accounted = rss_bytes
        return True

    def fell(self, rss_bytes: int) -> None:
        """Memory that was given back isn't anybody's growth."""
        self._accounted = min(self._accounted, rss_bytes)

    def due(self, rss_bytes: int, step_bytes: int) -> bool:
        """Whether the process gained a step since the last stack."""
        return rss_bytes - self._accounted >= step_bytes

    @property
    def attributed_bytes(self) -> int:
        """The sum over all stacks."""
        return sum(self.counts.values())

    @property
    def enough(self) -> bool:
        """Whether the evidence carries a conclusion."""
        return self.samples >= ENOUGH_SAMPLES and self.attributed_bytes >= ENOUGH_BYTES
