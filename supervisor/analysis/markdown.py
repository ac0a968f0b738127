"""A profile as Markdown for people, in the manner of Bun's `--cpu-prof-md`, ending in one block for programs.

Sections: head, notes, top ten, hot functions by self weight, call tree by total weight, details of the first
functions, files, and the JSON block that `block.read_block` gives back.
"""

from __future__ import annotations

from itertools import groupby, pairwise

from supervisor.analysis.block import read_block, render_block
from supervisor.analysis.calltree import heaviest_first, nodes
from supervisor.analysis.folded import by_function, fold_library, split_frame, strip_lines
from supervisor.analysis.text import binary_bytes, counted, percent, shorten, visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervisor.analysis.folded import Counts, FunctionTotal, Key

__all__ = ["Profile", "code", "plain", "read_block", "render"]

_MOST_ROWS = 40
_MOST_DETAILS = 20
_MOST_NEIGHBOURS = 10
_MOST_TREE_ROWS = 200
_MOST_INDENT = 30
_MOST_NAME = 200
_SPECIAL = "\\`*<>[]|&~"
_UNITS = {"cpu": "samples", "growth": "bytes", "heap": "bytes"}
_MEANING = {
    "cpu": "This CPU profile names the code that was busy, not the code that holds memory. "
    "For what holds memory, look at the growth profile.",
    "growth": "This growth profile charges the bytes that the process gained between two stack samples "
    "to the code that was running then: it names who was at work while memory grew. "
    "A heap profile names allocations.",
    "heap": "This heap profile names what is held: by whom it was allocated, or of which type it is and who refers to "
    "it. Memory that C code holds for itself is only in the growth profile.",
}


class Profile:
    """What a summary is made of.

    `kind` is `cpu` (counts are `samples`), `growth` or `heap` (counts are `bytes`), and `unit` says so again. `head`
    are the rows of the head table, name and value. `notes` are plain paragraphs right below the title (code
    spans stay). `seconds_per_sample` is the time one CPU sample stands for, None where that isn't known.
    `data` goes into the block for programs and must be something that JSON can hold. `meaning` says what the
    weights tell where that isn't the kind's usual; `sections` are Markdown of one's own, below the head table. Raises
    `ValueError` for another kind or unit.
    """

    __slots__ = (
        "counts", "data", "head", "kind", "meaning", "notes", "seconds_per_sample", "sections", "title", "unit",
    )  # fmt: skip

    def __init__(
        self,
        *,
        title: str,
        kind: str,
        counts: Counts,
        unit: str,
        head: list[tuple[str, str]],
        notes: list[str],
        seconds_per_sample: float | None,
        data: dict[str, object],
        meaning: str = "",
        sections: tuple[str, ...] = (),
    ) -> None:
        if _UNITS.get(kind) != unit:
            raise ValueError(f"a profile is cpu in samples, growth or heap in bytes; saw {kind!r} in {unit!r}")
        self.title = title
        self.kind = kind
        self.counts = counts
        self.unit = unit
        self.head = head
        self.notes = notes
        self.seconds_per_sample = seconds_per_sample
        self.data = data
        self.meaning = meaning or _MEANING[kind]
        self.sections = sections

    def weight(self, weight: int) -> str:
        """A weight for people: `12.3 MiB`, `120`, or `120 (600.0 ms)` where a sample's time is known."""
        if self.unit == "bytes":
            return binary_bytes(weight)
        if self.seconds_per_sample is None:
            return f"{weight:,}"
        return f"{weight:,} ({_milliseconds(weight * self.seconds_per_sample)})"


def render(profile: Profile) -> str:
    """The whole document, ending with a newline. Raises what `json` raises for `data` it can't hold."""
    counts = profile.counts
    total = sum(counts.values())
    functions = by_function(counts)
    without, moved = fold_library(counts)
    own = by_function(without)
    parts = [f"# {plain(profile.title)}"]
    parts += [plain(note, spans=True) for note in profile.notes]
    parts.append(profile.meaning)
    head = [*profile.head, ("Total", _total(profile, total)), ("Functions", f"{len(functions):,}")]
    parts.append("\n".join(["| | |", "|---|---|", *(f"| {plain(name)} | {plain(value)} |" for name, value in head)]))
    parts += profile.sections
    if total > 0:
        parts += _top(functions, own, moved, total)
        parts += ["## Hot Functions (Self)", _hot(profile, functions, total)]
        parts += ["## Call Tree (Total)", _tree(profile, strip_lines(counts), total)]
        parts += ["## Function Details", *_details(profile, functions[:_MOST_DETAILS], total)]
        parts += ["## Files", _files(profile, functions, total)]
    else:
        parts.append("Nothing was recorded.")
    block = render_block(profile.kind, profile.unit, total, functions, profile.seconds_per_sample, profile.data,
                         {(each.function, each.file): each.self_weight for each in own})  # fmt: skip
    return "\n\n".join([*parts, block]) + "\n"


