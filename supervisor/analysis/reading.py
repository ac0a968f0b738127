"""A profile as a comparison needs it: what each function weighs, and how much of that is chance.

Whatever the format, a reader turns it into a `Reading` through a `Tally`, which adds up stacks in a memory that
doesn't grow with the file.
"""

from __future__ import annotations

# What `collections.Counter` counts with: importing that takes longer than reading a small profile.
from _collections import _count_elements as _count

from supervisor.analysis.folded import ANONYMOUS, FunctionTotal
from supervisor.analysis.known import Known
from supervisor.analysis.text import visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from supervisor.analysis.folded import Counts, Key

    Row = tuple[str, str | None, int | None, int, int]

_MOST_STACK_BYTES = 64 << 20


class FormatError(ValueError):
    """A file that can't be read as a profile; the message says what was seen."""


class Reading:
    """One profile.

    `functions` weigh integers; one of them is `seconds_per_weight` long (None: not known) and `weight_per_sample`
    of them make one sample. `unit` names the weight: `samples`, `seconds` (weights are then µs) or `bytes`.
    `inflation` is by how much samples in a row are less worth than as many independent ones, 1.0 where their order
    isn't known. `seconds` is how long was recorded, `whole` whether that was the command's whole life; None: not
    known. `run` is the guard run that made it, `library_frames` whether it kept the frames of libraries.
    `told` is what the file itself has of guard's facts, until they are applied.
    `own` are the functions as they weigh without library frames, where the format has no stacks but tells that.
    `stacks` are there where the format has them and they were asked for; `stacks_left_out` counts those
    beyond the memory for them.
    """

    __slots__ = (
        "format",
        "functions",
        "idle",
        "inflation",
        "kind",
        "library_frames",
        "notes",
        "origin",
        "own",
        "run",
        "seconds",
        "seconds_per_weight",
        "stacks",
        "stacks_left_out",
        "told",
        "total",
        "unit",
        "weight_per_sample",
        "whole",
    )

    def __init__(self, format_name: str, functions: dict[Key, FunctionTotal], total: int) -> None:
        self.format = format_name
        self.functions = functions
        self.total = total
        self.kind = "cpu"
        self.unit = "samples"
        self.seconds_per_weight: float | None = None
        self.weight_per_sample = 1.0
        self.inflation = 1.0
        self.seconds: float | None = None
        self.whole: bool | None = None
        self.stacks: Counts | None = None
        self.stacks_left_out = 0
        self.idle = 0
        self.notes: list[str] = []
        self.origin = ""
        self.run: str | None = None
        self.library_frames: bool | None = None
        self.own: dict[Key, FunctionTotal] | None = None
        self.told: dict[str, Any] = {}

    @property
    def samples(self) -> float:
        """How many samples the profile has."""
        return self.total / self.weight_per_sample

    def packed(self) -> dict[str, Any]:
        """All of it as plain data, for another process."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return fields | {"functions": _rows(self.functions), "own": None if self.own is None else _rows(self.own)}

    @classmethod
    def unpacked(cls, fields: dict[str, Any]) -> Reading:
        """What `packed` made."""
        found = cls(fields["format"], {}, 0)
        for name, value in fields.items():
            setattr(found, name, value)
        found.functions = _from_rows(fields["functions"])
        found.own = None if fields["own"] is None else _from_rows(fields["own"])
        return found


def _rows(functions: dict[Key, FunctionTotal]) -> list[Row]:
    return [(each.function, each.file, each.line, each.self_weight, each.total_weight) for each in functions.values()]


def _from_rows(rows: list[Row]) -> dict[Key, FunctionTotal]:
    return {(row[0], row[1]): FunctionTotal(*row) for row in rows}


class Tally:
    """Adds up stacks by function: `self` where it was the leaf, `total` once a stack however often it recurs.

    `known` is what other profiles of the comparison have seen. With `keep` the stacks themselves are kept, up to 64 MiB
    of text.
    """

    def __init__(self, known: Known | None = None, *, keep: bool = False) -> None:
        self._known = Known() if known is None else known
        self._known.begin()
        self._lines: dict[int, int | None] = {0: None}  # by function, in the order in which they came
        self._lineless: set[int] = set()
        self._weights: dict[int, int] = {}  # total by function, self by ~function
        self._seen = 0
        self._kept: Counts | None = {} if keep else None
        self._kept_bytes = 0
        self.left_out = 0
        self.total = 0

    def add(self, stack: str, weight: int) -> None:
        """Add a stack, root first, frames parted by semicolons."""
        self.add_all([stack.encode("utf-8", "backslashreplace")], [weight])

    def add_all(self, stacks: Sequence[bytes], weights: Sequence[int]) -> None:
        """Add many stacks, as UTF-8: each is counted once in C, what it weighs beyond 1 is added then."""
        from itertools import chain

        functions = self._known.functions(stacks)
        sums = self._weights
        _count(sums, chain.from_iterable(functions))
        for each, weight in zip(functions, weights, strict=True):
            if weight != 1:
                more = weight - 1
                for number in each:
                    sums[number] += more
        self.total += sum(weights)
        if len(sums) > self._seen or not self._lineless.isdisjoint(self._known.lined):
            self._seen = len(sums)
            self._look_at_new(stacks, functions)
        if self._kept is not None:
            self._keep(self._kept, stacks, weights)

    def _look_at_new(self, stacks: Sequence[bytes], functions: Sequence[tuple[int, ...]]) -> None:
        """Note which functions came first and at which lines."""
        known, lines = self._known, self._lines
        wanted = {number for number in self._weights if number >= 0 and number not in lines}
        wanted |= self._lineless & known.lined
        for stack, numbers in zip(stacks, functions, strict=True):
            if wanted.isdisjoint(numbers):
                continue
            for text in stack.split(b";"):
                number = known[text]
                if number in wanted:
                    lines[number] = line = known.line(text, number)
                    if line is None:
                        self._lineless.add(number)
                    else:
                        self._lineless.discard(number)
                    if line is not None or number not in known.lined:
                        wanted.discard(number)
            if not wanted:
                return

    def _keep(self, kept: Counts, stacks: Iterable[bytes], weights: Iterable[int]) -> None:
        for encoded, weight in zip(stacks, weights, strict=True):
            stack = encoded.decode("utf-8", "replace")
            before = kept.get(stack)
            if before is not None:
                kept[stack] = before + weight
            elif self._kept_bytes < _MOST_STACK_BYTES:
                self._kept_bytes += len(stack) + 100
                kept[stack] = weight
            else:
                self.left_out += 1

    def reading(self, format_name: str) -> Reading:
        """All that was added."""
        functions = {}
        for number, line in self._lines.items():
            if number:
                key = self._known.names[number]
                weights = self._weights.get(~number, 0), self._weights[number]
                functions[key] = FunctionTotal(key[0], key[1], line, *weights)
        found = Reading(format_name, functions, self.total)
        found.stacks = self._kept
        found.stacks_left_out = self.left_out
        return found


def frame_name(name: object) -> str:
    """A name out of a foreign file as one that stacks can hold."""
    text = name if isinstance(name, str) else ""
    return visible(text, ";").strip() or ANONYMOUS


def inflation(sequence: list[int]) -> float:
    """By how much the variance of a function's samples exceeds that of independent ones, from their order.

    `sequence` holds the leaf of each sample. Samples of one function in a row are a stretch: one visit or, with the
    function's share p as the chance, several on end. Where visits of lengths l come at random (a compound Poisson
    process), the variance is inflated by E l² / E l, which in terms of the stretches L is E L² / E L - 2 p E L; of
    independent samples that is 1. The mean is taken over the functions that came in 8 stretches or more: of one that
    came once nobody knows how long it stays next time. At least 1.
    """
    lengths: dict[int, list[int]] = {}
    before = None
    for leaf in sequence:
        if leaf == before:
            lengths[leaf][-1] += 1
        else:
            lengths.setdefault(leaf, []).append(1)
        before = leaf
    inflated = seen = 0.0
    for stretches in lengths.values():
        if len(stretches) >= 8:
            samples = sum(stretches)
            share = samples / len(sequence)
            inflated += sum(length * length for length in stretches) - 2 * share * samples**2 / len(stretches)
            seen += samples
    return max(1.0, inflated / seen) if seen else 1.0
