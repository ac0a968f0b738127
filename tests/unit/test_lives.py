"""What lasts over all lives, and the wait between two of them."""

from __future__ import annotations

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import pytest

from supervisor import lives, restart


class Part:
    """One that lasts; `fails`: as long as it gets its turn."""

    def __init__(self, fails: bool = False) -> None:
        self.fails, self.ended = fails, False

    def look(self, now_s: float, ready: Collection[int]) -> float:
        if self.fails:
            raise RuntimeError("made up")
        return float("inf")

    def end(self) -> None:
        self.ended = True
        if self.fails:
            raise RuntimeError("made up")


class Init:
    """A wait of no time, in which every part gets its turn. `stops_after`: so many waits, somebody asks for a stop."""

    def __init__(self, stops_after: int = 1000) -> None:
        self.parts: list[Any] = []
        self.alone = self.stopped_from_outside = False
        self.left = stops_after

    def pump(self, timeout_s: float | None) -> None:
        self.left -= 1
        self.stopped_from_outside |= self.left <= 0
        if not self.alone:
            for part in tuple(self.parts):
                part.look(0.0, ())

    def take_backlog(self) -> list[Any]:
        return []


class Told:
    """A journal."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def emit(self, level: str, name: str, **fields: Any) -> None:
        self.names.append(name)


@pytest.fixture
def lasting() -> Any:
    found = lives.Lives(SimpleNamespace(otlp=None))  # type: ignore[arg-type]
    found.journal = Told()  # type: ignore[assignment]
    return found


def waited(init: Init, lasting: Any, wait_s: float = 0.0, *, for_change: bool = False) -> bool:
    verdict = restart.Verdict(True, "made up", 1, wait_s, for_change=for_change)
    return lives._wait(init, verdict, lasting)  # type: ignore[arg-type]


def test_a_fault_between_two_lives_costs_neither_the_next_one_nor_the_code(lasting: Any) -> None:
    init, parts = Init(), [Part(), Part(fails=True)]
    for part in parts:
        lasting.add(part, init)
    init.left = 10**9
    assert waited(init, lasting, 0.01)
    assert init.parts == lasting.lasting == []
    assert all(part.ended for part in parts)
    assert lasting.journal.names == ["guard.failed"]
    assert not init.alone


def test_a_fault_in_the_wait_itself_leaves_a_bare_wait(lasting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lives._Pause, "look", Part(fails=True).look)
    init = Init(stops_after=5)
    assert not waited(init, lasting, for_change=True)
    assert lasting.journal.names == ["guard.failed"]
    assert not init.alone and init.parts == []


def test_a_stop_comes_before_a_change(lasting: Any) -> None:
    """Both may have come while the last deeds of the life before were done."""
    init = Init()
    init.stopped_from_outside = True
    lasting.reloader = SimpleNamespace(change={"paths": ["app.py"], "count": 1})
    assert not waited(init, lasting)
    init.stopped_from_outside = False
    assert waited(init, lasting, for_change=True)
