"""Signals go to the process that is meant, and to no other that has its pid."""

from __future__ import annotations

import signal
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from supervisor import sample
from supervisor.model import Process
from supervisor.reacting import Reacting
from supervisor.reactions import Reaction


class Journal:
    life, heard, store = 1, None, None

    def __init__(self) -> None:
        self.told: list[str] = []

    def emit(self, level: str, name: str, **fields: Any) -> None:
        self.told.append(name)


@pytest.mark.parametrize("reused", [False, True])
def test_a_watched_process_gets_it_unless_its_pid_is_anothers(reused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen(["sleep", "987654"])
    try:
        init: Any = SimpleNamespace(target=None, status=None)
        config: Any = SimpleNamespace(notify=None)
        journal: Any = Journal()
        if reused:  # whoever was watched had started at another time
            known = sample.read_process

            def earlier(pid: int) -> Process | None:
                found = known(pid)
                return None if found is None else Process(**{**fields(found), "start_ticks": found.start_ticks - 1})

            with monkeypatch.context() as patch:
                patch.setattr(sample, "read_process", earlier)
                reacting = Reacting(init, config, journal, SimpleNamespace(), (child.pid,))  # type: ignore[arg-type]
        else:
            reacting = Reacting(init, config, journal, SimpleNamespace(), (child.pid,))  # type: ignore[arg-type]
        reacting._signal(Reaction("signal", "critical", "it is critical", number=signal.SIGTERM))
        if reused:
            assert child.poll() is None and journal.told == []
        else:
            assert child.wait(30) == -signal.SIGTERM and journal.told == ["action.finished"]
    finally:
        child.kill()
        child.wait()


def fields(process: Process) -> dict[str, Any]:
    return {name: getattr(process, name) for name in Process.__dataclass_fields__}
