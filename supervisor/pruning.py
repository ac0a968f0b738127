"""`guard prune`: retention applied now, with what it did told."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from supervisor.actions import retention
from supervisor.analysis.text import counted, visible
from supervisor.errors import UsageError
from supervisor.quantities import human_bytes

SCHEMA_VERSION = 1
_MOST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was (or, in a dry run, would be) removed. Runs with their bytes; the rest are counts of what stays."""

    root: str
    dry_run: bool
    removed: tuple[tuple[str, int], ...]
    not_removed: tuple[str, ...]
    kept: int
    kept_bytes: int
    profiles: int
    live: int
    there: bool = True


def prune(
    root: str, keep_runs: int, keep_age_s: float, keep_bytes: int, *, dry_run: bool, may_be_absent: bool = False
) -> Pruned:
    """Remove what is too much below a profiles directory. Raises UsageError when it can't be opened.

    `may_be_absent`: nobody named it, so where there is none yet there is nothing to do.
    """
    try:
        place = retention.Place(root)
    except OSError as error:
        if may_be_absent and not os.path.lexists(root):
            return Pruned(root, dry_run, (), (), 0, 0, 0, 0, there=False)
        why = "it is a link, and guard follows none" if os.path.islink(root) else os.strerror(error.errno or 0)
        raise UsageError(
            f"the profiles directory {root} can't be opened", why=why, hint="guard prune --profiles-dir DIR"
        ) from None
    with place:
        found = place.survey()
        chosen = retention.choose(found, time.time(), keep_runs=keep_runs, keep_age_s=keep_age_s, keep_bytes=keep_bytes)
        gone = chosen if dry_run else [run for run in chosen if place.remove(run)]
    sizes = {kept.run: kept.size_bytes for kept in found}
    return Pruned(
        root=root,
        dry_run=dry_run,
        removed=tuple((run, sizes[run]) for run in gone),
        not_removed=tuple(run for run in chosen if run not in {*gone, *place.busy}),
        kept=len(found) - len(gone),
        kept_bytes=sum(sizes.values()) - sum(sizes[run] for run in gone),
        profiles=sum(kept.profile for kept in found if kept.run not in set(gone)),
        live=sum(kept.lives or kept.run in place.busy for kept in found),
    )


def document(done: Pruned) -> dict[str, Any]:
    """For programs."""
    return {
        "schema_version": SCHEMA_VERSION,
        "root": done.root,
        "dry_run": done.dry_run,
        "removed": [{"run": run, "bytes": size} for run, size in done.removed],
        "removed_bytes": sum(size for _, size in done.removed),
        "not_removed": list(done.not_removed),
        "kept": done.kept,
        "kept_bytes": done.kept_bytes,
        "profiles": done.profiles,
        "live": done.live,
    }


def text(done: Pruned) -> str:
    """For people."""
    if not done.there:
        return f"nothing to prune: there is no {visible(done.root)} yet"
    lines = [f"  {visible(run)}  {human_bytes(size)}" for run, size in done.removed[:_MOST_SHOWN]]
    if len(done.removed) > _MOST_SHOWN:
        lines.append(f"  and {len(done.removed) - _MOST_SHOWN} more")
    word = "would remove" if done.dry_run else "removed"
    total = human_bytes(sum(size for _, size in done.removed))
    more = [f"{counted(done.profiles, 'profile', 'profiles')} among them"] if done.profiles else []
    more += [f"{done.live} live"] if done.live else []
    of_these = "".join(f", {words}" for words in more)
    head = f"{word} {counted(len(done.removed), 'run', 'runs')} ({total}) in {visible(done.root)}"
    lines = [
        f"{head}; {counted(done.kept, 'run stays', 'runs stay')} ({human_bytes(done.kept_bytes)}{of_these})",
        *lines,
    ]
    if done.not_removed:
        some = ", ".join(visible(run) for run in done.not_removed[:3])
        lines.append(f"could not remove {len(done.not_removed)}: {some}; see ls -ld {visible(done.root)}/*/RUN")
    return "\n".join(lines)
