"""Folded stacks, the canonical form of a profile: one line a stack, `frame;frame;frame WEIGHT`, root first.

A frame is written as py-spy's raw format writes it: `name (file:line)`, `name (file)` or `name`. A weight is
a non-negative integer: samples in a CPU profile, bytes in a growth profile. In memory a profile is `Counts`,
a `dict` from the text of a stack to its weight. The format is Brendan Gregg's
(https://www.brendangregg.com/flamegraphs.html#Instructions).

This runs in a worker of a container that is short of memory: nothing heavy is imported, and no tree of all
stacks is built.
"""

from __future__ import annotations

from itertools import pairwise
from sys import stdlib_module_names

from supervisor.analysis.text import shorten, visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Counts = dict[str, int]
    Key = tuple[str, str | None]

ANONYMOUS = "(anonymous)"
_MOST_DIGITS = 30  # of a weight; int() itself refuses thousands with an error of its own
_MOST_LINE_DIGITS = 9
# py-spy shortens a path by its entry in sys.path, so that the standard library's `json/decoder.py` loses the
# part that tells what it is. Only these are packages there: `code/app.py` is somebody's own although
# `code.py` is not.
_PACKAGES = (
    "asyncio collections concurrent ctypes curses dbm distutils email encodings ensurepip html http "
    "importlib json lib2to3 logging multiprocessing pathlib pydoc_data re sqlite3 string sysconfig tkinter "
    "tomllib unittest urllib wsgiref xml xmlrpc zipfile zoneinfo"
)
_STDLIB_PACKAGES = frozenset(_PACKAGES.split())


class FoldedError(ValueError):
    """A line that is no folded stack: `line_number` counts from 1, `seen` is the line, made visible."""

    def __init__(self, line_number: int, line: str) -> None:
        self.line_number = line_number
        self.seen = shorten(visible(line), 120)
        super().__init__(f"line {line_number}: expected `frame;frame WEIGHT` with a whole number, saw `{self.seen}`")


class FunctionTotal:
    """What one function weighs: `self_weight` where it was the leaf, `total_weight` where it was on the stack
    at all.

    `file` is None where the profiler knew none; `line` is the first one seen, None where there was none.
    """

    __slots__ = ("file", "function", "line", "self_weight", "total_weight")

    def __init__(self, function: str, file: str | None, line: int | None, self_weight: int, total_weight: int) -> None:
        self.function = function
        self.file = file
        self.line = line
        self.self_weight = self_weight
        self.total_weight = total_weight

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FunctionTotal) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self._fields())

    def __repr__(self) -> str:
        return f"FunctionTotal{self._fields()}"

    def _fields(self) -> tuple[str, str | None, int | None, int, int]:
        return self.function, self.file, self.line, self.self_weight, self.total_weight


def parse(lines: Iterable[str]) -> Counts:
    """Weights by stack, from lines with or without their line ends; equal stacks add up, blank lines are
    skipped.

    Raises `FoldedError` at the first line that is anything else.
    """
    counts: Counts = {}
    for number, line in enumerate(lines, 1):
        text = line.rstrip()
        if not text:
            continue
        stack, space, weight = text.rpartition(" ")
        if space and not stack and weight.isascii() and weight.isdigit():
            continue  # py-spy's samples of a thread that had no frame yet, or no longer
        if not stack.strip(" ;") or not (weight.isascii() and weight.isdigit()) or len(weight) > _MOST_DIGITS:
            raise FoldedError(number, text)
        counts[stack] = counts.get(stack, 0) + int(weight)
    return counts


def render(counts: Counts) -> str:
    """The lines of a folded file, heaviest first, then by text; an empty string for an empty profile.

    What could break a line is written as a visible escape, so `parse(render(counts)) == counts` holds for
    stacks that are made of `frame`.
    """
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return "".join(f"{visible(stack)} {weight}\n" for stack, weight in ordered)


def frame(function: str, file: str | None, line: int | None = None) -> str:
    """One frame as text. `line` counts from 1; 0 and less mean that it isn't known.

    Semicolons and whatever doesn't print become visible escapes. A name or path that would be read back as
    another one (`evil (other.py:1)`) has its parentheses and colons escaped too.
    """
    function = visible(function, ";").strip() or ANONYMOUS
    file = (visible(file, ";").strip() or None) if file else None
    line = line if file and line and 0 < line < 10**_MOST_LINE_DIGITS else None
    text = _joined(function, file, line)
    if split_frame(text) == (function, file, line):
        return text
    return _joined(visible(function, "():"), visible(file, "():") if file else None, line)


def _joined(function: str, file: str | None, line: int | None) -> str:
    if file is None:
        return function
    return f"{function} ({file})" if line is None else f"{function} ({file}:{line})"


def split_frame(text: str) -> tuple[str, str | None, int | None]:
    """Function, file and line of one frame; what isn't there is None. Takes any text and raises nothing.

    The place is the last pair of parentheses with a space before it; pairs inside it belong to the path. What
    py-spy writes for threads and processes (`thread (0x7F01): main (worker)`) is a name.
    """
    function = text.strip() or ANONYMOUS
    if not function.endswith(")") or is_marker(function):
        return function, None, None
    start = _place_start(function)
    if start < 0:
        return function, None, None
    place = function[start + 2 : -1]
    file, colon, digits = place.rpartition(":")
    if colon and file and digits.isascii() and digits.isdigit() and len(digits) <= _MOST_LINE_DIGITS and int(digits):
        return function[:start].strip(), file, int(digits)
    return (function[:start].strip(), place, None) if place.strip() else (function, None, None)


