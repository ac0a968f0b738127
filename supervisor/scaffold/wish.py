"""What a command line of `guard init` asks for, and the quoting that its files share: pure."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

from supervisor import meant, quantities
from supervisor.analysis.text import visible
from supervisor.errors import UsageError

GUARD = "/opt/guard/bin/guard"  # where guard's Dockerfile puts it
SETTINGS_FILE = ".env.profiling"
DOCKERFILE = "Dockerfile.guard"
PROFILES = "/profiles"
USER_ID = 10001
GRACE_S = 30  # from TERM to KILL, by who runs the container or the unit
STOP_TIMEOUT_S = 20  # what guard takes of it for processes that the command left
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_MOST_NAME = 50  # of the 63 that a label of a Kubernetes object may have


@dataclass(frozen=True)
class Wish:
    """The options. `directory` is absolute; `base` is an image that has the application, "" for none."""

    directory: str
    name: str
    image: str
    base: str
    command: tuple[str, ...]
    memory_bytes: int
    package: str
    guard: str  # the command that systemd starts, absolute
    requirements: bool  # whether there is a requirements.txt
    dockerfile: bool  # whether there is, or will be, a Dockerfile.guard


def name_of(text: str) -> str:
    """A name that every format takes: a DNS label. Raises UsageError."""
    inner = set(_LETTERS) | {"-"}
    if not text or len(text) > _MOST_NAME or not set(text) <= inner or text[0] not in _LETTERS or text[-1] == "-":
        raise UsageError(
            f"--name {visible(text[:80])!r}: not accepted",
            why=f"it takes small letters, digits and inner dashes, {_MOST_NAME} at most, as Kubernetes does",
            hint="guard init --name app ...",
        )
    return text


def reference(option: str, text: str) -> str:
    """An image's name, or a package's as pip takes it. Raises UsageError."""
    plain = text.isascii() and text.isprintable() and not set(text) & set(" $\"'\\`")
    if not text or len(text) > 300 or not plain or text[0] in "-#":
        raise UsageError(
            f"{option} {visible(text[:80])!r}: not accepted", why="it takes a name without spaces, quotes and $"
        )
    return text


def command_of(text: str) -> tuple[str, ...]:
    """The words of a command line; no shell is started for it. Raises UsageError."""
    if visible(text) != text:
        raise UsageError(
            f"--command {visible(text[:80])!r}: not accepted", why="it has control characters or marks that hide text"
        )
    try:
        words = tuple(shlex.split(text))
        in_a_shell = meant.operators(text)
    except ValueError as error:
        raise UsageError(f"--command {text[:80]!r}: not accepted", why=str(error).lower()) from None
    if not words or not words[0]:
        raise UsageError("--command is empty", hint='guard init --command "python app.py" ...')
    if in_a_shell:
        raise UsageError(
            f"--command {text[:80]!r}: not accepted",
            why="guard starts one command and no shell",
            hint=f"guard init --command {shlex.quote(shlex.join(['sh', '-c', text]))} ...",
        )
    return words


def directory_of(text: str) -> str:
    """A directory's absolute path that a unit can name. Raises UsageError."""
    if visible(text) != text or text[-1] in " \\":
        raise UsageError(
            f"{visible(text[-200:])!r} can't be named in a unit", why="it has characters that end or hide a line"
        )
    return text


def memory_of(text: str) -> int:
    """Bytes of a memory limit. Raises UsageError."""
    try:
        return quantities.parse_size(text, quantities.MEGABYTE)
    except quantities.BadValue as error:
        raise UsageError(f"--memory {visible(text[:80])!r}: not accepted", why=f"it takes {error}") from None


def sized(size_bytes: int, mebibytes: str, plain: str = "") -> str:
    """A size in whole MiB with their unit where it is one, else in bytes: `512Mi`, or `512000000`."""
    whole, rest = divmod(size_bytes, quantities.MEBIBYTE)
    return f"{size_bytes}{plain}" if rest else f"{whole}{mebibytes}"


def text(value: str) -> str:
    """A string as JSON, which YAML and Dockerfiles read as well: all but control characters as it is."""
    return json.dumps(value, ensure_ascii=False)


def words(values: tuple[str, ...]) -> str:
    """A list of strings as JSON."""
    return json.dumps(list(values), ensure_ascii=False)
