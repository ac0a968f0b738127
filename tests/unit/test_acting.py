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


@pytest.mark.parametrize(("reason", "added"), [("ptrace-refused", "SYS_PTRACE"), ("perf-refused", "PERFMON")])
def test_what_is_refused_is_told_once_with_what_to_add(reason: str, added: str) -> None:
    said: list[tuple[str, dict[str, Any]]] = []
    known: set[str] = set()

    def once(what: str) -> bool:
        first = what not in known
        known.add(what)
        return first

    journal: Any = SimpleNamespace(
        store=None,
        started_s=0.0,
        command=["app"],
        once=once,
        emit=lambda _, name, **fields: said.append((name, fields)),
    )
    init: Any = SimpleNamespace(poller=None, target=None, frozen=None)
    acting = Acting(init, SimpleNamespace(interval=5.0, ship=None), journal)  # type: ignore[arg-type]
    for _ in range(2):
        acting._missing_capability(Start("cpu-profile", "profiling", 7, ""), {"reason": reason, "said": "no"})
    ((name, fields),) = said
    assert (name, fields["capability"], fields["add"]) == ("capability.missing", reason.partition("-")[0], added)
