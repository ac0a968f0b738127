"""Faults of guard's own while it watches: told, tried again after a moment, and never the target's trouble."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import ROOT, Run
from tests.integration.driving import children_of, gone, until

pytestmark = pytest.mark.integration
# guard with a watcher whose samples fail, so many times.
FAULTY = f"""
import sys
sys.path[:0] = {[str(ROOT), *[path for path in sys.path if path]]!r}
from supervisor import loop
left = int(sys.argv.pop(1))
step = loop.Watch.step
def failing(self):
    global left
    if left:
        left -= 1
        raise RuntimeError("made up")
    return step(self)
loop.Watch.step = failing
from supervisor import boot
boot.main(())
"""
# What fails is one of the parts that get their turn around every wait, and it never passes.
FAULTY_PART = FAULTY.replace("step(self)", "look(self, now_s, ready)").replace("(self):", "(self, now_s, ready):")
FAULTY_PART = FAULTY_PART.replace("loop.Watch.step", "loop.Serving.look")
# What fails is the reading of the tree, also at the end.
FAULTY_TREE = FAULTY.replace("step(self)", "below_guard(self, excluded, now_s)")
FAULTY_TREE = FAULTY_TREE.replace("(self):", "(self, excluded, now_s):")
FAULTY_TREE = FAULTY_TREE.replace("loop.Watch.step", "ProcTree.below_guard")
FAULTY_TREE = FAULTY_TREE.replace("import loop\n", "import loop\nfrom supervisor.proc_tree import ProcTree\n")
ANSWERS = 'trap "echo usr1" USR1; trap "exit 7" TERM; echo ready; while :; do sleep 0.05; done'


@pytest.fixture
def faulty(start: Callable[..., Run]) -> Iterator[Callable[..., Run]]:
    """A guard that fails so many times, with a target that answers signals and has said that it is ready."""

    def begin(times: int, *options: str, program: str = FAULTY) -> Run:
        line = [sys.executable, "-IS", "-c", program, str(times)]
        run = start(["--interval", "200ms", *options], ["sh", "-c", ANSWERS], guard=line, stdout=subprocess.PIPE)
        assert run.process.stdout is not None and run.process.stdout.readline() == b"ready\n"
        return run

    yield begin


def moment(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["timestamp"]).timestamp()


def failure(run: Run, number: int) -> dict[str, Any]:
    """The event of a fault, counted from 1."""
    return run.wait_for(lambda event: event in run.named("guard.failed")[number - 1 : number])


def test_it_waits_between_tries_and_then_watches(faulty: Callable[..., Run]) -> None:
    run = faulty(2)
    first, second = failure(run, 1), failure(run, 2)
    assert first["goes_on"] and second["goes_on"]
    assert moment(second) - moment(first) >= 0.1
    assert run.process.stdout is not None
    run.process.send_signal(signal.SIGUSR1)  # in the second rest, or after it: the target has it in any case
    assert run.process.stdout.readline() == b"usr1\n"
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 7, run.said()
    assert run.record["outcome"] == "stopped"
    assert len(run.named("guard.failed")) == 2


def test_a_signal_is_forwarded_while_it_waits(faulty: Callable[..., Run]) -> None:
    run = faulty(3)
    second = failure(run, 2)
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 7, run.said()
    assert run.record["code"] == 7
    third = run.named("guard.failed")[2:]
    assert not third or moment(third[0]) - moment(second) >= 1.0  # only on a machine that was away for a second


def test_when_it_does_not_pass_guard_is_an_init(faulty: Callable[..., Run]) -> None:
    run = faulty(3)
    third = failure(run, 3)
    assert not third["goes_on"]
    assert moment(third) - moment(failure(run, 2)) >= 1.0
    run.process.send_signal(signal.SIGUSR1)
    assert run.process.stdout is not None and run.process.stdout.readline() == b"usr1\n"
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 7, run.said()
    assert run.record["code"] == 7 and "guard: a fault" not in run.said(), run.said()


def test_nobody_wakes_an_init_for_figures(faulty: Callable[..., Run]) -> None:
    """The process that shows them ends: what it says, or its death, would make every poll return at once."""
    run = faulty(3, "--metrics-port", "0")
    failure(run, 1)
    lines = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children_of(run.process.pid)}
    (shows,) = [pid for pid, line in lines.items() if b"metrics.exporter" in line]
    assert not failure(run, 3)["goes_on"]
    until(lambda: gone(shows), "it shows figures that nobody counts")
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 7, run.said()
    assert run.record["code"] == 7


@pytest.mark.parametrize("program", [FAULTY_PART, FAULTY_TREE], ids=["part", "tree"])
def test_a_fault_that_lasts_costs_no_end_record(faulty: Callable[..., Run], program: str) -> None:
    run = faulty(1000, program=program)
    assert [failure(run, number)["goes_on"] for number in (1, 2, 3)] == [True, True, False]
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 7, run.said()
    assert run.record["code"] == 7 and "guard: a fault" not in run.said(), run.said()
