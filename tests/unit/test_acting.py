"""Actions that can't start."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.acting import Acting
from supervisor.model import Start


@pytest.mark.parametrize(("interval_s", "typed"), [(5.0, "guard run --interval 500ms"), (0.5, "guard profile")])
def test_what_comes_too_late_is_told_what_would_not_have(interval_s: float, typed: str) -> None:
    said: list[dict[str, Any]] = []
    init: Any = SimpleNamespace(poller=None, target=None, frozen=None)
    config: Any = SimpleNamespace(interval=interval_s, ship=None)
    journal: Any = SimpleNamespace(
        store=None, started_s=0.0, command=["app"], emit=lambda *_, **fields: said.append(fields)
    )
    acting = Acting(init, config, journal)
    acting.ending = True
    acting.start(Start("snapshot", "profiling", 7, ""), None)
    assert said[0]["hint"] == f"{typed} -- COMMAND"
