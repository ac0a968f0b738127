"""A profile as a comparison needs it: what each function weighs, and how much of that is chance.

Whatever the format, a reader turns it into a `Reading` through a `Tally`, which adds up stacks in a memory that
doesn't grow with the file.
"""

from __future__ import annotations

from supervisor.analysis.folded import ANONYMOUS, FunctionTotal, is_marker, split_frame
from supervisor.analysis.text import shorten, visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from supervisor.analysis.folded import Counts, Key

OTHERS: Key = ("(functions beyond the first 100,000)", None)
_MOST_FUNCTIONS = 100_000
_MOST_KNOWN = 1 << 19  # texts of frames, a cache
_MOST_STACK_BYTES = 64 << 20
_MOST_NAME = 1000


class FormatError(ValueError):
    """A file that can't be read as a profile; the message says what was seen."""


class Reading:
    """One profile.

    `functions` weigh integers; one of them is `seconds_per_weight` long (None: not known) and `weight_per_sample`
    of them make one sample. `unit` names the weight: `samples`, `seconds` (weights are then µs) or `bytes`.
    `inflation` is by how much samples in a row are less worth than as many independent ones, 1.0 where their order
    isn't known. `seconds` is how long was recorded, `whole` whether that was the command's whole life; None: not
    known. `run` is the guard run that made it.
    `stacks` are there where the format has them and they were asked for; `stacks_left_out` counts those
    beyond the memory for them.
    """

    __slots__ = (
        "format",
        "functions",
        "idle",
        "inflation",
        "kind",
        "notes",
        "origin",
        "run",
        "seconds",
        "seconds_per_weight",
        "stacks",
        "stacks_left_out",
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

    @property
    def samples(self) -> float:
        """How many samples the profile has."""
        return self.total / self.weight_per_sample

    def packed(self) -> dict[str, Any]:
        """All of it as plain data, for another process."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        rows = [
            (each.function, each.file, each.line, each.self_weight, each.total_weight)
            for each in self.functions.values()
        ]
        return fields | {"functions": rows}

    @classmethod
    def unpacked(cls, fields: dict[str, Any]) -> Reading:
        """What `packed` made."""
        found = cls(fields["format"], {}, 0)
        for name, value in fields.items():
            setattr(found, name, value)
        found.functions = {(row[0], row[1]): FunctionTotal(*row) for row in fields["functions"]}
        return found


class _Known(dict[str, int]):
    """Frame texts to numbers of functions; a new text is looked at once. 0 is what is no function."""

    def __init__(self, number: Callable[[str], int]) -> None:
        super().__init__()
        self._number = number

    def __missing__(self, text: str) -> int:
        found = self[text] = self._number(text)
        return found


class Tally:
    """Adds up stacks by function: `self` where it was the leaf, `total` once a stack however often it recurs.

    `split` takes a frame apart as `folded.split_frame` does; an empty name is no function. With `keep` the stacks
    themselves are kept too, up to 64 MiB of text.
    """

    def __init__(
        self, split: Callable[[str], tuple[str, str | None, int | None]] = split_frame, *, keep: bool = False
    ) -> None:
        self._split = split
        self._numbers: dict[Key, int] = {}
        self._lines: list[int | None] = [None]
        self._self: list[int] = [0]
        self._total: list[int] = [0]
        self._known = _Known(self._number)
        self._places: dict[str, int] = {}
        self._kept: Counts | None = {} if keep else None
        self._kept_bytes = 0
        self.left_out = 0
        self.total = 0

    def _number(self, text: str) -> int:
        # Most new texts differ in their line alone: `name (file:12)` and `name (file:13)` are one function.
        before, _, line_text = text.rpartition(":")
        number = self._places.get(before)
        if number is not None and _is_line(line_text):
            return number
        number = self._new_number(text)
        if _is_line(line_text) and self._split is split_frame and len(self._places) < _MOST_KNOWN:
            self._places[before] = number
        return number

    def _new_number(self, text: str) -> int:
        if is_marker(text):
            return 0
        function, file, line = self._split(text)
        if not function:
            return 0
        key = (_short(function), _short(file) if file else None)
        number = self._numbers.get(key)
        if number is None:
            if len(self._numbers) >= _MOST_FUNCTIONS:
                key, line = OTHERS, None
            number = self._numbers.setdefault(key, len(self._lines))
            if number == len(self._lines):
                self._lines.append(line)
                self._self.append(0)
                self._total.append(0)
        elif self._lines[number] is None:
            self._lines[number] = line
        return number

    def add(self, stack: str, weight: int) -> None:
        """Add a stack, root first, frames parted by semicolons."""
        self.add_all({weight: [stack]})

    def add_all(self, stacks: dict[int, list[str]]) -> None:
        """Add many stacks, by their weight: equal weights are counted together, in C all the way."""
        from collections import Counter
        from itertools import chain, repeat
        from operator import itemgetter, methodcaller

        look_up, self_sums, total_sums = self._known.__getitem__, self._self, self._total
        split, leaf = methodcaller("split", ";"), itemgetter(-1)
        for weight, texts in stacks.items():
            frames = list(map(split, texts))
            numbers = map(map, repeat(look_up), frames)
            for number, times in Counter(chain.from_iterable(map(set, numbers))).items():
                total_sums[number] += weight * times
            for number, times in Counter(map(look_up, map(leaf, frames))).items():
                self_sums[number] += weight * times
            self.total += weight * len(texts)
            if self._kept is not None:
                self._keep(self._kept, texts, weight)
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()

    def _keep(self, kept: Counts, stacks: list[str], weight: int) -> None:
        for stack in stacks:
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
        functions = {
            key: FunctionTotal(key[0], key[1], self._lines[number], self._self[number], self._total[number])
            for key, number in self._numbers.items()
        }
        found = Reading(format_name, functions, self.total)
        found.stacks = self._kept
        found.stacks_left_out = self.left_out
        return found


def _is_line(text: str) -> bool:
    """Whether this is the end of a frame's text behind the colon, `12)`, with a line that `split_frame` takes."""
    digits = text[:-1]
    return text.endswith(")") and digits.isascii() and digits.isdigit() and digits[0] != "0" and len(digits) < 10


def _short(name: str) -> str:
    return name if len(name) <= _MOST_NAME else shorten(name, _MOST_NAME)


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
