"""The tree read by psutil, for systems without a Linux /proc."""

from __future__ import annotations

from collections.abc import Iterable

import psutil

from supervisor.model import Process


class PsutilTree:
    """The same by psutil, for systems without a Linux /proc."""

    def __init__(self) -> None:
        self.missing: dict[str, str] = {}

    def close(self) -> None:
        """Nothing is kept."""

    def below_guard(self, excluded: Iterable[int], now_s: float) -> list[Process]:
        """As ProcTree.below_guard."""
        self.missing = {}
        try:
            children = [child.pid for child in psutil.Process().children()]
        except Exception as error:  # psutil.Error; without /proc also its own assertions and what open(2) says
            self.missing["/proc"] = str(error) or type(error).__name__
            return []
        return self.read(children, excluded, now_s)

    def read(self, roots: Iterable[int], excluded: Iterable[int], now_s: float) -> list[Process]:
        """As ProcTree.read."""
        self.missing = {}
        skip = set(excluded)
        found: dict[int, Process] = {}
        for root in roots:
            if root in skip:
                continue
            try:
                process = psutil.Process(root)
                members = [process, *process.children(recursive=True)]
            except psutil.Error:
                continue
            for member in members:
                try:
                    with member.oneshot():
                        found[member.pid] = Process(
                            member.pid,
                            member.ppid(),
                            int(member.create_time() * 100),
                            member.name(),
                            member.status()[:1].upper(),
                            member.memory_info().rss,
                            member.num_threads(),
                        )
                except psutil.NoSuchProcess:
                    continue
                except psutil.Error as error:
                    self.missing[f"process {member.pid}"] = str(error)
        return list(found.values())