def code(text: str, *, cell: bool = False) -> str:
    r"""`text` as a code span that nothing in it can end; for the cell of a table (`cell`) pipes are escaped
    as `\|`.

    What doesn't print is a visible escape. Parsers disagree on a backslash before an escaped pipe, so there
    the pipe is written `\x7c`.
    """
    text = shorten(visible(text), _MOST_NAME)
    if cell:
        text = text.replace("\\|", "\\\\x7c").replace("|", "\\|")
        text = text + " " if text.endswith("\\") else text
    run = longest = 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    fence = "`" * (longest + 1)
    pad = " " if text.startswith("`") or text.endswith("`") or not text.strip() else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def plain(text: str, *, spans: bool = False) -> str:
    """`text` on one line with all Markdown and HTML in it made literal; with `spans` code spans stay."""
    text = visible(" ".join(text.split()))
    literal = _around_spans(text) if spans else _literal(text)
    # A paragraph whose first word is one of these is a heading, a list or a rule.
    word = literal.partition(" ")[0]
    if word[:-1].isdigit() and word[-1] in ".)":
        return f"{word[:-1]}\\{literal[len(word) - 1 :]}"
    return f"\\{literal}" if word and not word.strip("#-+=") else literal


def _around_spans(text: str) -> str:
    """As `_literal`, but for code spans: what begins with some backticks and ends with as many (CommonMark 6.1)."""
    pieces = ["".join(group) for _, group in groupby(text, "`".__eq__)]  # fences, and what is between them
    ends: dict[str, list[int]] = {}
    for index in range(len(pieces) - 1, -1, -1):
        if pieces[index].startswith("`"):
            ends.setdefault(pieces[index], []).append(index)  # the next one last
    written, outside, at = [], "", 0
    while at < len(pieces):
        later = ends.get(pieces[at], [])
        while later and later[-1] <= at:
            later.pop()
        if later:
            written += [_literal(outside), "".join(pieces[at : later[-1] + 1])]
            outside, at = "", later[-1]
        else:
            outside += pieces[at]
        at += 1
    return "".join([*written, _literal(outside)])


def _literal(text: str) -> str:
    written = []
    for before, character, after in zip(f" {text}", text, f"{text} "[1:], strict=False):
        # An underscore inside a word is one; at its edge it is emphasis.
        edge = character == "_" and not (before.isalnum() and after.isalnum())
        written.append(f"\\{character}" if edge or character in _SPECIAL else character)
    return "".join(written)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms" if seconds < 10 else f"{seconds:,.1f} s"


def _total(profile: Profile, total: int) -> str:
    return profile.weight(total) if profile.unit == "bytes" else f"{profile.weight(total)} {profile.unit}"


def _place(function: FunctionTotal, *, cell: bool = False) -> str:
    if function.file is None:
        return ""
    return code(function.file if function.line is None else f"{function.file}:{function.line}", cell=cell)


def _ranking(functions: list[FunctionTotal], most: int, total: int) -> str:
    heavy = [each for each in functions[:most] if each.self_weight > 0]
    return ", ".join(f"{code(each.function)} {percent(each.self_weight, total)}" for each in heavy)


def _top(functions: list[FunctionTotal], own: list[FunctionTotal], moved: int, total: int) -> list[str]:
    lines = [f"**Top 10:** {_ranking(functions, 10, total)}"]
    if moved:
        lines.append(f"**Own code, with the library code it called:** {_ranking(own, 5, total)}")
    return lines


def _hot(profile: Profile, functions: list[FunctionTotal], total: int) -> str:
    rows = ["| Self% | Self | Total% | Total | Function | Location |", "|---:|---:|---:|---:|---|---|"]
    for each in functions[:_MOST_ROWS]:
        self_weight = f"{percent(each.self_weight, total)} | {profile.weight(each.self_weight)}"
        total_weight = f"{percent(each.total_weight, total)} | {profile.weight(each.total_weight)}"
        place = _place(each, cell=True)
        rows.append(f"| {self_weight} | {total_weight} | {code(each.function, cell=True)} | {place} |")
    rest = functions[_MOST_ROWS:]
    return "\n".join(rows) + _left_out(
        len(rest), "function", "functions", f"self {percent(sum(each.self_weight for each in rest), total)}"
    )


