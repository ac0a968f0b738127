"""What a profile is by a look at its name, its beginning and what guard wrote about it: enough to choose files by."""

from __future__ import annotations

import os

from supervisor.analysis import bunheap, bunmarkdown, formats
from supervisor.analysis.block import OPENING

_HEAD_BYTES = 64 << 10
_MOST_BYTES = 64 << 20
_RUN_ROW = "\n| Run | "  # in the table at the top of guard's Markdown
_MEMORY = ("-growth", "-heap-profile", "-heap")
STATES = ("ok", "warning", "critical", "profiling")
KINDS = ("cpu-profile", "heap-profile", "growth", "stacks", "snapshot")


class Named:
    """A path's parts: `key` is the same for all files of one profile, `main` false for what the runtime itself wrote.

    Of guard's names (`NNN-state-kind`) the key has neither `.bun` nor `-PID-TID`, which such files have; `apart` tells
    those of another thread or process, which have the latter.
    """

    __slots__ = ("apart", "guards", "key", "main")

    def __init__(self, path: str) -> None:
        self.key = formats.stem(path)
        behind = _behind_kind(path)
        self.guards = behind is not None
        self.main, self.apart = True, False
        if behind and self.key.endswith(".bun"):
            self.key, behind, self.main = self.key[:-4], behind[:-4], False
        if behind and _is_apart(behind):
            self.key, self.main, self.apart = self.key[: -len(behind)], False, True


def is_guards(path: str) -> bool:
    """Whether a file's name is one of those that guard gives to evidence: `001-profiling-cpu-profile.md`."""
    return _behind_kind(path) is not None


def _behind_kind(path: str) -> str | None:
    """What stands between the kind in a name of guard's and its suffix: nothing, `.bun`, `-PID-TID`; None for others.

    A name is guard's by a state and a kind that there are: `2026-11-24` and `100-bench-1-2` are somebody else's.
    """
    number, _, rest = os.path.basename(formats.stem(path)).partition("-")
    state, _, rest = rest.partition("-")
    if len(number) < 3 or not number.isascii() or not number.isdigit() or state not in STATES:
        return None
    for kind in KINDS:
        behind = rest[len(kind) :]
        if rest.startswith(kind) and (behind[:1] in ("", ".") or _is_apart(behind.partition(".")[0])):
            return behind
    return None


def _is_apart(behind: str) -> bool:
    words = behind.split("-")
    return len(words) == 3 and not words[0] and all(word.isascii() and word.isdigit() for word in words[1:])


def is_profile(path: str) -> bool:
    """Whether a file named `.md` or `.txt` begins as a profile does; of others their name tells."""
    if not path.endswith((".md", ".txt")):
        return True
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return True  # reading it in earnest will tell
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().decode("utf-8", "replace")
    if text.startswith("#") and path.endswith(".md"):
        return _RUN_ROW in text or bunmarkdown.is_one(text) or bunheap.is_one(text) or bool(_block(path))
    if head.startswith(b"\x1f\x8b") or text.startswith("{"):
        return True
    return text.partition("\n")[0].rstrip().rpartition(" ")[2].isdigit()


def is_memory(path: str) -> bool:
    """Whether it is a profile of memory and not of time."""
    key = Named(path).key
    if path.endswith(".heapprofile") or key.endswith(_MEMORY):
        return True
    if is_guards(key):
        return False
    kind = str(facts(path).get("kind", ""))
    if kind or not path.endswith(".md"):
        return kind.startswith(("growth", "heap"))
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return bunheap.is_one(file.read(_HEAD_BYTES))
    except OSError:
        return False


def run_of(path: str) -> str | None:
    """The id of the run that made a profile, where guard wrote it down or the folder is a run's."""
    run = facts(path).get("run")
    if isinstance(run, str):
        return run
    return os.path.basename(os.path.dirname(os.path.abspath(path))) if is_guards(path) else None


def facts(path: str) -> dict[str, object]:
    """What guard wrote about a profile: beside it, or at the end of its Markdown."""
    return formats.facts_beside(path) or (_block(path) if path.endswith(".md") else {})


def _block(path: str) -> dict[str, object]:
    """The kind and the data of a Markdown's last block, whose functions aren't looked at."""
    import json

    try:
        if not os.path.isfile(path) or os.path.getsize(path) > _MOST_BYTES:
            return {}
        with open(path, encoding="utf-8", errors="replace") as file:
            _, found, block = file.read().rpartition(f"\n{OPENING}\n")
        if not found:
            return {}
        first, _, _ = block.partition("\n")
        data = block.rpartition('\n"data": ')[2].partition("\n")[0]
        kind = json.loads(first.rstrip().rstrip(",") + "}").get("kind")
        return {**json.loads(data.rstrip()[:-1]), "kind": kind}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return {}  # cut off or damaged: reading it in earnest will tell
