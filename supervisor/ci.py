"""What a comparison says to the CI system it runs in: its name, a step's summary, annotations."""

from __future__ import annotations

import os

from supervisor.analysis.text import visible
from supervisor.environment import CI_VARIABLES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

GITHUB = "GitHub Actions"
_NO = ("", "0", "false", "no", "off")
_MOST_SUMMARY_BYTES = 1_000_000  # GitHub drops a summary of more than 1 MiB
_MOST_ANNOTATIONS = 10  # of a kind in a step; GitHub shows no more


def system(environ: Mapping[str, str]) -> str | None:
    """The CI system's name, None outside of one. The `CI` variable alone gives `CI`."""
    for name, called in CI_VARIABLES.items():
        if environ.get(name, "").strip().lower() not in _NO:
            return called
    return None


def put_summary(environ: Mapping[str, str], markdown: str) -> bool:
    """Append to the summary of this GitHub Actions step; whether it could be. Raises nothing."""
    path = environ.get("GITHUB_STEP_SUMMARY", "")
    if not path:
        return False
    data = markdown.encode("utf-8", "backslashreplace")
    if len(data) > _MOST_SUMMARY_BYTES:
        data = data[:_MOST_SUMMARY_BYTES].rpartition(b"\n")[0] + b"\n\nThe rest is left out: a summary has 1 MiB.\n"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with open(fd, "ab") as file:
            file.write(data)
    except OSError:
        return False
    return True


class Annotation:
    """One remark of a step: `level` is `error`, `warning` or `notice`."""

    __slots__ = ("file", "level", "line", "text", "title")

    def __init__(self, level: str, title: str, text: str, file: str | None = None, line: int | None = None) -> None:
        self.level = level
        self.title = title
        self.text = text
        self.file = file
        self.line = line


def workflow_commands(found: list[Annotation], workspace: str) -> list[str]:
    """Workflow commands for GitHub Actions, 10 of a level at most. A file is named when it is in the workspace.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    lines = []
    counts: dict[str, int] = {}
    for each in found:
        counts[each.level] = counts.get(each.level, 0) + 1
        if counts[each.level] > _MOST_ANNOTATIONS:
            continue
        fields = []
        file = _in_workspace(each.file, workspace)
        if file is not None:
            fields.append(f"file={_property(file)}")
            if each.line:
                fields.append(f"line={each.line}")
        fields.append(f"title={_property(each.title)}")
        lines.append(f"::{each.level} {','.join(fields)}::{_data(each.text)}")
    return lines


def _in_workspace(file: str | None, workspace: str) -> str | None:
    if not file or not workspace:
        return None
    root = os.path.realpath(workspace)
    path = os.path.realpath(os.path.join(root, file))
    return os.path.relpath(path, root) if path.startswith(root + os.sep) and os.path.isfile(path) else None


def _data(text: str) -> str:
    return visible(text).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
