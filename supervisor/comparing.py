"""`guard compare`: reads both sides, compares them, writes the report and says what CI wants to hear.

A plain line comes here without typer (`quickcompare`), so nothing heavy is imported at the top.
"""

from __future__ import annotations

import os
import sys

from supervisor import beside, profiles
from supervisor.analysis import alike, compare, comparison, formats
from supervisor.analysis.known import Shared
from supervisor.analysis.outcome import REGRESSION, Comparison
from supervisor.analysis.reading import FormatError, Reading
from supervisor.analysis.sides import UnitsError
from supervisor.analysis.text import shorten, visible
from supervisor.errors import GuardError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from supervisor.analysis.folded import Counts
    from supervisor.ci import Annotation

REPORTS = {".md": "Markdown", ".markdown": "Markdown", ".html": "HTML", ".htm": "HTML", ".json": "JSON"}
EXAMPLE = "guard compare profiles/baseline.md latest --output reports/comparison.md"
_LARGE_BYTES = 2 << 20  # below it a second process takes longer than it saves
_VERY_LARGE_BYTES = 64 << 20  # more than is remembered of what both sides have in common
_HEAD_BYTES = 256 << 10
PER = ("auto", "run", "second", "share")


class Wish:
    """What the command line asks for; `fail_on` is a share (0.05 is 5 %).

    `words` stand without an option: two are baseline and current, one is the current side. Raises UsageError.
    """

    def __init__(
        self,
        baseline: list[str],
        current: list[str],
        *,
        words: Sequence[str] = (),
        output: str | None = None,
        as_json: bool = False,
        fail_on: str | None = None,
        per: str = "auto",
        profiles_dir: str | None = None,
    ) -> None:
        self.baseline, self.current = _sides(words, baseline, current)
        self.output = output
        self.as_json = as_json
        self.fail_on = limit(fail_on)
        self.per = per
        self.profiles_dir = profiles_dir
        if per not in PER:
            raise UsageError(f"--per {per[:40]!r}: not accepted", why=f"it takes {', '.join(PER)}", hint=EXAMPLE)
        if output is not None and suffix(output) not in REPORTS:
            raise UsageError(
                f"--output {output}: its end names no format", why=f"it takes {', '.join(REPORTS)}", hint=EXAMPLE
            )


def _sides(words: Sequence[str], baseline: list[str], current: list[str]) -> tuple[list[str], list[str]]:
    if not words:
        return baseline, current
    if baseline or current:
        raise UsageError(
            f"{words[0][:80]!r} can't go together with {'--baseline' if baseline else '--current'}",
            why="a profile without an option is the current one, of two the first is the baseline",
            hint="guard compare BASELINE CURRENT   or   guard compare --baseline BASELINE --current CURRENT",
        )
    if len(words) > 2:
        raise UsageError(
            f"{len(words)} profiles were given",
            why="without an option it takes two, the baseline and the current one",
            hint="guard compare --baseline 'old/*.folded' --current 'new/*.folded'",
        )
    return list(words[:-1]), list(words[-1:])


def suffix(path: str) -> str:
    """The end of a path that names its format, in small letters."""
    return os.path.splitext(path)[1].lower()


def limit(text: str | None) -> float | None:
    """A share from `5%` or `5`. Raises UsageError."""
    if text is None:
        return None
    number = text.strip().removesuffix("%").strip()
    if not number.isascii() or not number.replace(".", "", 1).isdigit() or len(number) > 12 or float(number) > 10_000:
        raise UsageError(f"--fail-on {text[:40]!r}: not accepted", why="it takes a percentage such as 5% or 2.5%")
    return float(number) / 100


def execute(wish: Wish, environ: Mapping[str, str]) -> int:
    """Compare, write, print; the exit code: 1 for a regression past --fail-on and nothing else. Raises GuardError."""
    try:
        return _execute(wish, environ)
    except GuardError:
        raise
    except Exception as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = "" if trace is None else f" in {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
        raise GuardError(
            "the comparison failed by a fault of guard's own",
            why=shorten(visible(f"{type(error).__name__}{place}: {error}"), 300),
        ) from error


