"""What a worker is asked to do, and where its evidence goes."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Iterable
from typing import Any

from supervisor import files, sample
from supervisor.model import SECRET
from supervisor.profilers.failure import Failure, gone
from supervisor.quantities import iso

SCHEMA_VERSION = 1


class Pass(Failure):
    """This way can't be gone here; the next one is to be tried. `refused`: capabilities that were missing."""

    def __init__(self, reason: str, said: str, hint: str, refused: Iterable[dict[str, str]] = ()) -> None:
        super().__init__(reason, said, hint)
        self.refused = list(refused)

    @classmethod
    def of(cls, failure: Failure, capability: str = "") -> Pass:
        """Because of a failure; with a `capability` that is what was missing."""
        refused = [{"capability": capability, "reason": failure.said, "hint": failure.hint}] if capability else []
        return cls(failure.reason, failure.said, failure.hint, refused)


class Skip(Exception):
    """There is no way, which is no fault: the outcome is `skipped`. `tried`: what was to be done, for people."""

    def __init__(self, why: Failure, tried: str, refused: Iterable[dict[str, str]] = ()) -> None:
        super().__init__(str(why))
        self.why = why
        self.tried = tried
        self.refused = list(refused)


class Turn(Exception):
    """Another process is the one that counts, and perhaps another engine's."""

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self.pid = pid


class Task:
    """One action on one process. `spec` comes from the watcher as JSON; see `loop` for who fills it."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.kind: str = spec["action"]
        self.state: str = spec["state"]
        self.pid: int = spec["pid"]
        self.aimed = self.pid  # who is read: the process itself or, of a command that starts others, one of them
        self.passed: list[Pass] = []  # ways that couldn't be gone: see `ways`
        self.name: str = spec["name"]
        self.started_at = time.time()
        self.began_s: float | None = None  # monotonic, set by the first way that records: a Turn doesn't prolong it
        self.paths: list[str] = []
        self._secret = os.environ.pop(SECRET, "")  # what this process starts doesn't inherit it
        self._directory: str = spec["directory"]
        self._fd = _open(self._directory, spec.get("root"), spec.get("root_id")) if self._directory else -1
        self._mode: int = spec.get("mode", 0o600)

    @property
    def folder(self) -> int:
        """A descriptor of the folder; -1 when there is only the log."""
        return self._fd

    def secret(self) -> str:
        """What the watcher told besides the spec."""
        return self._secret

    @property
    def go_pprof(self) -> str:
        """Where a Go serves its profiles, from --go-pprof: a URL, `auto`, or "" without it."""
        return self._secret if self.spec.get("go_pprof") else ""

    def why(self) -> str | None:
        """Why better ways couldn't be gone; None when this is the best."""
        return "; ".join(f"{passed.reason}: {passed.said}" for passed in self.passed) or None

    def check_target(self) -> bool:
        """Whether the process is still the one that was meant; returns whether it is stopped. Raises Failure."""
        process = sample.read_process(self.pid)
        ticks = self.spec.get("start_ticks")
        if process is None or process.state in ("Z", "X") or (ticks and process.start_ticks != ticks):
            raise gone(self.pid)
        return process.state in ("T", "t")

    def write(self, suffix: str, text: str | bytes | Iterable[bytes]) -> None:
        """Put `NNN-<state>-<kind><suffix>` in place, also in pieces. Raises OSError."""
        data = text.encode("utf-8", "backslashreplace") if isinstance(text, str) else text
        files.put(self._fd, self.name + suffix, data, self._mode)
        path = os.path.join(self._directory, self.name + suffix)
        if path not in self.paths:
            self.paths.append(path)

    def tell_progress(self, **line: Any) -> None:
        """How far it has come, to the watcher, where somebody wants to see that."""
        if self.spec.get("progress"):
            sys.stdout.write(json.dumps({"progress": line}) + "\n")
            sys.stdout.flush()

    def write_meta(self, **facts: Any) -> None:
        """Put the `.meta.json` in place."""
        meta = {
            "schema_version": SCHEMA_VERSION,
            "kind": self.kind,
            "state": self.state,
            "run": self.spec["run"],
            "pid": self.pid,
            "command": command_line(self.pid) or self.spec.get("command", []),
            "reason": self.spec.get("reason", ""),
            **({"trigger": self.spec["trigger"]} if self.spec.get("trigger") else {}),
            "started": iso(self.started_at),
            "ended": iso(time.time()),
            "versions": {"guard": self.spec.get("version", ""), "python": self.spec.get("python", "")},
            "host": os.uname().nodename,
            **facts,
        }
        self.write(".meta.json", json.dumps(meta, indent=1, default=str) + "\n")

    def head(self) -> list[tuple[str, str]]:
        """Rows for the head table of a Markdown summary."""
        command = " ".join(command_line(self.pid) or self.spec.get("command", []))
        return [
            ("Run", self.spec["run"]),
            ("Process", f"{self.pid}"),
            ("Command", command[:200]),
            ("State", self.state),
            ("Started", iso(self.started_at)),
        ]


def _open(directory: str, root: str | None, root_id: list[int] | None) -> int:
    """A descriptor of the evidence folder; below `root` no link is followed, and it must be the watcher's own."""
    if root is None or root_id is None:
        return files.open_directory(directory)
    fd = files.open_directory(root)
    try:
        if files.identity(os.fstat(fd)) != root_id:
            raise OSError(errno.ESTALE, f"{root} was replaced or removed")
        return files.open_below(fd, tuple(os.path.relpath(directory, root).split(os.sep)))
    finally:
        os.close(fd)


def command_line(pid: int) -> list[str]:
    """The arguments of a process; empty when it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            data = file.read(16384)
    except OSError:
        return []
    return [word.decode("utf-8", "backslashreplace") for word in data.split(b"\0")[:-1]]
