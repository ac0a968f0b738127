"""The one table of ways: which is gone, when the next one is, and what is told in the end."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import pytest

from supervisor.actions import trying, ways
from supervisor.actions.task import Pass, Skip, Task, Turn
from supervisor.actions.trying import Ways
from supervisor.profilers import engine, recorder
from supervisor.profilers.engine import Facts
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
    monkeypatch.setattr(engine, "look", lambda pid: Facts("/usr/bin/node" if pid == 7 else "/usr/bin/python3"))
    given = task()
    assert ways.take(given) == {"aimed": 7}
    assert given.why() is None


def test_what_profiles_itself_is_only_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("supervisor.actions.own_profile"), "cpu", lambda _: {"engine": "node"})
    assert ways.take(task("cpu-profile", own={"directory": "x"})) == {"engine": "node"}


# -- the CPU profilers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", ways.SAMPLERS.values(), ids=ways.SAMPLERS)
def test_every_sampler_is_an_engine(names: tuple[str, ...]) -> None:
    kinds = [Ways([name], "supervisor.profilers").next() for name in names]
    assert all(issubclass(kind, recorder.Engine) and kind.name for kind in kinds)
    assert set(ways.SAMPLERS) == {engine.PYTHON, *engine.MACHINE_CODE}


@pytest.mark.parametrize(
    ("facts", "options", "names"),
    [
        (Facts("/usr/bin/python3"), {}, ways.SAMPLERS[engine.PYTHON]),
        (Facts("/srv/job", go=True), {}, ways.SAMPLERS[engine.GO]),
        (Facts("/usr/bin/ruby", libraries=("libpython3.11.so.1.0",)), {}, ways.SAMPLERS[engine.RUBY]),
        (Facts("/srv/job"), {}, ways.SAMPLERS[engine.OTHER]),
        (Facts("/srv/job"), {"subprocesses": True}, ways.SAMPLERS[engine.PYTHON]),
        (Facts("", ("/srv/job",), readable=False), {}, ways.SAMPLERS[engine.PYTHON]),
        (Facts("/usr/bin/node"), {}, ways.SAMPLERS[engine.PYTHON]),  # it became one since: py-spy says what it isn't
    ],
)
def test_who_samples_what(
    monkeypatch: pytest.MonkeyPatch, facts: Facts, options: dict[str, bool], names: tuple[str, ...]
) -> None:
    monkeypatch.setattr(engine, "look", lambda pid: facts)
    taken: list[Any] = []
    monkeypatch.setattr(ways, "Samplers", lambda *given: taken.append(given))
    ways.samplers(recorder.Subject(7, recorder.Options(**options)), print)
    assert taken[0][0] == names


class Missing(recorder.Engine):
    name = "perf"

    def __init__(self, subject: recorder.Subject) -> None:
        raise Failure("perf-missing", "no perf on PATH", "install it")


class Unasked(recorder.Engine):
    name = "pprof"

    def __init__(self, subject: recorder.Subject) -> None:
        raise Failure("pprof-missing", "", "")


class Refused(recorder.Engine):
    name = "refused"

    def __init__(self, subject: recorder.Subject) -> None:
        pass


class Large(Refused):
    name = "large"
    needs_bytes = 64 << 20


def samplers(monkeypatch: pytest.MonkeyPatch, *kinds: type[recorder.Engine], room: int | None = None) -> Any:
    for kind in kinds:
        monkeypatch.setattr(recorder, kind.__name__, kind, raising=False)
    told: list[str] = []
    names = [f"recorder.{kind.__name__}" for kind in kinds]
    return trying.Samplers(names, recorder.Subject(os.getpid(), room_bytes=room), told.append), told


def test_one_after_the_other_until_one_gives_something(monkeypatch: pytest.MonkeyPatch) -> None:
    left, told = samplers(monkeypatch, Unasked, Missing, Refused, Large, Missing)
    assert left.next().name == "refused"
    assert left.next(Failure("ptrace-refused", "no", "do")).name == "large"
    assert told == [
        "not by perf: no perf on PATH (perf-missing)", "refused gave nothing (ptrace-refused: no)"
    ]  # fmt: skip
    with pytest.raises(Failure) as caught:  # the last one that isn't about what could be installed
        left.next(Failure("large-failed", "oh", "look"))
    assert (caught.value.reason, caught.value.hint) == ("large-failed", "look")
    assert caught.value.said == "oh; before it ptrace-refused: no"
    assert len(told) == 3  # that the last one gave nothing is what is raised


def test_one_that_is_tried_again_is_told_by_its_last_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    left, told = samplers(monkeypatch, Refused)
    left.next()
    for reason in ("profiler-failed", "not-python"):
        with pytest.raises(Failure) as caught:
            left.next(Failure(reason, "oh", ""))
        assert (caught.value.reason, caught.value.said) == (reason, "oh")
    assert told == []


def test_where_all_are_missing_the_last_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    left, told = samplers(monkeypatch, Unasked, Missing)
    with pytest.raises(Failure, match="perf-missing"):
        left.next()
    assert told == []


def test_one_that_there_is_no_room_for_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    assert samplers(monkeypatch, Large, room=64 << 20)[0].next().name == "large"
    left, told = samplers(monkeypatch, Large, Refused, room=(64 << 20) - 1)
    assert left.next().name == "refused"
    assert told[0].startswith("not by large: 67.1 MB are left") and told[0].endswith("(no-headroom)")


def test_a_java_s_cpu_is_not_profiled_and_that_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "look", lambda pid: Facts("/usr/bin/java", libraries=("libjvm.so",)))
    result = ways.take(task("cpu-profile"))
    assert (result["outcome"], result["reason"]) == ("skipped", "java-unsupported")
    assert "jcmd" in result["hint"]
