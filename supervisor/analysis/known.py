"""Which function each frame is, found out once for all profiles of a comparison: they have most of them in common."""

from __future__ import annotations

from supervisor.analysis.folded import is_marker, split_frame
from supervisor.analysis.text import shorten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from supervisor.analysis.folded import Key

    Split = Callable[[str], tuple[str, str | None, int | None]]

OTHERS: Key = ("(functions beyond the first 100,000)", None)
MOST_FUNCTIONS = 100_000
_MOST_TEXTS = 1 << 19  # of frames, a cache
_MOST_STACK_BYTES = 32 << 20
_MOST_NAME = 1000


class Known(dict[bytes, int]):
    """Frames, as UTF-8, to numbers of functions, the names of which are `names`; 0 is what is no function.

    `split` takes a frame apart as `folded.split_frame` does; an empty name is no function. With `remember` stacks are
    kept for the profiles to come, up to 32 MiB of text. `lined` are functions that were seen with a line.
    """

    def __init__(self, split: Split = split_frame, *, remember: bool = False) -> None:
        super().__init__()
        self.split = split
        self.names: list[Key] = [("", None)]
        self.lined: set[int] = set()
        self._numbers: dict[Key, int] = {}
        self._places: dict[bytes, int] = {}
        self._ends: set[bytes] = set()
        self._stacks: dict[bytes, tuple[int, ...]] = {}
        self._room = _MOST_STACK_BYTES if remember else 0
        self._most = 0
        self.begin()

    def begin(self) -> None:
        """A profile begins, which may bring 100,000 functions that aren't known."""
        self._most = len(self._numbers) + MOST_FUNCTIONS

    def functions(self, stacks: Sequence[bytes]) -> list[tuple[int, ...]]:
        """Numbers for each stack (root first, frames parted by semicolons): its functions, and ~number for its leaf."""
        look_up, known = self.__getitem__, self._stacks
        found = []
        kept = len(known)
        fresh = known if self._room > 0 else {}
        for stack in stacks:
            functions = known.get(stack)
            if functions is None:
                texts = stack.split(b";")
                functions = fresh[stack] = tuple({~look_up(texts[-1]), *map(look_up, texts)})
            found.append(functions)
        if len(known) > kept:
            self._room -= sum(map(len, stacks)) + 200 * (len(known) - kept)
        if len(self) > _MOST_TEXTS:
            self.clear()
        return found

    def line(self, text: bytes, number: int) -> int | None:
        """The line that a frame of this function names."""
        return self.split(text.decode("utf-8", "replace"))[2] if number in self.lined else None

    def __missing__(self, text: bytes) -> int:
        # Most new texts differ in their line alone: `name (file:12)` and `name (file:13)` are one function.
        before, _, end = text.rpartition(b":")
        if end in self._ends or self._is_end(end):
            number = self._places.get(before)
            if number is None:
                number = self._number(text.decode("utf-8", "replace"))
                if number in self.lined and self.split is split_frame and len(self._places) < _MOST_TEXTS:
                    self._places[before] = number
        else:
            number = self._number(text.decode("utf-8", "replace"))
        self[text] = number
        return number

    def _is_end(self, text: bytes) -> bool:
        """Whether this is the end of a frame's text behind the colon, `12)`, with a line that `split_frame` takes."""
        digits = text[:-1]
        found = digits.isdigit() and text.endswith(b")") and not digits.startswith(b"0") and len(digits) < 10
        if found and len(self._ends) < _MOST_TEXTS:
            self._ends.add(text)
        return found

    def _number(self, text: str) -> int:
        if is_marker(text):
            return 0
        function, file, line = self.split(text)
        if not function:
            return 0
        key = (_short(function), _short(file) if file else None)
        number = self._numbers.get(key)
        if number is None:
            if len(self._numbers) >= self._most:
                key, line = OTHERS, None
            number = self._numbers.setdefault(key, len(self.names))
            if number == len(self.names):
                self.names.append(key)
        if line is not None:
            self.lined.add(number)
        return number


class Shared:
    """What the profiles of a comparison have in common, by how their frames are taken apart."""

    def __init__(self) -> None:
        self._known: dict[Split, Known] = {}

    def of(self, split: Split) -> Known:
        """What is known of frames of this kind; nothing again once it is too much."""
        known = self._known.get(split)
        if known is None or len(known.names) > MOST_FUNCTIONS:
            known = self._known[split] = Known(split, remember=True)
        return known


def _short(name: str) -> str:
    return name if len(name) <= _MOST_NAME else shorten(name, _MOST_NAME)