def _left_out(number: int, one: str, many: str, weight: str) -> str:
    return f"\n\n{counted(number, one, many)} left out ({weight})." if number else ""


def _tree(profile: Profile, lean: Counts, total: int) -> str:
    found, light = nodes(lean, -(-total // 100))
    kept = heaviest_first(found)[:_MOST_TREE_ROWS]
    # Parents come before children here, so a path's rank is built on its parent's: the heaviest child first.
    path: list[tuple[int, int]] = []
    ranked = []
    for node in sorted(kept, key=lambda node: (node.start, node.depth)):
        del path[node.depth :]
        path.append((-node.total_weight, node.start))
        ranked.append((tuple(path), node))
    ranked.sort(key=lambda pair: pair[0])
    rows = [("Total%", "Total", "Self%", "Function")]
    for _, node in ranked:
        function, file, _ = split_frame(node.text)
        deeper = f"(+{node.depth - _MOST_INDENT}) " if node.depth > _MOST_INDENT else ""
        name = shorten(visible(function), _MOST_NAME) + (f"  {shorten(visible(file), _MOST_NAME)}" if file else "")
        shares = percent(node.total_weight, total), percent(node.self_weight, total)
        indent = "  " * min(node.depth, _MOST_INDENT)
        rows.append((shares[0], profile.weight(node.total_weight), shares[1], indent + deeper + name))
    wide = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"{a:>{wide[0]}}  {b:>{wide[1]}}  {c:>{wide[2]}}  {name}" for a, b, c, name in rows]
    hidden = light + len(found) - len(kept)
    note = f"\n\n{counted(hidden, 'lighter path', 'lighter paths')} left out." if hidden else ""
    return "\n".join(["```text", *lines, "```"]) + note


def _details(profile: Profile, wanted: list[FunctionTotal], total: int) -> list[str]:
    callers, calls = _neighbours(profile.counts, {(each.function, each.file) for each in wanted})
    parts = []
    for each in wanted:
        key = (each.function, each.file)
        place = _place(each)
        shares = [
            f"Self: {percent(each.self_weight, total)}, {profile.weight(each.self_weight)}",
            f"Total: {percent(each.total_weight, total)}, {profile.weight(each.total_weight)}",
        ]
        parts.append(f"### {code(each.function)}")
        parts.append(" · ".join([place, *shares] if place else shares))
        for words, found in (("**Called by:**", callers[key]), ("**Calls:**", calls[key])):
            if found:
                parts.append(f"{words}\n\n{_neighbour_list(profile, found)}")
    return parts


def _neighbour_list(profile: Profile, found: dict[Key, int]) -> str:
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0][0], item[0][1] or ""))
    lines = [f"- {code(function)} ({profile.weight(weight)})" for (function, _), weight in ordered[:_MOST_NEIGHBOURS]]
    rest = len(ordered) - _MOST_NEIGHBOURS
    return "\n".join([*lines, f"- and {rest:,} more"] if rest > 0 else lines)


def _neighbours(counts: Counts, wanted: set[Key]) -> tuple[dict[Key, dict[Key, int]], dict[Key, dict[Key, int]]]:
    """For each wanted function its callers and its callees with the weight that went that way, once per
    stack.
    """
    callers: dict[Key, dict[Key, int]] = {key: {} for key in wanted}
    calls: dict[Key, dict[Key, int]] = {key: {} for key in wanted}
    known: dict[str, Key] = {}
    for stack, weight in counts.items():
        keys = []
        for text in stack.split(";"):
            if text not in known:
                known[text] = split_frame(text)[:2]
            keys.append(known[text])
        for caller, callee in set(pairwise(keys)):
            if callee in callers:
                callers[callee][caller] = callers[callee].get(caller, 0) + weight
            if caller in calls:
                calls[caller][callee] = calls[caller].get(callee, 0) + weight
    return callers, calls


def _files(profile: Profile, functions: list[FunctionTotal], total: int) -> str:
    weights: dict[str, int] = {}
    for each in functions:
        weights[each.file or ""] = weights.get(each.file or "", 0) + each.self_weight
    ordered = sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    rows = ["| Self% | Self | File |", "|---:|---:|---|"]
    for file, weight in ordered[:_MOST_ROWS]:
        name = code(file, cell=True) if file else "(no file)"
        rows.append(f"| {percent(weight, total)} | {profile.weight(weight)} | {name} |")
    rest = ordered[_MOST_ROWS:]
    return "\n".join(rows) + _left_out(
        len(rest), "file", "files", f"self {percent(sum(weight for _, weight in rest), total)}"
    )