def _execute(wish: Wish, environ: Mapping[str, str]) -> int:
    from supervisor import ci

    found = run(wish, environ)
    fails = failing(found, wish.fail_on)
    said = sentence(found, wish.fail_on, fails)
    system = ci.system(environ)
    report = ""
    if wish.output is not None:
        put(wish.output, rendered(found, suffix(wish.output)))
    summed = False
    remarks: list[str] = []
    if system == ci.GITHUB:
        report = comparison.markdown(found)
        summed = ci.put_summary(environ, report)
        remarks = ci.workflow_commands(_annotations(found, fails), environ.get("GITHUB_WORKSPACE", ""))
    if wish.as_json:
        import json

        document = comparison.document(found)
        document["fail_on_percent"] = None if wish.fail_on is None else round(wish.fail_on * 100, 9)
        document["failed"] = bool(fails)
        _say(json.dumps(document, indent=1))
        for each in remarks:
            _say(each, sys.stderr.fileno() if sys.stderr else 2)
        return 1 if fails else 0
    if wish.output is None and not summed:
        _say(report or comparison.markdown(found))
    for each in remarks:
        _say(each)
    _say(f"guard compare{f' ({system})' if system else ''}: {said}")
    return 1 if fails else 0


def run(wish: Wish, environ: Mapping[str, str]) -> Comparison:
    """The comparison that is wished for. Raises UsageError."""

    def where() -> str:
        from supervisor import evidence

        return evidence.profiles_root(wish.profiles_dir, environ)

    asked = wish.profiles_dir is not None or profiles.needs_root(wish.baseline) or profiles.needs_root(wish.current)
    root = where() if asked else ""
    notes: tuple[list[str], list[str]] = [], []
    baseline_paths = _baseline(wish.baseline, root, notes[0])
    other = profiles.Baseline(baseline_paths) if any(map(_is_chosen, wish.current or ["latest"])) else None
    current_paths = [
        path for word in wish.current or ["latest"] for path in profiles.chosen(word, root, other, notes[1])
    ]
    keep = wish.output is not None and REPORTS[suffix(wish.output)] == "HTML"
    sides = read_sides(list(dict.fromkeys(baseline_paths)), list(dict.fromkeys(current_paths)), keep)
    for reading in (*sides[0], *sides[1]):
        if keep and not reading.stacks:
            _borrow(reading, where())
    try:
        alike.without_library(sides, lambda reading: _with_stacks([reading], where()))
    except alike.UnlikeError as error:
        hint = "take the .folded of that profile; guard profile --output FILE.md makes a new one"
        raise UsageError("these profiles can't be compared", why=str(error), hint=hint) from None
    for side, told in zip(sides, notes, strict=True):
        side[0].notes += told
    sides[1][0].notes += _in_common(baseline_paths, current_paths, sides)

    def stacks() -> tuple[Counts, Counts] | None:
        pairs = [_with_stacks(side, where()) for side in sides]
        return (pairs[0], pairs[1]) if pairs[0] and pairs[1] else None

    try:
        return compare.compare(*sides, per=wish.per, stacks=stacks)
    except UnitsError as error:
        hint = "guard compare with two heap profiles, or with two CPU profiles"
        raise UsageError("these profiles can't be compared", why=str(error), hint=hint) from None
    except ValueError as error:
        raise UsageError(
            "these profiles can't be compared", why=str(error), hint="guard compare --per share ..."
        ) from None


def _is_chosen(word: str) -> bool:
    """Whether it is for guard to choose among several files."""
    return word == "latest" or os.path.isdir(word) or not os.path.exists(word)


def _in_common(baseline: list[str], current: list[str], sides: tuple[list[Reading], list[Reading]]) -> list[str]:
    """What is to be told where something is compared with itself."""
    before, after = ({os.path.realpath(path) for path in paths} for paths in (baseline, current))
    if before == after:
        return ["Both sides are the same files."]
    if before & after:
        return [f"{len(before & after)} of the files are on both sides."]
    ran = [{reading.run for reading in side} for side in sides]
    return ["Both sides are of the same run."] if ran[0] == ran[1] and None not in ran[0] else []


