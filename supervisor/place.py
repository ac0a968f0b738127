"""A place for the evidence of one `guard profile`: `<profiles>/<environment or critical>/<run id>/`."""

from __future__ import annotations

import fcntl
import os
import time

from supervisor import files, store
from supervisor.config import Config
from supervisor.errors import GuardError


class Place:
    """The folder of a profile's run, made before anything is recorded. `moved`: why it isn't where it was asked.

    Its lock, held until this process ends, keeps retention away.
    Raises GuardError when neither the profiles directory nor the temporary one can be used.
    """

    def __init__(self, config: Config, mode: str, command: list[str]) -> None:
        self.run = store.run_id(command, os.getpid(), time.time())
        self.moved = ""
        self._number = 0
        category = "critical" if mode == "critical" else config.env
        tried = []
        for place in store.places(config.profiles_dir):
            try:
                store.private_parent(place, config.profiles_dir)
                root = files.open_directory(place, create=True)
                try:
                    self.lock_fd = files.open_below(root, (category, self.run), create=True)
                    _lock(self.lock_fd)
                    self.root_id = files.identity(os.fstat(root))
                finally:
                    os.close(root)
            except OSError as error:
                tried.append(f"{place}: {'it is a link' if os.path.islink(place) else os.strerror(error.errno or 0)}")
                continue
            self.root = place
            self.directory = os.path.join(place, category, self.run)
            self.moved = "; ".join(tried)
            return
        raise GuardError(
            "there is no place for evidence", why="; ".join(tried), hint="guard profile --profiles-dir DIR ..."
        )

    def discard(self) -> None:
        """Remove the folder where nothing was left in it."""
        try:
            os.rmdir(self.directory)
        except OSError:
            pass

    def next_name(self, state: str, kind: str) -> str:
        """`NNN-<state>-<kind>`."""
        self._number += 1
        return f"{self._number:03d}-{state}-{kind}"


def _lock(fd: int) -> None:
    """As that of a run's record. Who asks (`store.lock_held`) holds it for a moment, which is waited for."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError:
        pass  # a file system without locks
