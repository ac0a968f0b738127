"""Which file changes are worth a reload. Looks at the disk for ignore files and virtual environments only."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Sequence

import pathspec

INCLUDE = (
    "*.py", "*.pyi", "*.js", "*.mjs", "*.cjs", "*.jsx", "*.ts", "*.mts", "*.cts", "*.tsx", "*.rb", "*.go", "*.rs",
    "*.java", "*.php", "*.html", "*.jinja", "*.jinja2", "*.j2", "*.css", "*.toml", "*.yaml", "*.yml", "*.ini", "*.cfg",
    ".env", "*.env",
)  # fmt: skip
_FOLDERS = frozenset((
    ".git", ".hg", ".svn", "__pycache__", "node_modules", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis",
    ".tox", ".nox", ".idea", ".vscode", "site-packages", ".ipynb_checkpoints",
))  # fmt: skip
# What editors write beside a file: backups, locks, swap files, vim's test whether it may write.
_EDITORS = ("*~", ".#*", "#*#", "*.sw?", ".*.sw?", "*.tmp", "*.part", "*.___jb_*___", "4913")


class Wanted:
    """Whether a path's change counts: below `directories`, matched by `include`, and by nothing that excludes it.

    `never` are paths whose changes never count, nor what lies below them: guard's own evidence and log.
    """

    def __init__(
        self, directories: Sequence[str], include: Sequence[str], exclude: Sequence[str], never: Iterable[str]
    ) -> None:
        self.directories = [os.path.realpath(each) for each in directories]
        self._include = tuple(include) or INCLUDE
        self._exclude = tuple(exclude)
        self._never = tuple(os.path.realpath(each) for each in never)
        self._ignored: dict[str, tuple[tuple[int, int], pathspec.GitIgnoreSpec] | None] = {}

    def __call__(self, path: str) -> bool:
        """Whether the change of this file counts."""
        top = self._top(path)
        name, below = os.path.basename(path), os.path.relpath(path, top)
        if any(fnmatch.fnmatch(name, pattern) for pattern in _EDITORS):
            return False
        if not any(fnmatch.fnmatch(below if "/" in each else name, each) for each in self._include):
            return False
        folders = _between(top, os.path.dirname(path))
        return self._open(path, top) and all(self.enters(folder) for folder in folders) and not self._ignores(path)

    def enters(self, folder: str) -> bool:
        """Whether what lies in a folder may count."""
        if folder in self.directories:
            return self._open(folder, folder)
        if os.path.basename(folder) in _FOLDERS or os.path.exists(os.path.join(folder, "pyvenv.cfg")):
            return False
        return self._open(folder, self._top(folder))

    def _top(self, path: str) -> str:
        """The watched directory that holds this path."""
        return next((each for each in self.directories if path.startswith(each + os.sep)), os.path.dirname(path))

    def _open(self, path: str, top: str) -> bool:
        """Neither guard's own nor excluded by an option."""
        if any(path == each or path.startswith(each + os.sep) for each in self._never):
            return False
        below = os.path.relpath(path, top)
        parts = below.split(os.sep)
        for pattern in self._exclude:
            whole = pattern.strip("/")
            if (
                any(fnmatch.fnmatch(part, whole) for part in parts)
                if "/" not in whole
                else (fnmatch.fnmatch(below, whole) or fnmatch.fnmatch(path, pattern))
            ):
                return False
        return True

    def _ignores(self, path: str) -> bool:
        """Whether a .gitignore names it: the nearest one that says anything, up to the repository's top."""
        folder = os.path.dirname(path)
        while True:
            spec = self._ignore_file(folder)
            if spec is not None:
                said = spec.check_file(os.path.relpath(path, folder)).include
                if said is not None:
                    return said
            parent = os.path.dirname(folder)
            if parent == folder or os.path.exists(os.path.join(folder, ".git")):
                return False
            folder = parent

    def _ignore_file(self, folder: str) -> pathspec.GitIgnoreSpec | None:
        """A folder's .gitignore, read again when it changed."""
        path = os.path.join(folder, ".gitignore")
        try:
            status = os.stat(path)
            mark = (status.st_mtime_ns, status.st_size)
            known = self._ignored.get(path)
            if known is None or known[0] != mark:
                with open(path, encoding="utf-8", errors="replace") as file:
                    known = (mark, pathspec.GitIgnoreSpec.from_lines(file.read(1 << 20).splitlines()))
                self._ignored[path] = known
        except (OSError, ValueError):
            return None
        return known[1]


def _between(top: str, folder: str) -> list[str]:
    """The folders from the top down to this one, both included."""
    found = [folder]
    while folder != top and len(folder) > len(top):
        folder = os.path.dirname(folder)
        found.append(folder)
    return found[::-1]