def _baseline(words: list[str], root: str, notes: list[str]) -> list[str]:
    if words:
        return [path for word in words for path in profiles.chosen(word, root, notes=notes)]
    path = os.path.join(root, profiles.BASELINE)
    if not os.path.exists(path):
        raise UsageError(
            f"there is no baseline {path}",
            why="where none is named that one is taken",
            hint=f"guard profile --output {os.path.relpath(path)} -- COMMAND   makes it",
        )
    return [path]


def read_sides(baseline: list[str], current: list[str], keep: bool) -> tuple[list[Reading], list[Reading]]:
    """The profiles of both sides. Raises UsageError for what is none, and for a side of empty ones.

    Large ones are read at the same time, the baseline in a process beside this one. Where both have stacks in common
    one process takes less time, since it looks at these once.
    """
    size = 0 if keep or beside.cores() < 2 else min(_size(baseline), _size(current))
    if size < _LARGE_BYTES or (size < _VERY_LARGE_BYTES and _alike(baseline[0], current[0])):
        shared = Shared()
        return _side("baseline", baseline, keep, shared), _side("current", current, keep, shared)

    def work() -> object:
        try:
            return [reading.packed() for reading in _side("baseline", baseline, keep)]
        except UsageError as error:
            return [error.what, error.why, error.hint]

    try:
        other = beside.Beside(work)
    except OSError:
        return _side("baseline", baseline, keep), _side("current", current, keep)
    try:
        ours = _side("current", current, keep)
    except BaseException:
        other.end()
        raise
    answer = other.answer()
    if answer is None:  # it was ended from outside
        return _side("baseline", baseline, keep), ours
    if isinstance(answer[0], str):
        raise UsageError(answer[0], why=answer[1], hint=answer[2])
    return [Reading.unpacked(fields) for fields in answer], ours


def _alike(one: str, other: str) -> bool:
    """Whether the first stacks of two files of folded stacks have some in common."""
    stacks = []
    for path in (one, other):
        try:
            with open(path, "rb", buffering=0) as file:
                lines = file.read(_HEAD_BYTES).split(b"\n")[:-1]
        except OSError:
            return False  # reading it in earnest will tell
        stacks.append({line.rpartition(b" ")[0] for line in lines if b";" in line})
    return not stacks[0].isdisjoint(stacks[1])


def _size(paths: list[str]) -> int:
    """Bytes of all regular files; 0 where one is something else, which is read once only."""
    if not all(os.path.isfile(path) for path in paths):
        return 0
    return sum(os.path.getsize(path) for path in paths)


def _side(name: str, paths: list[str], keep: bool, shared: Shared | None = None) -> list[Reading]:
    if shared is None and len(paths) > 1:
        shared = Shared()
    found = []
    empty = []
    for path in paths:
        try:
            found.append(read(path, keep, shared))
        except FormatError as error:
            if len(paths) == 1 or not formats.is_empty(error):
                raise _unreadable(name, path, error) from None
            empty.append(path)
    if not found:
        raise _unreadable(name, empty[0], FormatError(f"this and {len(empty) - 1} more profiles are empty"))
    if empty:
        found[0].notes.append(f"{len(empty)} empty profiles of this side are left out, {empty[0]} first.")
    return found


def read(path: str, keep: bool = False, shared: Shared | None = None) -> Reading:
    """One profile. Raises FormatError; UsageError when the file can't be opened."""
    try:
        found = formats.read(path, keep=keep, shared=shared)
    except OSError as error:
        raise UsageError(f"{path} can't be read", why=os.strerror(error.errno or 0), hint=f"ls -l {path}") from None
    return found


def _borrow(found: Reading, root: str) -> None:
    """Stacks for a Markdown profile from folded ones of the same profile: beside it, or in its run's folder.

    That is looked for below the file's own folder and in the profiles directory `root`.
    """
    import glob

    candidates = [formats.stem(found.origin) + ".folded"]
    if found.run and "/" not in found.run:
        # `guard profile --output profiles/baseline.md` puts one file there and all of them below the run.
        for above in (os.path.dirname(os.path.abspath(found.origin)), root):
            candidates += sorted(glob.glob(f"{glob.escape(above)}/*/{glob.escape(found.run)}/*.folded"))
    for path in candidates:
        if path == found.origin or not os.path.isfile(path):
            continue
        try:
            other = formats.read(path, keep=True)
        except (OSError, FormatError):
            continue
        if other.total == found.total and other.functions.keys() >= found.functions.keys():
            found.stacks, found.stacks_left_out = other.stacks, other.stacks_left_out
            return


