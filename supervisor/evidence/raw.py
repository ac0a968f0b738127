"""Bytes from files that anybody may have made: regular ones, no link followed, bounded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from supervisor import files
from supervisor.evidence.fields import decoded

MOST_RECORD_BYTES = 4 << 20
MOST_LINES_BYTES = 256 << 20
_MOST_LINE_BYTES = 1 << 20


def lines(
    path: str, name: str, problems: list[str] | None, tail_bytes: int | None = None
) -> Iterator[Mapping[str, Any]]:
    """Objects of a file of JSON lines, or of its last bytes. Of a file over 256 MiB the end is read."""
    told: list[str] = problems if problems is not None else []
    try:
        fd = open_file(path, name)
    except OSError as error:
        told.append(f"{name}: {os.strerror(error.errno or 0)}")
        return
    bad = 0
    ended = True
    with open(fd, "rb") as file:
        try:
            size = os.fstat(fd).st_size
            most = min(tail_bytes or MOST_LINES_BYTES, MOST_LINES_BYTES)
            if size > most:
                file.seek(size - most)
                file.readline(_MOST_LINE_BYTES)
            if size > MOST_LINES_BYTES and most == MOST_LINES_BYTES:
                told.append(f"{name}: larger than {MOST_LINES_BYTES >> 20} MiB; its end was read")
            while line := file.readline(_MOST_LINE_BYTES):
                ended = line.endswith(b"\n")
                found = decoded(line) if line.strip() else None
                if isinstance(found, dict):
                    yield found
                elif ended and line.strip():
                    bad += 1
        except OSError as error:
            told.append(f"{name}: {os.strerror(error.errno or 0)}")
    if not ended:
        told.append(f"{name}: its last line is cut short")
    if bad:
        told.append(f"{name}: {bad} lines are no JSON object")


def read_file(path: str, most_bytes: int = MOST_RECORD_BYTES) -> bytes | None:
    """The start of a regular file that is no link, or None."""
    folder, name = os.path.split(path)
    try:
        fd = open_file(folder, name)
    except OSError:
        return None
    try:
        return read_bytes(fd, most_bytes)
    except OSError:
        return None
    finally:
        os.close(fd)


def open_file(folder: str, name: str) -> int:
    """A descriptor of a regular file in a folder, neither of them a link. Raises OSError."""
    directory = files.open_directory(folder)
    try:
        return files.open_regular(name, directory)
    finally:
        os.close(directory)


def read_bytes(fd: int, most_bytes: int) -> bytes:
    chunks = []
    left = most_bytes
    while left > 0 and (chunk := os.read(fd, min(left, 1 << 20))):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)
