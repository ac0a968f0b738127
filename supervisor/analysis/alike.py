"""Profiles of a comparison brought into one form where only some have library frames."""

from __future__ import annotations

from io import BytesIO

from supervisor.analysis import folded, foldedfile
from supervisor.analysis.reading import Reading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.analysis.folded import Counts


class UnlikeError(ValueError):
    """Profiles that can't be brought into one form; the message names them."""


def without_library(sides: tuple[list[Reading], list[Reading]], stacks_of: Callable[[Reading], Counts]) -> None:
    """Where some profiles have no library frames (production's), the others' are folded into their callers as well.

    `stacks_of` gives a profile's stacks, nothing where it has none. Raises UnlikeError where one can't be folded: what
    libraries take would pass for a change of the program.
    """
    bare = [reading.origin for side in sides for reading in side if reading.library_frames is False]
    if not bare:
        return
    folds = 0
    for side in sides:
        for number, reading in enumerate(side):
            if reading.library_frames is False or not any(folded.is_library(file) for _, file in reading.functions):
                continue
            found = _folded(reading, stacks_of)
            if found is None:
                raise UnlikeError(
                    f"{bare[0]} has no library frames, and {reading.origin} has neither stacks to fold its own in (or "
                    "too many) nor figures without them"
                )
            folds += 1
            side[number] = found
    if folds:
        sides[0][0].notes.append("Where only some profiles had no library frames, the others' were folded as well.")


def _folded(reading: Reading, stacks_of: Callable[[Reading], Counts]) -> Reading | None:
    """A profile with library frames folded; None where it has neither stacks nor figures to do that with."""
    if reading.own is not None and not reading.stacks:
        reading.functions = reading.own
        return reading
    stacks = stacks_of(reading)
    if not stacks or reading.stacks_left_out:
        return None
    data = folded.render(folded.fold_library(stacks)[0]).encode("utf-8", "backslashreplace")
    found = foldedfile.read(BytesIO(data), data[:4096], keep=True)
    for name in Reading.__slots__:
        if name not in ("functions", "stacks", "stacks_left_out", "total"):
            setattr(found, name, getattr(reading, name))
    return found
