"""Control groups (v2) for tests: made, filled, emptied."""

from __future__ import annotations

import os
import time
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
MIB = 1 << 20


class Group:
    """A group below the root, or below another."""

    def __init__(self, name: str, parent: Path = MOUNT) -> None:
        self.path = parent / name
        self.path.mkdir()
        self._children: list[Group] = []

    def set(self, file: str, value: object) -> Group:
        """Write a file such as memory.max."""
        (self.path / file).write_text(str(value))
        return self

    def read(self, file: str) -> str:
        """A file's content."""
        return (self.path / file).read_text().strip()

    def count(self, file: str, name: str) -> int:
        """The number behind a name in a file such as memory.events."""
        return next(int(line.split()[1]) for line in self.read(file).splitlines() if line.split()[0] == name)

    def child(self, name: str) -> Group:
        """A group below this one, which then may hold no process itself."""
        self.set("cgroup.subtree_control", "+memory +cpu")
        self._children.append(Group(name, self.path))
        return self._children[-1]

    def entering(self, command: list[str]) -> list[str]:
        """The command line that runs this command in the group."""
        return ["/bin/sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(self.path), *command]

    def remove(self) -> None:
        """Kill what is in it and below, and remove it."""
        self.set("cgroup.kill", 1)
        for child in self._children:
            child.remove()
        deadline = time.monotonic() + 60
        while True:  # a killed process stays in its group until it is reaped
            try:
                os.rmdir(self.path)
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
