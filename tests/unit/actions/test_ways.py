"""The one table of ways: which is gone, when the next one is, and what is told in the end."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import pytest

from supervisor.actions import ways
from supervisor.actions.task import Pass, Skip, Task, Turn
from supervisor.profilers import engine
from supervisor.profilers.failure import Failure


def task(action: str = "stacks", **spec: Any) -> Task:
    return Task({"action": action, "state": "warning", "pid": os.getpid(), "name": "001", "directory": "", **spec})


def set_ways(monkeypatch: pytest.MonkeyPatch, **functions: Any) -> None:
    """`stacks` of this Python goes by these functions, in turn."""
    table = {"stacks": {engine.PYTHON: tuple(f"stacks.{name}" for name in functions), engine.NODE: ("stacks.of_node",)}}
    monkeypatch.setattr(ways, "WAYS", table)
    module = import_module("supervisor.actions.stacks")
    for name, function in functions.items():
        monkeypatch.setattr(module, name, function, raising=False)


def passing(reason: str, capability: str = "") -> Any:
    def way(_: Task) -> dict[str, Any]:
        raise Pass.of(Failure(reason, f"{reason} said", "do this"), capability)

    return way


@pytest.mark.parametrize("action", sorted(ways.WAYS))
def test_every_way_is_there_and_every_engine_has_one(action: str) -> None:
    engines = set(ways.WAYS[action]) - {ways.OWN}
    assert engines == {engine.PYTHON, engine.NODE, engine.BUN, engine.JAVA, *engine.MACHINE_CODE}
    for names in ways.WAYS[action].values():
        assert names
        for name in names:
            module, _, function = name.partition(".")
            assert callable(getattr(import_module(f"supervisor.actions.{module}"), function))


def test_the_best_way_is_gone_when_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    set_ways(monkeypatch, best=lambda _: {"engine": "best"}, second=passing("never"))
    assert ways.take(task()) == {"engine": "best"}


def test_the_next_way_tells_why_and_what_was_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def second(given: Task) -> dict[str, Any]:
        return {"why": given.why(), "refused": [{"capability": "mine"}]}

    set_ways(monkeypatch, best=passing("no-door", "inspector"), second=second)
    result = ways.take(task())
    assert result["why"] == "no-door: no-door said"
    assert [entry["capability"] for entry in result["refused"]] == ["inspector", "mine"]


def test_without_a_way_the_last_reason_is_the_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    set_ways(monkeypatch, best=passing("first"), second=passing("last"))
    with pytest.raises(Failure) as caught:
        ways.take(task())
    assert caught.value.reason == "last"


def test_of_a_process_that_is_gone_by_now_the_first_trouble_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: Task) -> dict[str, Any]:
        raise FileNotFoundError(2, "gone", "/proc/1/statm")

    set_ways(monkeypatch, best=passing("first"), second=gone)
    with pytest.raises(Failure) as caught:
        ways.take(task())
    assert caught.value.reason == "first"
    set_ways(monkeypatch, best=gone)
    with pytest.raises(FileNotFoundError):
        ways.take(task())


def test_a_failure_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Task) -> dict[str, Any]:
        raise Failure("target-gone", "it is gone", "")

    set_ways(monkeypatch, best=fails, second=lambda _: {"engine": "second"})
    with pytest.raises(Failure, match="target-gone"):
        ways.take(task())


def test_what_is_skipped_is_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    def skips(_: Task) -> dict[str, Any]:
        raise Skip(Failure("not-now", "busy", "later"), "stacks of it", [{"capability": "c"}])

    set_ways(monkeypatch, best=skips, second=lambda _: {"engine": "second"})
    assert ways.take(task()) == {
        "outcome": "skipped", "reason": "not-now", "said": "busy", "hint": "later", "tried": "stacks of it",
        "refused": [{"capability": "c"}],
    }  # fmt: skip


def test_a_turn_goes_by_the_other_process_s_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def turns(_: Task) -> dict[str, Any]:
        raise Turn(7)

    set_ways(monkeypatch, best=passing("first"), second=turns, of_node=lambda given: {"aimed": given.aimed})
    monkeypatch.setattr(ways.engine, "of", lambda pid: engine.NODE if pid == 7 else engine.PYTHON)
    given = task()
    assert ways.take(given) == {"aimed": 7}
    assert given.why() is None


def test_what_profiles_itself_is_only_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("supervisor.actions.own_profile"), "cpu", lambda _: {"engine": "node"})
    assert ways.take(task("cpu-profile", own={"directory": "x"})) == {"engine": "node"}
