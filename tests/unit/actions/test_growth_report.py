"""What growth attribution says first: the function, or where the memory lies where functions tell less."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from supervisor import record
from supervisor.actions import growth, growth_report, mapped, objects
from supervisor.actions.ledger import Ledger
from supervisor.actions.native_growth import NativeFollower
from supervisor.actions.task import Task
from supervisor.profilers.traps import NoTrap, Trap

MIB = 1 << 20
LIES = {"mapping": "[heap]", "share": 0.98, "bytes": 50 * MIB, "share_of": "growth"}


def task(place: Path, pid: int) -> Task:
    spec = {"action": "growth", "state": "warning", "pid": pid, "name": "001-growth", "run": "r", "seconds": 2.0,
            "directory": str(place), "overhead_budget": 0.5}  # fmt: skip
    return Task(spec)


def ledger(stack: str) -> Ledger:
    found = Ledger(0)
    for number in range(1, 11):
        found.caught(stack, number * MIB)
        found.settle(number * MIB)
    return found


def written(place: Path, stack: str, where: growth_report.Place) -> tuple[dict[str, Any], list[str]]:
    """The result and the paragraphs of the Markdown."""
    course = growth_report.Course("page-fault", [], 0)
    result = growth_report.write(task(place, os.getpid()), ledger(stack), course, where)
    return result, (place / "001-growth.md").read_text().split("\n\n")


def test_the_function_first_and_the_mapping_beside_it(tmp_path: Path) -> None:
    where = growth_report.Place(LIES, ["98 % of the growth is in `[heap]`."])
    result, told = written(tmp_path, "main (app);keep (app)", where)
    assert (result["suspect"]["function"], result["suspect"]["mapping"]) == ("keep", "[heap]")
    assert result["suspect"]["share_of"] == "growth"
    assert told[1] == "`keep` was running for 100 % of the growth." and "98 % of the growth is in `[heap]`." in told


def test_the_mapping_first_where_functions_tell_less(tmp_path: Path) -> None:
    where = growth_report.Place(LIES, ["98 % of the growth is in `[heap]`."], "It was stripped.")
    result, told = written(tmp_path, "app+0x10b0 (app)", where)
    assert result["suspect"] == LIES
    assert told[1:3] == ["98 % of the growth is in `[heap]`.", "It was stripped."]
    assert not any("was running for" in each for each in told)


def test_a_name_of_the_target_is_no_markup(tmp_path: Path) -> None:
    name = "`<img src=x onerror=alert(1)>`"
    _, told = written(tmp_path, f"{name} (x.js:1)", growth_report.Place(None, []))
    assert told[1] == f"`` {name} `` was running for 100 % of the growth."


@pytest.mark.parametrize(
    ("runtime", "leaf", "words"),
    [
        ("", "keep (app)", ""),
        ("", "app+0x10b0 (app)", "stripped of its symbols"),
        ("Ruby", "rb_ary_push (ruby)", "Ruby"),
    ],
)
def test_why_functions_of_machine_code_tell_less(runtime: str, leaf: str, words: str) -> None:
    follower = object.__new__(NativeFollower)
    follower._runtime = runtime
    said = follower.instead(ledger(f"main (app);{leaf}"))
    assert words in said and bool(said) == bool(words)


def test_what_is_held_is_not_said_to_be_growth() -> None:
    suspect = {"pid": 7, "name": "app", **LIES}
    assert "98 % of what it took is in [heap]" in record.suspect_words(suspect)
    assert "98 % of what it held is in [heap]" in record.suspect_words(suspect | {"share_of": "held"})
    assert record.suspect_words(suspect | {"held_by": "keep (a.js:2)"}).endswith("), held by keep (a.js:2)")


SHARES = """
import glob, mmap, os, sys, tempfile, time
with tempfile.TemporaryFile(dir="/dev/shm", prefix="guard-growth-") as file:
    file.truncate(40 << 20)
    shared = mmap.mmap(file.fileno(), 40 << 20)
    print("ready", flush=True)
    while not glob.glob(sys.argv[1] + "/*.md"):  # it is followed
        time.sleep(0.01)
    for at in range(0, 40 << 20, 1 << 20):
        shared[at : at + (1 << 20)] = b"x" * (1 << 20)
    print("full", flush=True)
    sys.stdin.read()
"""


def test_a_python_that_may_not_be_stopped_has_growth_by_mapping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stacks may tell nothing: it isn't seen running when they are read."""

    def refused(_: int) -> tuple[Trap, str, list[dict[str, str]]]:
        return NoTrap(), "running", [{"capability": "ptrace", "reason": "EPERM", "hint": "x"}]

    monkeypatch.setattr(growth, "choose_trap", refused)
    command = [sys.executable, "-c", SHARES, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        try:
            follower = growth.Follower(task(tmp_path, child.pid))
            assert follower.watch is not None
            follower.report(follower.ledger)
            assert child.stdout.readline() == b"full\n"
            follower.last()
            result = follower.report(follower.ledger)
            follower.close()
        finally:
            child.communicate(timeout=30)
    assert (result["engine"], result["enough"], result["refused"][0]["capability"]) == ("mappings", True, "ptrace")
    suspect = result["suspect"]
    assert suspect["mapping"].startswith("/dev/shm/") and suspect["bytes"] == 40 * MIB, suspect
    assert "function" not in suspect and suspect["share_of"] == "growth"


def test_a_conclusion_on_what_is_held_says_so(tmp_path: Path) -> None:
    """It hardly grew while it was followed."""
    watch = mapped.Mapped(task(tmp_path, os.getpid()), frozen=False)
    _, suspect, enough, notes = watch.told()
    assert suspect is not None and suspect["share_of"] == "held" and not enough
    assert notes[0].startswith("Not enough evidence") and notes[1].startswith("It held ")


def test_a_javas_class_is_no_markup() -> None:
    """A class of another language for the JVM may have nearly any name."""
    counted = object.__new__(objects.Objects)
    counted.failure, counted.taken, counted.live, counted.cost_s = None, 2, True, 0.1
    counted._first, counted._last = {}, {"[B": (9, 900 * MIB), "a.`<img>`": (9, 90 * MIB)}
    _, class_, (gained, telling) = counted.facts()
    assert class_ is not None and class_["name"] == "a.`<img>`"
    assert "`` a.`<img>` `` +9 (" in gained and telling.endswith(" is `` a.`<img>` ``.")
