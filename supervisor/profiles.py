"""Which profile files a word means: a file, a directory, a glob, a run's id, `latest`."""

from __future__ import annotations

import os

from supervisor.analysis import formats
from supervisor.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

BASELINE = "baseline.md"
_MOST_FILES = 20_000
_MEMORY = ("-growth", "-heap-profile", "-heap")
HINT = "guard profile -- COMMAND makes one; guard compare --baseline FILE --current FILE takes any"


def chosen(word: str, root: str) -> list[str]:
    """The files of one word, a profile each, in the order of their names. Raises UsageError.

    `root` is the profiles directory, where runs and `latest` are looked for.
    """
    if word == "latest":
        return [newest(root)]
    if os.path.isdir(word):
        found = _in_directory(word)
        if not found:
            raise UsageError(f"there is no profile in the directory {word}", why=_what_is_in(word), hint=HINT)
        return found
    if os.path.exists(word):
        return [word]
    if any(letter in word for letter in "*?["):
        import glob

        files = sorted(path for path in glob.glob(word, recursive=True) if os.path.isfile(path))[:_MOST_FILES]
        found = files if _is_exact(word) else _one_each(files)
        if not found:
            raise UsageError(f"no profile is named like {word}", hint=HINT)
        return found
    runs = _run(word, root)
    if runs is not None:
        return runs
    raise UsageError(
        f"there is no profile {word}",
        why=f"no such file or directory, and no run in {root} has that id",
        hint=HINT,
    )


def newest(root: str, without: Iterable[str] = ()) -> str:
    """The newest profile in the profiles directory that isn't one of `without`. Raises UsageError."""
    excluded = {formats.stem(os.path.abspath(path)) for path in without}
    found = [path for path in _in_directory(root) if formats.stem(os.path.abspath(path)) not in excluded]
    if not found:
        other = " but the baseline" if excluded and os.path.isdir(root) else ""
        raise UsageError(f"there is no profile in {root}{other}", hint=HINT)
    return max(found, key=lambda path: (_age(path), path))


def _age(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _run(word: str, root: str) -> list[str] | None:
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
    found = [path for place in sorted(places) for path in _in_directory(place)]
    if not found:
        raise UsageError(f"the run {run} left no profile", hint="guard profile -- COMMAND makes one")
    return _busy(found)


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def _in_directory(top: str) -> list[str]:
    """One file a profile, below a directory; links to directories aren't followed."""
    files = []
    for place, directories, names in os.walk(top):
        directories.sort()
        files += [os.path.join(place, name) for name in sorted(names) if _is_profile(name)]
        if len(files) > _MOST_FILES:
            raise UsageError(
                f"there are more than {_MOST_FILES:,} profiles below {top}", hint="name a directory further down"
            )
    return _busy(_one_each(files))


def _is_profile(name: str) -> bool:
    return name.endswith(formats.SUFFIXES) and not name.startswith(".")


def _is_exact(word: str) -> bool:
    return word.endswith(formats.SUFFIXES)


def _one_each(files: list[str]) -> list[str]:
    """Of the files of one profile the one that says most: folded stacks, else by the order of suffixes."""
    best: dict[str, tuple[int, str]] = {}
    for path in files:
        rank = next((index for index, suffix in enumerate(_ORDER) if path.endswith(suffix)), len(_ORDER))
        key = formats.stem(path)
        if key not in best or rank < best[key][0]:
            best[key] = (rank, path)
    return [path for _, path in best.values()]


_ORDER = (".folded", ".collapsed", ".raw", ".txt", ".pb.gz", ".pprof", ".speedscope.json", ".cpuprofile", ".md")


def _busy(files: list[str]) -> list[str]:
    """CPU profiles where there are any, else those of memory: they can't be compared with each other."""
    cpu = [path for path in files if not formats.stem(path).endswith(_MEMORY)]
    return cpu or files


def _what_is_in(path: str) -> str:
    names = _names(path)
    if not names:
        return "it is empty"
    return f"it holds {', '.join(names[:4])}{' and more' if len(names) > 4 else ''}, none of which is named like one"


def needs_root(words: list[str]) -> bool:
    """Whether the profiles directory has to be known for these."""
    return not words or not all(os.path.exists(word) or any(letter in word for letter in "*?[") for word in words)
