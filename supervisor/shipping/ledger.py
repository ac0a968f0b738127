"""`shipped.json` in a run's folder: what of the run is away, so that the next start ships what isn't."""

from __future__ import annotations

import json
import os
from typing import Any

from supervisor import files
from supervisor.addresses import masked_url
from supervisor.shipping.target import Target
from supervisor.store import SHIPPED

SCHEMA_VERSION = 1
_MOST_BYTES = 4 << 20
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"


class Ledger:
    """What was shipped of a run. `files`: `category/name` to its bytes and its mtime in ns when it was sent."""

    def __init__(self, to: str, target: str, host: str) -> None:
        self.to = to
        self.target = target
        self.host = host
        self.complete = False  # the run is over, and all of it is there
        self.files: dict[str, list[int]] = {}

    def aim(self, other: Ledger) -> None:
        """Take `other`'s target: what is somewhere else counts no more."""
        if self.target != other.target:
            self.to, self.target, self.files = other.to, other.target, {}

    def document(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {
            "schema_version": SCHEMA_VERSION,
            "to": self.to,
            "target": self.target,
            "host": self.host,
            "complete": self.complete,
            "files": self.files,
        }

    def write(self, folder: int, mode: int) -> None:
        """Put it into the run's folder. Raises OSError."""
        files.put(folder, SHIPPED, json.dumps(self.document()).encode() + b"\n", mode)


def first(text: str, target: Target) -> Ledger:
    """Of a run of this machine of which nothing is away."""
    from binascii import crc32

    told = f"{crc32(target.identity.encode('utf-8', 'surrogateescape')):08x}"
    return Ledger(masked_url(text), told, host_key(os.uname().nodename))


def host_key(name: str) -> str:
    """A host's name as the name of a folder."""
    clean = "".join(letter if letter in _LETTERS else "_" for letter in name).lstrip(".")
    return clean[:100] or "host"


def read(folder: int) -> Ledger | None:
    """The one in a run's folder; None when there is none that can be read."""
    try:
        with open(files.open_regular(SHIPPED, folder), "rb") as file:
            found = json.loads(file.read(_MOST_BYTES))
        ledger = Ledger(str(found["to"]), str(found["target"]), str(found["host"]))
        ledger.complete = found["complete"] is True
        ledger.files = {str(name): [int(number) for number in facts] for name, facts in found["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return ledger
