"""Folded stacks read from a file of any size: py-spy's raw format, guard's own and the standard library's.

Read in small pieces, so that memory follows the number of functions and not the size of the file.
"""

from __future__ import annotations

from io import BytesIO
from itertools import repeat

from supervisor.analysis.folded import FoldedError, split_frame
from supervisor.analysis.known import Known
from supervisor.analysis.reading import FormatError, Tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from supervisor.analysis.known import Shared
    from supervisor.analysis.reading import Reading

STACKS = "folded stacks"
_PIECE = 64 << 10  # stays in the processor's cache while it is taken apart
_LONGEST_LINE = 4 << 20
_MOST_DIGITS = 18  # of a weight
_NO_STACK = {b"", b" ", b";"}  # how a stack never begins


def read(file: BinaryIO, head: bytes, *, keep: bool = False, shared: Shared | None = None) -> Reading:
    """The profile. `head` is the file's beginning, looked at ahead; `shared` is what other profiles brought.

    Raises FormatError with the line that is none.
    """
    first = head.lstrip().partition(b"\n")[0]
    collapsed = first.startswith(b"tid:") and first[4:].partition(b";")[0].isdigit()
    split = _split_collapsed if collapsed else split_frame
    tally = Tally(Known(split) if shared is None else shared.of(split), keep=keep)
    number = 0
    lines: list[bytes] = []
    for lines in _pieces(file):
        tally.add_all(*_parted(lines, number))
        number += len(lines)
    found = tally.reading("collapsed stacks of Python's profiling.sampling" if collapsed else STACKS)
    if lines and not lines[-1].endswith(b"\n"):
        found.notes.append("Its last line has no line end: a file that was cut off inside a number looks like that.")
    return found


def _parted(lines: list[bytes], before: int) -> tuple[Sequence[bytes], list[int]]:
    """The stacks of some lines and their weights; `before` lines came before them."""
    stacks, _, texts = zip(*map(bytes.rpartition, lines, repeat(b" ")), strict=True)
    try:
        weights = {text: _weight(text.removesuffix(b"\n")) for text in set(texts)}
    except ValueError:
        return _parted_slowly(lines, before)
    # A stack is something: neither `  12` nor `;;; 12` is a line of a profile.
    if not _NO_STACK.isdisjoint([stack[:1] for stack in stacks]):
        return _parted_slowly(lines, before)
    return stacks, [weights[text] for text in texts]


def _parted_slowly(lines: list[bytes], before: int) -> tuple[list[bytes], list[int]]:
    """The same for lines among which are blank ones, other line ends or bad ones, the first of which is named."""
    stacks: list[bytes] = []
    weights: list[int] = []
    for number, line in enumerate(lines, before + 1):
        text = line.decode("utf-8", "replace").rstrip()
        if not text:
            continue
        stack, space, weight = text.rpartition(" ")
        if space and not stack and weight.isascii() and weight.isdigit():
            continue  # as in `folded.parse`
        if not stack.strip(" ;"):
            raise FormatError(str(FoldedError(number, text)))
        try:
            weights.append(_weight(weight.encode()))
        except ValueError:
            raise FormatError(str(FoldedError(number, text))) from None
        stacks.append(stack.encode())
    return stacks, weights


def _weight(text: bytes) -> int:
    if not text.isdigit() or len(text) > _MOST_DIGITS:
        raise ValueError
    return int(text)


def _pieces(file: BinaryIO) -> Iterator[list[bytes]]:
    """Whole lines, a list for each piece. An unfinished last line is one, too."""
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
            whole, rest = rest[: end + 1], rest[end + 1 :]
        else:
            whole, rest = rest, b""
        if whole:
            lines = BytesIO(whole).readlines()  # looks for line ends faster than `split`
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
