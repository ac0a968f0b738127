"""What earlier runs of a command took, and what of it counts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.budget import Spent
from supervisor.model import Start

BEFORE = [("snapshot", "critical", 940.0), ("stacks", "cpu:80%", 990.0), ("stacks", "cpu:90%", 995.0)]


def spent(journal: Any) -> Spent:
    config: Any = SimpleNamespace(cooldown=60.0, interval=0.5)
    return Spent(config, journal)


def journal_of(*, life: int, crashed: bool) -> tuple[Any, list[Any]]:
    """A run that began at 1000 s since the epoch, 50 s of the monotonic clock; and what it notes."""
    noted: list[Any] = []
    store = SimpleNamespace(spent_before=lambda name, since: list(BEFORE) if (name, since) == ("app", -2600.0) else [],
                            note_spent=lambda name, actions: noted.append((name, list(actions))))  # fmt: skip
    journal = SimpleNamespace(
        command=["/srv/app"], store=store, life=life, crashed_before=crashed, started_at=1000.0, started_s=50.0
    )
    return journal, noted


@pytest.mark.parametrize(("life", "crashed", "counts"), [(2, True, True), (2, False, False), (1, True, False)])
def test_what_a_crash_began_anew_goes_on_with_its_budget_and_cooldowns(life: int, crashed: bool, counts: bool) -> None:
    state = spent(journal_of(life=life, crashed=crashed)[0]).first_state()
    assert state.wait_s <= 0.5
    if not counts:
        assert (state.spent, state.started_s) == ({}, {})
        return
    assert sorted(state.spent.values()) == [1, 2]  # memory has one account, triggers another
    assert state.started_s == {
        ("snapshot", "critical"): -10.0,
        ("stacks", "cpu:80%"): 40.0,
        ("stacks", "cpu:90%"): 45.0,
    }


def test_what_began_is_noted_after_what_earlier_runs_took_and_what_somebody_asked_for_is_not() -> None:
    journal, noted = journal_of(life=2, crashed=True)
    counted = spent(journal)
    counted.add(Start("snapshot", "warning", 7, "", asked=1))
    assert not noted
    counted.add(Start("stacks", "warning", 7, "", trigger="cpu:80%"))
    ((name, actions),) = noted
    assert name == "app" and actions[:3] == BEFORE
    assert [action[:2] for action in actions[3:]] == [("stacks", "cpu:80%")]
