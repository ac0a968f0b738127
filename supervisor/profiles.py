"""Which profile files a word means: a file, a directory, a glob, a run's id, `latest`."""

from __future__ import annotations

import os

from supervisor.analysis import formats, glance
from supervisor.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

BASELINE = "baseline.md"
_MOST_FILES = 20_000
HINT = "guard profile -- COMMAND makes one; guard compare BASELINE CURRENT takes any"


class Baseline:
    """The profiles of the other side: their own run is no `latest`, and their kind is what they are compared with."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = list(paths)
        self._stems = {formats.stem(os.path.realpath(path)) for path in self.paths}
        runs = {path: glance.run_of(path) for path in self.paths}
        self._runs = {run for run in runs.values() if run}
        self._of_unknown_run = [path for path, run in runs.items() if not run]
        self.memory = bool(self.paths) and glance.is_memory(self.paths[0])

    def has(self, path: str) -> bool:
        """Whether a profile is one of them."""
        return formats.stem(os.path.realpath(path)) in self._stems

    def is_of_its_run(self, path: str) -> bool:
        """Whether a profile is of a run of theirs, or what one of them is a copy of."""
        if glance.run_of(path) in self._runs:
            return True
        return any(_same_text(one, formats.stem(path) + one[len(formats.stem(one)) :]) for one in self._of_unknown_run)


def _same_text(one: str, other: str) -> bool:
    import filecmp

    try:
        return os.path.isfile(one) and os.path.isfile(other) and filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False


def chosen(word: str, root: str, baseline: Baseline | None = None, notes: list[str] | None = None) -> list[str]:
    """The files of one word, a profile each, in the order of their names. Raises UsageError.

    `root` is the profiles directory, where runs and `latest` are looked for; `baseline` the other side, where that is
    known. What was left out is told to `notes`.
    """
    notes = [] if notes is None else notes
    if word == "latest":
        return [newest(root, baseline, notes)]
    memory = baseline is not None and baseline.memory
    if os.path.isdir(word):
        found = _of_kind(_in_directory(word, notes), memory)
        if not found:
            raise UsageError(f"there is no profile in the directory {word}", why=_what_is_in(word), hint=HINT)
        return found
    if os.path.exists(word):
        return [word]
    if any(letter in word for letter in "*?["):
        import glob

        files = sorted(path for path in glob.glob(word, recursive=True) if os.path.isfile(path))[:_MOST_FILES]
        found = files if _is_exact(word) else _one_each(files, notes)
        if not found:
            raise UsageError(f"no profile is named like {word}", hint=HINT)
        return found
    runs = _run(word, root, memory, notes)
    if runs is not None:
        return runs
    raise UsageError(
        f"there is no profile {word}",
        why=f"no such file or directory, and no run in {root} has that id",
        hint=HINT,
    )


def newest(root: str, baseline: Baseline | None = None, notes: list[str] | None = None) -> str:
    """The newest profile in the profiles directory that isn't the baseline's own. Raises UsageError.

    It is of the baseline's kind, time or memory; without a baseline of time, where there is any.
    """
    found = _in_directory(root, [])
    if baseline is None:
        found = _of_kind(found, memory=False)
    found.sort(key=lambda path: (_age(path), path), reverse=True)
    own = other = 0
    for path in found:
        if baseline is None:
            return path
        if baseline.has(path):
            continue
        if glance.is_memory(path) != baseline.memory:
            other += 1
        elif baseline.is_of_its_run(path):
            own += 1
        else:
            if own and notes is not None:
                notes.append("The newest profile is the baseline's own run; this one is older.")
            return path
    if own:
        raise UsageError(
            "the newest profile is the baseline's own run",
            why="there is no other to compare it with",
            hint=_next(baseline),
        )
    others = f" but {other} of another kind than the baseline" if other else ""
    besides = "" if not found or others else " but the baseline"
    raise UsageError(f"there is no profile in {root}{others or besides}", hint=_next(baseline) if found else HINT)


def _next(baseline: Baseline | None) -> str:
    return f"guard profile {'--heap ' if baseline is not None and baseline.memory else ''}-- COMMAND"


def _age(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _run(word: str, root: str, memory: bool, notes: list[str]) -> list[str] | None:
    """The profiles of a run by its id or a unique beginning of it; None where there is no such run."""
    if "/" in word or not word:
        return None
    folders: dict[str, list[str]] = {}
    for category in _names(root):
        for run in _names(os.path.join(root, category)):
            path = os.path.join(root, category, run)
            if run.startswith(word) and os.path.isdir(path):
                folders.setdefault(run, []).append(path)
    if word in folders:
        folders = {word: folders[word]}
    if not folders:
        return None
    if len(folders) > 1:
        some = ", ".join(sorted(folders)[:4])
        raise UsageError(f"{word} is the beginning of {len(folders)} runs", why=some, hint="guard runs")
    ((run, places),) = folders.items()
    found = [path for place in sorted(places) for path in _in_directory(place, notes)]
    if not found:
        raise UsageError(f"the run {run} left no profile", hint="guard profile -- COMMAND makes one")
    return _of_kind(found, memory)


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def _in_directory(top: str, notes: list[str]) -> list[str]:
    """One file a profile, below a directory; links to directories aren't followed."""
    files = []
    for place, directories, names in os.walk(top):
        directories.sort()
        files += [os.path.join(place, name) for name in sorted(names) if _is_profile(name)]
        if len(files) > _MOST_FILES:
            raise UsageError(
                f"there are more than {_MOST_FILES:,} profiles below {top}", hint="name a directory further down"
            )
    return _one_each(files, notes)