def _place_start(text: str) -> int:
    """Where the ` (` of the place begins, -1 without one. `text` ends in `)`."""
    start = text.rfind("(")
    if start > 0 and text[start - 1] == " " and text.find(")", start) == len(text) - 1:
        return start - 1  # the usual case: no parentheses inside
    depth = 0
    for index in range(len(text) - 1, -1, -1):
        if text[index] == ")":
            depth += 1
        elif text[index] == "(":
            depth -= 1
            if depth == 0:
                if index and text[index - 1] == " ":
                    return index - 1
                break
    # Either `main()`, which has no place, or a path whose own parentheses don't match: `f (a).py:3)`.
    start = text.rfind(" (")
    return start if text.count("(", start) != text.count(")", start) else -1


def is_marker(text: str) -> bool:
    """Whether a frame is what py-spy puts below a stack to say which thread or process it was, and so no
    code.
    """
    for word, end in (("thread (", ")"), ("process ", ":")):
        if text.startswith(word):
            number = text[len(word) :].partition(end)[0]
            return number[:2].lower() == "0x" or (number.isascii() and number.isdigit())
    return False


def is_library(file: str | None) -> bool:
    """Whether a file is somebody else's code: an installed package, the standard library or the runtime
    itself.

    Works on full paths and on py-spy's shortened ones. A shortened path into an installed package
    (`urllib3/connection.py`) can't be told from one's own and counts as own; so does a frame without a file.
    """
    if not file:
        return False
    if file.startswith(("<frozen ", "node:")):
        return True
    parts = file.split("/")
    name = parts[-1]
    if any(part in ("site-packages", "dist-packages", "node_modules") for part in parts[:-1]):
        return True
    if any(
        above in ("lib", "lib64", "lib32") and part.startswith(("python3", "pypy3")) for above, part in pairwise(parts)
    ):
        return True
    if name.startswith("libruby"):  # all of a Ruby but a line that calls it: without it nothing would be told
        return False
    if name.startswith(("lib", "ld-")) and ".so" in name:  # beside a program of one's own it is one's own
        return len(parts) == 1 or any(part.startswith("lib") for part in parts[:-1])
    if name in ("python", "python3", "[vdso]", "[runtime]"):
        return True
    if name.startswith("python3.") and not name.endswith(".py"):
        return True
    if len(parts) > 1:
        return parts[0] in _STDLIB_PACKAGES
    stem, _, suffix = name.rpartition(".")
    return suffix in ("py", "c") and stem in stdlib_module_names


def by_function(counts: Counts) -> list[FunctionTotal]:
    """One record a function and file, heaviest self first, then total, then name. A recursive call counts
    once.
    """
    totals: dict[Key, FunctionTotal] = {}
    known: dict[str, FunctionTotal] = {}

    def record(text: str) -> FunctionTotal:
        found = known.get(text)
        if found is None:
            function, file, line = split_frame(text)
            found = totals.setdefault((function, file), FunctionTotal(function, file, line, 0, 0))
            found.line = found.line or line
            known[text] = found
        return found

    for stack, weight in counts.items():
        functions = [record(text) for text in stack.split(";")]
        functions[-1].self_weight += weight
        for each in {id(function): function for function in functions}.values():
            each.total_weight += weight
    return sorted(totals.values(), key=lambda t: (-t.self_weight, -t.total_weight, t.function, t.file or ""))


def own_functions(counts: Counts) -> list[FunctionTotal]:
    """As `by_function`, with what library frames weigh charged to the nearest caller that isn't one.

    The first names a suspect. A stack without own code keeps its leaf, so check the first with `is_library`.
    """
    return by_function(fold_library(counts)[0])


def fold_library(counts: Counts) -> tuple[Counts, int]:
    """The profile without library frames, and the weight that moved from a library leaf to its caller.

    The sum of weights stays. A stack without own code keeps its leaf (and py-spy's thread or process below
    it).
    """
    library: dict[str, bool] = {}
    folded: Counts = {}
    moved = 0
    for stack, weight in counts.items():
        frames = stack.split(";")
        for text in frames:
            if text not in library:
                library[text] = is_library(split_frame(text)[1])
        kept = [text for text in frames if not library[text]]
        if all(is_marker(text) for text in kept):
            if library[frames[-1]]:
                kept.append(frames[-1])
        elif library[frames[-1]]:
            moved += weight
        text = ";".join(kept)
        folded[text] = folded.get(text, 0) + weight
    return folded, moved


def strip_locations(counts: Counts) -> Counts:
    """The profile with each file cut to its last path component and no lines; equal stacks add up."""

    def short(text: str) -> str:
        function, file, _ = split_frame(text)
        return frame(function, (file.rstrip("/").rpartition("/")[2] or file) if file else None)

    return _mapped(counts, short)


def strip_lines(counts: Counts) -> Counts:
    """The profile with files but no lines; equal stacks add up."""

    def short(text: str) -> str:
        function, file, _ = split_frame(text)
        return frame(function, file)

    return _mapped(counts, short)


def _mapped(counts: Counts, change: Callable[[str], str]) -> Counts:
    known: dict[str, str] = {}
    result: Counts = {}
    for stack, weight in counts.items():
        frames = stack.split(";")
        for text in frames:
            if text not in known:
                known[text] = change(text)
        text = ";".join([known[text] for text in frames])
        result[text] = result.get(text, 0) + weight
    return result
