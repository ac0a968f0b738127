"""Which runs there are, and the one that somebody means."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from supervisor import config, envfile
from supervisor.errors import UsageError
from supervisor.evidence.model import Run
from supervisor.evidence.records import read
from supervisor.settings import BY_NAME
from supervisor.store import MONITORED, places

_STAMP = "00000000T000000Z"


def profiles_root(given: str | None, environ: Mapping[str, str]) -> str:
    """The profiles directory: as given, else as `guard run` started here would take it. Raises UsageError."""
    root = os.path.abspath(str(setting("profiles-dir", given, environ)))
    if given is None and _is_bare(root):
        # Where `guard run` goes when the directory can't be used.
        _, temporary = places(root, environ)
        if os.path.isdir(os.path.join(temporary, MONITORED)):
            return temporary
    return root


def _is_bare(root: str) -> bool:
    """Whether nothing of guard's is there: neither runs nor profiles."""
    try:
        with os.scandir(root) as entries:
            return not any(entry.is_dir() for entry in entries)
    except OSError:
        return True


def setting(name: str, given: str | None, environ: Mapping[str, str]) -> Any:
    """One setting's value from the command line, the environment or the env file. Raises UsageError.

    Only this one is looked at: another machine's thresholds in a file are no reason to show nothing.
    """
    path = environ.get("GUARD_ENV_FILE", "")
    file_name = path or str(BY_NAME["env-file"].default)
    return config.one(name, given, environ, envfile.read(file_name, explicit=bool(path)), file_name).value


def run_ids(root: str) -> list[str]:
    """The ids of the runs in a profiles directory, newest first. Raises UsageError when it can't be read."""
    try:
        names = os.listdir(os.path.join(root, MONITORED))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(
            f"{root} can't be read", why=os.strerror(error.errno or 0), hint="guard runs --profiles-dir DIR"
        ) from None
    return sorted((name for name in names if is_run_id(name)), reverse=True)


def is_run_id(name: str) -> bool:
    """Whether a name begins like a run's: 20261124T111644Z-..."""
    stamp = all(a.isascii() and a.isdigit() if b == "0" else a == b for a, b in zip(name, _STAMP, strict=False))
    return len(name) > len(_STAMP) and stamp and name[len(_STAMP)] == "-"


def runs(root: str) -> Iterator[Run]:
    """The runs in a profiles directory with their records, newest first. Raises UsageError as `run_ids`."""
    for name in run_ids(root):
        yield read(os.path.join(root, MONITORED, name))


def find(root: str, wanted: str = "latest") -> Run:
    """The run of this id, prefix of an id, or path (of its folder, its run.json, a whole profiles directory, or a
    directory that runs were shipped to).

    `latest` is the newest, as is that of a directory. Raises UsageError when there is none, or when a prefix fits
    several.
    """
    if not wanted or "\0" in wanted:
        raise UsageError("the run's name is empty", hint="guard runs")
    if wanted != "latest" and (os.sep in wanted or os.path.isdir(wanted)):
        return _find_path(wanted)
    known = run_ids(root)
    if wanted == "latest":
        if known:
            return read(os.path.join(root, MONITORED, known[0]))
        raise UsageError(
            f"there is no run in {root}", hint="guard run -- COMMAND   (or name another place with --profiles-dir DIR)"
        )
    fitting = [name for name in known if name.startswith(wanted)]
    if wanted in fitting:
        fitting = [wanted]
    # People remember a command's name or the four hex digits at the end sooner than a time.
    fitting = fitting or [name for name in known if wanted in name[len(_STAMP) :]]
    if len(fitting) == 1:
        return read(os.path.join(root, MONITORED, fitting[0]))
    if not fitting:
        raise UsageError(f"no run in {root} is called {wanted[:100]!r}", hint="guard runs")
    some = ", ".join(fitting[:3]) + (", ..." if len(fitting) > 3 else "")
    raise UsageError(f"{wanted[:100]!r} fits {len(fitting)} runs", why=some, hint="guard runs, and one id of its list")


def _find_path(path: str) -> Run:
    place = os.path.realpath(path)
    if os.path.basename(place) == "run.json" and not os.path.isdir(place):
        place = os.path.dirname(place)
    if not os.path.isdir(place):
        raise UsageError(f"{path[:200]!r} is no directory", hint="guard runs, or the path of a run's folder")
    if os.path.isdir(os.path.join(place, MONITORED)):
        return find(place)
    if os.path.basename(place) == MONITORED:
        return find(os.path.dirname(place))
    run = read(place)
    shipped = [] if run.record.raw else _shipped(place)
    if shipped:
        return read(max(shipped, key=os.path.basename))
    if not run.record.raw and not any(os.path.lexists(os.path.join(place, name)) for name in _OWN_FILES):
        raise UsageError(
            f"{path[:200]!r} is no run's folder",
            why="it has no run.json, flight.jsonl or events.jsonl",
            hint="guard postmortem profiles/monitored/RUN",
        )
    return run


def _shipped(place: str) -> list[str]:
    """The folders of runs that `--ship` left: PLACE/<host>/<run id>, or those of one host."""
    found = []
    for folder in [place, *_folders(place)]:
        found += [each for each in _folders(folder) if is_run_id(os.path.basename(each))]
    return found


def _folders(place: str) -> list[str]:
    try:
        with os.scandir(place) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


_OWN_FILES = ("run.json", "flight.jsonl", "events.jsonl")