def _is_profile(name: str) -> bool:
    return name.endswith(formats.SUFFIXES) and not name.startswith(".")


def _is_exact(word: str) -> bool:
    return word.endswith(formats.SUFFIXES)


def _one_each(files: list[str], notes: list[str]) -> list[str]:
    """Of the files of one profile the one that says most: folded stacks, else by the order of suffixes.

    Text that is no profile (a README, a report) is left out, and told to `notes`; so is what may be a profile of its
    own: another thread's, and of names that guard didn't give the files that differ in their suffix only.
    """
    groups: dict[str, list[tuple[bool, int, str]]] = {}
    named_so: dict[str, glance.Named] = {}
    for path in files:
        rank = next((index for index, suffix in enumerate(_ORDER) if path.endswith(suffix)), len(_ORDER))
        named = named_so[path] = glance.Named(path)
        groups.setdefault(named.key, []).append((not named.main, rank, path))
    found: list[str] = []
    others: list[str] = []
    apart: list[str] = []
    alike: list[str] = []
    for group in groups.values():
        taken = False
        for _, _, path in sorted(group):
            named = named_so[path]
            if taken and named.guards:
                apart += [path] if named.apart else []
            elif not glance.is_profile(path):
                others += [] if taken else [path]
            else:
                (alike if taken else found).append(path)
                taken = True
    if found and others:
        notes.append(f"{len(others)} files that are no profiles are left out, {others[0]} first.")
    if apart:
        notes.append(f"{len(apart)} files of other threads and processes are left out, {apart[0]} first.")
    if alike:
        notes.append(
            f"{len(alike)} files are taken for other forms of profiles that are read, by their names, and left out, "
            f"{alike[0]} first."
        )
    return found


_ORDER = (".folded", ".collapsed", ".raw", ".txt", ".pb.gz", ".pprof", ".speedscope.json", ".cpuprofile", ".md")


def _of_kind(files: list[str], memory: bool) -> list[str]:
    """Those of memory or of time, where there are any, else the others: they can't be compared with each other."""
    return [path for path in files if glance.is_memory(path) == memory] or files


def _what_is_in(path: str) -> str:
    names = _names(path)
    if not names:
        return "it is empty"
    return f"it holds {', '.join(names[:4])}{' and more' if len(names) > 4 else ''}, none of which is one"


def needs_root(words: list[str]) -> bool:
    """Whether the profiles directory has to be known for these."""
    return not words or not all(os.path.exists(word) or any(letter in word for letter in "*?[") for word in words)
