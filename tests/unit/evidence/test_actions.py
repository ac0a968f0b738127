"""Histories: the events of a run, and what they say of its actions."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from supervisor.evidence import Action, Event, actions


def event(at_s: float | None, how: str, action: object = "growth", pid: object = 7, **fields: Any) -> Event:
    return Event(f"action.{how}", "info", at_s, {"action": action, "pid": pid, "state": "warning", **fields})


def told(*history: Event) -> list[tuple[str, int | None, float | None, float | None, str]]:
    return [(each.kind, each.pid, each.began_s, each.ended_s, each.how) for each in actions(history)]


def test_one_that_ends_and_one_that_runs() -> None:
    found = actions([
        event(1, "started", reason="it grows", path="/e/001-warning-growth"),
        event(2, "started", "snapshot", path="/e/002-warning-snapshot"),
        Event("state.changed", "info", 2.5, {"action": "growth", "pid": 7}),
        event(3, "finished", "snapshot", path="/e/002-warning-snapshot.snapshot.json", elapsed_s=1.0),
    ])  # fmt: skip
    assert found == [
        Action("snapshot", 7, "warning", 2, 3, "finished", None, "/e/002-warning-snapshot.snapshot.json", 3),
        Action("growth", 7, "warning", 1, None, "running", "it grows", "/e/001-warning-growth", 0),
    ]


def test_two_processes_and_two_kinds_are_told_apart() -> None:
    begun = event(1, "started"), event(2, "started", pid=8), event(3, "started", "stacks")
    assert told(*begun, event(4, "failed", elapsed_s=3.0)) == [
        ("growth", 7, 1, 4, "failed"),
        ("growth", 8, 2, None, "running"),
        ("stacks", 7, 3, None, "running"),
    ]


def test_one_that_was_never_begun_ends_none_that_runs() -> None:
    """A cooldown keeps a second one out while the first is at work."""
    assert told(event(1, "started"), event(2, "skipped", reason="it waits 300 s")) == [
        ("growth", 7, 2, 2, "skipped"),
        ("growth", 7, 1, None, "running"),
    ]


def test_one_that_came_to_nothing_is_over() -> None:
    assert told(event(1, "started"), event(2, "skipped", reason="the run ended first", elapsed_s=1.0)) == [
        ("growth", 7, 1, 2, "skipped")
    ]


def test_an_end_without_its_start_says_how_long_it_took() -> None:
    """As the tail of a long file begins; what is done at once tells its end only."""
    assert told(event(9, "finished", elapsed_s=4.0), event(9, "finished", "signal"), event(None, "failed")) == [
        ("growth", 7, 5, 9, "finished"),
        ("signal", 7, 9, 9, "finished"),
        ("growth", 7, None, None, "failed"),
    ]


def test_a_start_whose_end_was_never_told_goes_with_the_next() -> None:
    assert told(event(1, "started"), event(5, "started"), event(6, "finished", elapsed_s=1.0)) == [
        ("growth", 7, 5, 6, "finished")
    ]


def test_a_log_that_somebody_made_up() -> None:
    assert told(event(1, "started", ["odd"], {}), event(2, "running"), event(3, "x"), Event("action", "", 4, {})) == [
        ("?", None, 1, None, "running")
    ]


@given(
    st.lists(
        st.builds(
            event,
            st.none() | st.floats(0, 100),
            st.sampled_from(("started", "finished", "failed", "skipped", "running", "")),
            st.sampled_from(("growth", "stacks", None)),
            st.sampled_from((7, 8, None)),
            elapsed_s=st.none() | st.floats(0, 9),
        )
    )
)
def test_each_event_is_in_one_action_at_most_and_what_runs_stands_last(history: list[Event]) -> None:
    found = actions(history)
    assert len({each.place for each in found}) == len(found) <= len(history)
    how = [each.how == "running" for each in found]
    assert how == sorted(how)
    assert all((each.how == "running") == (history[each.place].name == "action.started") for each in found)
