"""The pieces of evidence that actions left for a run."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from supervisor import files
from supervisor.evidence.fields import decoded, mapping, text
from supervisor.evidence.model import Item, Run
from supervisor.evidence.raw import read_file
from supervisor.store import MONITORED

_MOST_FILES = 10_000


def items(run: Run) -> list[Item]:
    """The run's pieces of evidence over all categories, in the order begun (by number); without a root, none."""
    if run.root is None:
        return []
    found: list[Item] = []
    try:
        categories = sorted(os.listdir(run.root))
    except OSError:
        return []
    for category in categories:
        if category != MONITORED:
            found += _category(run.root, category, run.id)
    return sorted(found, key=lambda item: (item.number is None, item.number, item.category, item.name))


def _category(root: str, category: str, run: str) -> list[Item]:
    folder = os.path.join(root, category, run)
    try:
        root_fd = files.open_directory(root)
        try:
            fd = files.open_below(root_fd, (category, run))
        finally:
            os.close(root_fd)
    except OSError:
        return []
    try:
        names = sorted(os.listdir(fd))[:_MOST_FILES]
        grouped: dict[str, dict[str, str]] = {}
        for name in names:
            stem, dot, suffix = name.partition(".")
            if stem and dot and stat.S_ISREG(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                grouped.setdefault(stem, {})["." + suffix] = os.path.join(folder, name)
    except OSError:
        return []
    finally:
        os.close(fd)
    return [_item(category, stem, suffixes) for stem, suffixes in grouped.items()]


def _item(category: str, stem: str, suffixes: Mapping[str, str]) -> Item:
    meta = mapping(decoded(read_file(suffixes[".meta.json"]) or b"")) if ".meta.json" in suffixes else {}
    digits, _, rest = stem.partition("-")
    numbered = digits.isascii() and digits.isdigit() and len(digits) < 10
    state, _, kind = rest.partition("-") if numbered else ("", "", stem)
    return Item(
        category, stem, int(digits) if numbered else None, state, text(meta.get("kind")) or kind, suffixes, meta
    )
