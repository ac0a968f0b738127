"""Reading `.env.profiling`: a small part of shell, nothing executed.

Understood: `NAME=value`, `export NAME=value`, single and double quotes, backslashes, `# comments`. A `$` or a
backquote that a shell would expand is an error for a setting of guard's, since guard executes nothing.
"""

from __future__ import annotations

import os

from supervisor.errors import UsageError

MOST_BYTES = 1 << 20
_NAME_START = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
_NAME = _NAME_START + "0123456789"


class Entry:
    """One assignment: its value, its line (from 1), and whether a shell would have expanded something in it."""

    __slots__ = ("expands", "line", "value")

    def __init__(self, value: str, line: int, expands: bool) -> None:
        self.value = value
        self.line = line
        self.expands = expands


def read(path: str, *, explicit: bool) -> dict[str, Entry] | None:
    """The assignments of the file, or None when the default file isn't there. Raises UsageError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        if not explicit:
            return None
        raise UsageError(
            f"--env-file {path}: no such file", hint="name an existing file, or leave the option out"
        ) from None
    except OSError as error:
        raise UsageError(f"{path} can't be read", why=os.strerror(error.errno or 0), hint=_instead(path)) from None
    try:
        if os.path.isdir(path):
            raise UsageError(f"{path} is a directory, not a file of settings", hint=_instead(path))
        data = b""
        while len(data) <= MOST_BYTES and (chunk := os.read(fd, 65536)):
            data += chunk
    except OSError as error:
        raise UsageError(f"{path} can't be read", why=os.strerror(error.errno or 0), hint=_instead(path)) from None
    finally:
        os.close(fd)
    if len(data) > MOST_BYTES:
        raise UsageError(f"{path} is larger than 1 MiB", why="that isn't a file of settings", hint=_instead(path))
    return parse(data, path)


def _instead(path: str) -> str:
    return f"mend or move {path}, or name another file with --env-file FILE"


def parse(data: bytes, path: str) -> dict[str, Entry]:
    """The assignments in `data`; of a name set twice the last one counts, as in a shell. Raises UsageError."""
    if b"\0" in data:
        raise UsageError(f"{path} has a NUL byte", why="that isn't a text file", hint=_instead(path))
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}, line {line}: not UTF-8", hint=_instead(path)) from None
    text = text.replace("\r\n", "\n")
    entries: dict[str, Entry] = {}
    position, counted, line = 0, 0, 1
    exporting = False  # `export NAME` alone is fine in a shell, NAME alone is a command
    while position < len(text):
        line += text.count("\n", counted, position)
        counted = position
        while position < len(text) and text[position] in " \t":
            position += 1
        if position < len(text) and text[position] not in "#\n":
            word, position, expands = _word(text, position, path, line)
            exporting = exporting or word == "export"
            if word == "export":
                while position < len(text) and text[position] in " \t":
                    position += 1
                word, position, expands = _word(text, position, path, line)
            name, equals, value = word.partition("=")
            if equals and _is_name(name):
                entries[name] = Entry(value, line, expands)
            elif equals or not (exporting and _is_name(name)):
                raise UsageError(
                    f"{path}, line {line}: not an assignment: {word[:60]!r}",
                    why="lines are NAME=value, with or without export",
                    hint=_instead(path),
                )
        while position < len(text) and text[position] in " \t":
            position += 1
        if position < len(text) and text[position] == "#":
            while position < len(text) and text[position] != "\n":
                position += 1
        if position < len(text) and text[position] == "\n":
            position += 1
            exporting = False
    return entries


def _is_name(word: str) -> bool:
    return bool(word) and word[0] in _NAME_START and all(letter in _NAME for letter in word)


def _word(text: str, position: int, path: str, line: int) -> tuple[str, int, bool]:
    """One shell word from `position`: its text without quotes, where it ends, whether a shell would expand it."""
    out: list[str] = []
    expands = False
    while position < len(text) and text[position] not in " \t\n;":
        letter = text[position]
        if letter == "'":
            end = text.find("'", position + 1)
            if end < 0:
                raise UsageError(f"{path}, line {line}: a ' is never closed", hint=_instead(path))
            out.append(text[position + 1 : end])
            position = end + 1
        elif letter == '"':
            position += 1
            while position < len(text) and text[position] != '"':
                if text[position] == "\\" and text[position + 1 : position + 2] in ('"', "\\", "$", "`", "\n"):
                    position += 1
                    out.append("" if text[position] == "\n" else text[position])
                else:
                    expands = expands or text[position] in "$`"
                    out.append(text[position])
                position += 1
            if position >= len(text):
                raise UsageError(f'{path}, line {line}: a " is never closed', hint=_instead(path))
            position += 1
        elif letter == "\\":
            following = text[position + 1 : position + 2]
            out.append("" if following == "\n" else following)
            position += 2
        elif (letter == "$" and text[position + 1 : position + 2] == "(") or letter == "`":
            expands = True
            end = text.find(")" if letter == "$" else "`", position + 1)
            end = len(text) if end < 0 else end + 1
            stop = text.find("\n", position)
            end = min(end, stop if stop >= 0 else len(text))
            out.append(text[position:end])
            position = end
        else:
            expands = expands or letter == "$"
            out.append(letter)
            position += 1
    if position < len(text) and text[position] == ";":
        position += 1
    return "".join(out), position, expands