def _with_stacks(side: list[Reading], root: str) -> Counts:
    """The stacks of a side together, read again or borrowed where they weren't kept; empty where there are none."""
    together: Counts = {}
    for reading in side:
        if reading.stacks is None and os.path.isfile(reading.origin):
            try:
                again = read(reading.origin, keep=True)
                reading.stacks, reading.stacks_left_out = again.stacks, again.stacks_left_out
            except (FormatError, UsageError):
                return {}
            if not reading.stacks:
                _borrow(reading, root)
        if not reading.stacks:
            return {}
        if len(side) == 1:
            return reading.stacks
        for stack, weight in reading.stacks.items():
            together[stack] = together.get(stack, 0) + weight
    return together


def _unreadable(side: str, path: str, error: FormatError) -> UsageError:
    known = "; ".join(formats.KNOWN)
    if formats.is_empty(error):
        return UsageError(f"{path} ({side}) can't be compared", why=str(error), hint="guard profile --duration 30s ...")
    return UsageError(f"{path} ({side}) is no profile that guard can read", why=str(error), hint=f"one of: {known}")


def failing(found: Comparison, share: float | None) -> list[str]:
    """What regressed past the limit, in words; empty without a limit."""
    if share is None:
        return []
    words = [f"{row.function} {comparison.change(row)}" for row in found.past(share)]
    if found.total_past(share):
        words.append(f"total {comparison.relative(found.total)}")
    return words


def sentence(found: Comparison, share: float | None, fails: list[str]) -> str:
    """The comparison's line, and what --fail-on makes of it."""
    said = comparison.line(found)
    if share is None:
        return said
    what = f"{len(fails)} past {share * 100:g} %: failed" if fails else f"none past {share * 100:g} %"
    if not found.total_judged:
        what += f" among functions, and the total could not be held against it: {found.total_unjudged}"
    return f"{said}; {what}"


def _annotations(found: Comparison, fails: list[str]) -> list[Annotation]:
    from supervisor.ci import Annotation

    remarks = []
    for row in found.of(REGRESSION):
        if not row.minor:
            name = f"{row.function} {comparison.change(row)}"
            change = comparison.value(found, row.figure.change, signed=True)
            text = f"{row.function} takes {change} more than in the baseline ({comparison.change(row)})"
            level = "error" if name in fails else "warning"
            remarks.append(Annotation(level, "Performance regression", text, row.file, row.line))
    if found.total.found and found.total_judged and found.total.change > 0:
        level = "error" if any(each.startswith("total ") for each in fails) else "warning"
        text = f"The whole takes {comparison.relative(found.total)} of the baseline's time more"
        remarks.append(Annotation(level, "Performance regression", text))
    return remarks


def rendered(found: Comparison, end: str) -> str:
    """The report in the format that the end of a file's name asks for."""
    kind = REPORTS[end]
    if kind == "HTML":
        from supervisor.analysis import comparison_page

        return comparison_page.render(found)
    if kind == "JSON":
        import json

        return json.dumps(comparison.document(found), indent=1) + "\n"
    return comparison.markdown(found)


def put(path: str, text: str) -> None:
    """Write a report whole or not at all, its directory made if need be. Raises UsageError."""
    from supervisor import files

    directory, name = os.path.split(os.path.abspath(path))
    try:
        files.put_at(directory, name, text.encode("utf-8", "backslashreplace"), create=True)
    except OSError as error:
        raise UsageError(f"--output {path} can't be written", why=os.strerror(error.errno or 0)) from None


def _say(text: str, fd: int = 1) -> None:
    from supervisor import output

    try:
        output.write_all(fd, (text.rstrip("\n") + "\n").encode("utf-8", "backslashreplace"))
    except BrokenPipeError:
        pass  # the reader has what it wanted; the verdict is the exit code
    except OSError as error:
        if fd == 1:
            raise GuardError("the outcome can't be written to stdout", why=os.strerror(error.errno or 0)) from None
