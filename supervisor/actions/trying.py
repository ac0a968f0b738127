"""One way after the other until one gives something; which failure is told when none did."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from supervisor.profilers.failure import Failure, no_headroom

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from supervisor.profilers.recorder import Engine, Subject

_MOST_SAID = 160


class Ways:
    """What `names` (MODULE.NAME of a package) name, best first: imported when it is its turn."""

    def __init__(self, names: Sequence[str], package: str = "supervisor.actions") -> None:
        self._left = list(names)
        self._package = package
        self._now = ""
        self._failures: dict[str, Failure] = {}  # by name, in order; one that is gone again may fail in another way

    def next(self, failed: Failure | None = None) -> Any:
        """The next one, after the one before failed. Raises Failure, the verdict, where none is left."""
        if failed is not None:
            self._failures[self._now] = failed
        if not self._left:
            raise self.verdict()
        self._now = self._left.pop(0)
        module, _, name = self._now.partition(".")
        return getattr(import_module(f"{self._package}.{module}"), name)

    def telling(self) -> list[Failure]:
        """The failures that aren't about what isn't there, else all; the last one is at the end."""
        failures = list(self._failures.values())
        return [each for each in failures if not each.reason.endswith("-missing")] or failures

    def verdict(self) -> Failure:
        """The last of the failures that tell."""
        return self.telling()[-1]


class Samplers(Ways):
    """The CPU profilers for a process. `told` gets a line for each that gave nothing and says why."""

    def __init__(self, names: Sequence[str], subject: Subject, told: Callable[[str], None]) -> None:
        super().__init__(names, "supervisor.profilers")
        self._subject = subject
        self._told = told
        self._given = ("", "")  # who records, or did last, which may fail again when no other could be had

    def next(self, failed: Failure | None = None) -> Engine:
        """The next one that can be had, after the one before failed. Raises Failure."""
        self._now, name = self._given
        note = "" if failed is None else f"{name} gave nothing ({failed.reason}: {failed.said[:_MOST_SAID]})"
        while True:
            kind: type[Engine] = super().next(failed)
            if note:
                self._told(note)
            try:
                made = self._made(kind)
            except Failure as failure:
                failed = failure
            else:
                self._given = (self._now, kind.name)
                return made
            # One without words is for others, and nobody misses it here.
            note = f"not by {kind.name}: {failed.said[:_MOST_SAID]} ({failed.reason})" if failed.said else ""

    def verdict(self) -> Failure:
        """What the last one said, and before it the others: one of them may be what was asked for (--go-pprof)."""
        *others, last = self.telling()
        before = "; ".join(f"{each.reason}: {each.said[:_MOST_SAID]}" for each in others if each.said)
        return Failure(last.reason, f"{last.said}; before it {before}", last.hint) if before else last

    def _made(self, kind: type[Engine]) -> Engine:
        room_bytes = self._subject.room_bytes
        if room_bytes is not None and room_bytes < kind.needs_bytes:
            raise no_headroom(room_bytes, kind.needs_bytes, kind.name)
        return kind(self._subject)
