"""Folded stacks read from a file of any size: py-spy's raw format, guard's own and the standard library's.

Read in pieces of 1 MiB, so that memory follows the number of functions and not the size of the file.
"""

from __future__ import annotations

from supervisor.analysis.folded import FoldedError, split_frame
from supervisor.analysis.reading import FormatError, Tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from supervisor.analysis.reading import Reading

_PIECE = 1 << 20
_LONGEST_LINE = 4 << 20
_MOST_DIGITS = 30
_NO_STACK = {"", " ", ";"}  # how a stack never begins


def read(file: BinaryIO, head: bytes, *, keep: bool = False) -> Reading:
    """The profile. `head` is the file's beginning, looked at ahead. Raises FormatError with the line that is none."""
    first = head.lstrip().partition(b"\n")[0]
    collapsed = first.startswith(b"tid:") and first[4:].partition(b";")[0].isdigit()
    tally = Tally(_split_collapsed if collapsed else split_frame, keep=keep)
    number = 0
    for lines in _pieces(file):
        tally.add_all(_by_weight(lines, number))
        number += len(lines)
    return tally.reading("collapsed stacks of Python's profiling.sampling" if collapsed else "folded stacks")


def _by_weight(lines: list[str], before: int) -> dict[int, list[str]]:
    """The stacks of some lines by their weight; `before` lines came before them."""
    from collections import defaultdict
    from operator import itemgetter, methodcaller

    groups: defaultdict[str, list[str]] = defaultdict(list)
    for stack, _, weight in map(methodcaller("rpartition", " "), lines):
        groups[weight].append(stack)
    try:
        stacks: dict[int, list[str]] = {}
        for text, found in groups.items():
            weight_of = _weight(text)
            stacks[weight_of] = stacks[weight_of] + found if weight_of in stacks else found
    except ValueError:
        return _by_weight_slowly(lines, before)
    # A stack is something: neither `  12` nor `;;; 12` is a line of a profile.
    first = itemgetter(slice(0, 1))
    if not all(_NO_STACK.isdisjoint(map(first, found)) for found in stacks.values()):
        return _by_weight_slowly(lines, before)
    return stacks


def _by_weight_slowly(lines: list[str], before: int) -> dict[int, list[str]]:
    """The same for lines among which are blank ones, other line ends or bad ones, the first of which is named."""
    stacks: dict[int, list[str]] = {}
    for number, line in enumerate(lines, before + 1):
        text = line.rstrip()
        if not text:
            continue
        stack, space, weight = text.rpartition(" ")
        if space and not stack and weight.isascii() and weight.isdigit():
            continue  # as in `folded.parse`
        if not stack.strip(" ;"):
            raise FormatError(str(FoldedError(number, text)))
        try:
            stacks.setdefault(_weight(weight), []).append(stack)
        except ValueError:
            raise FormatError(str(FoldedError(number, text))) from None
    return stacks


def _weight(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > _MOST_DIGITS:
        raise ValueError
    return int(text)


def _pieces(file: BinaryIO) -> Iterator[list[str]]:
    """Whole lines without their ends, a list for each piece. An unfinished last line is one, too."""
    rest = b""
    number = 0
    while True:
        data = file.read(_PIECE)
        if data:
            rest += data
            end = rest.rfind(b"\n")
            if end < 0:
                if len(rest) > _LONGEST_LINE:
                    raise FormatError(f"line {number + 1} is longer than 4 MiB, which no stack is")
                continue
            whole, rest = rest[:end], rest[end + 1 :]
        else:
            whole, rest = rest, b""
        if whole:
            lines = whole.decode("utf-8", "replace").split("\n")
            yield lines
            number += len(lines)
        if not data:
            return


def _split_collapsed(text: str) -> tuple[str, str | None, int | None]:
    """A frame `file:function:line` of the standard library; a thread (`tid:123`) is no function."""
    if text.startswith("tid:") and text[4:].isdigit():
        return "", None, None
    place, _, line = text.rpartition(":")
    file, _, function = place.partition(":")
    if not file or not function:
        return split_frame(text)
    digits = line.isascii() and line.isdigit() and len(line) < 10
    return function, None if file == "~" else file, int(line) or None if digits else None
