"""What of a CPU profile is guard's own work in the target; whom it turns to."""

from __future__ import annotations

import os
from typing import Any

import pytest

from supervisor.actions import aiming, cpu
from supervisor.actions.cpu import is_guards
from supervisor.actions.task import Task, Turn
from supervisor.profilers import engine, interpreter, matters
from supervisor.profilers.matters import Candidate

START = "<module> (/opt/guard/supervisor/agent/sitecustomize.py:29)"
SITE = "main (<frozen site>:600);execsitecustomize (<frozen site>:577)"
IMPORT = "_find_and_load (<frozen importlib._bootstrap>:1176)"


@pytest.mark.parametrize(
    ("stack", "own"),
    [
        ("<module> (app.py:1);work (app.py:2)", False),
        (f"{SITE};{IMPORT};{START}", True),
        (f"{SITE};{IMPORT};{START};{IMPORT}", True),
        (f"{SITE};{IMPORT};{START};{IMPORT};arm (/opt/guard/supervisor/agent/_guard_agent.py:40)", True),
        ("run (threading.py:1);serve (/opt/guard/supervisor/agent/_guard_agent.py:99);count (x.py:1)", True),
        (f"{SITE};{IMPORT};{START};{IMPORT};<module> (/srv/app/sitecustomize.py:3)", False),
        ("<module> (/srv/app/sitecustomize.py:3)", False),
    ],
)
def test_guards_own_is_told_from_the_target_s(stack: str, own: bool) -> None:
    assert is_guards(stack) is own


SHELL = Candidate(os.getpid(), engine.OTHER, launches=True)


def patient(**spec: Any) -> Task:
    given = {"action": "cpu-profile", "state": "", "pid": os.getpid(), "name": "1", "directory": "", "patient": True}
    return Task({**given, "duration": 60, **spec})


@pytest.fixture
def tree(monkeypatch: pytest.MonkeyPatch) -> list[Candidate]:
    """What a shell that is this process has started, for a test to say."""
    found = [SHELL]
    monkeypatch.setattr(interpreter, "look", lambda pid: None)
    monkeypatch.setattr(matters, "look", lambda tree, pid: found)
    monkeypatch.setattr(cpu, "_samples_machine_code", lambda: True)
    return found


def test_before_the_first_slice_who_is_started_is_turned_to(tree: list[Candidate]) -> None:
    task = patient()
    first = cpu.Recording(task)
    assert not first._find() and first.failure is not None and first.failure.reason == "not-python"
    tree.append(Candidate(7, engine.GO))
    with pytest.raises(Turn) as turn:
        first._find()
    task.aimed = turn.value.pid
    second = cpu.Recording(task)
    assert second._find() and (second._pid, second._native) == (7, True)
    assert second._until_s == first._until_s  # it isn't prolonged


def test_after_the_first_slice_the_next_one_belongs_to_the_same_profile(tree: list[Candidate]) -> None:
    tree.append(Candidate(7, engine.PYTHON))
    task = patient()
    task.aimed = 7
    recording = cpu.Recording(task)
    assert recording._find() and recording._pid == 7
    recording.tally.pieces = 1
    recording.slices.add({"main (a.py:1)": 3}, 50, 1.0)
    tree[1] = Candidate(8, engine.PYTHON)
    assert recording._find() and recording._pid == 8
    tree[1] = Candidate(9, engine.NODE)
    assert not recording._find()


def test_a_node_is_turned_to_where_it_may_be_asked(tree: list[Candidate]) -> None:
    node = [SHELL, Candidate(9, engine.NODE)]
    with pytest.raises(Turn):
        aiming.who(patient(), node)
    assert aiming.who(patient(node_inspector=False), node) is None
    assert aiming.who(patient(), node, begun=True) is None
    assert aiming.who(patient(), tree) is None and aiming.who(patient(), [Candidate(7, engine.PYTHON)]) is not None
