"""A tool that isn't guard's: found on PATH, run bounded in time, its failure given a name."""

from __future__ import annotations

import os
import shutil

from supervisor.profilers import runner
from supervisor.profilers.failure import Failure, gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    # Words of which one is in what it said, what that means, and what to type then.
    Rule = tuple[tuple[str, ...], str, Callable[[], str]]

_MOST_SAID = 300
_NOT_FOUND = 127  # of a shell: a wrapper that doesn't find what it wraps


class Tool:
    """One by its `name`; all it fails with is `NAME-missing`, `-hung`, `-failed`, `target-gone` or what a rule says.

    `absent`: what its absence means; `install`: what to type then; `hint`: what to type to see a failure of it oneself;
    `gone`: words of a process that ended. `homes`: where it may be below the home of the user, beside PATH.
    """

    def __init__(
        self,
        name: str,
        absent: str,
        install: str,
        hint: Callable[[int], str],
        *,
        gone: tuple[str, ...] = (),
        rules: tuple[Rule, ...] = (),
        homes: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.install = install
        self._absent = absent
        self._hint = hint
        self._gone = gone
        self._rules = rules
        self._homes = homes

    def find(self) -> str:
        """Its path. Raises Failure."""
        home = os.environ.get("HOME", "/")
        for folder in (None, *(os.path.join(home, each) for each in self._homes)):
            found = shutil.which(self.name, path=folder)
            if found is not None:
                return found
        raise self._missing(self._absent)

    def run(self, argv: list[str], deadline_s: float, **more: Any) -> runner.Completed:
        """As `runner.run`, which has the rest of the arguments. Raises Failure."""
        try:
            return runner.run(argv, deadline_s, **more)
        except (FileNotFoundError, PermissionError) as error:
            raise self._missing(f"{argv[0]}: {error.strerror}") from error
        except OSError as error:
            raise Failure(f"{self.name}-failed", f"{argv[0]}: {error.strerror}", f"{self.name} --version") from error

    def explain(self, said: str, code: int, *, hung: bool, pid: int) -> Failure:
        """What a run that failed means, by its last words; its exit code seldom tells."""
        said, hint = said[:_MOST_SAID], self._hint(pid)
        low = said.lower()
        if hung:
            return Failure(f"{self.name}-hung", said or "no end before the deadline", hint)
        if not os.path.isdir(f"/proc/{pid}") or any(words in low for words in self._gone):
            return gone(pid, said)
        for telling, reason, remedy in self._rules:
            if any(words in low for words in telling):
                return Failure(reason, said, remedy())
        if code == _NOT_FOUND:
            return self._missing(said or f"exit code {code}")
        return Failure(f"{self.name}-failed", said or (f"exit code {code}" if code else "it gave nothing"), hint)

    def _missing(self, said: str) -> Failure:
        return Failure(f"{self.name}-missing", said, self.install)
