"""Targets that end or are stopped while guard is at work on them, and profilers that break."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.driving import state_of
from tests.integration.stepping import (
    FULL,
    SMALL,
    STEPPER,
    begin,
    grow_until_attributed,
    order,
    own,
    tell,
    tracer_of,
)

pytestmark = pytest.mark.integration

# -- ends and stops ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM, signal.SIGUSR1])
def test_a_target_that_dies_of_a_signal_while_it_is_traced(start: Callable[..., Any], number: signal.Signals) -> None:
    run = begin(start, [*SMALL, "--critical", "3G"])
    pid = run.record["pid"]
    tell(run, "grow 60")
    run.wait_for("action.started", action="growth")
    grow_until_attributed(run)
    os.kill(pid, number)
    assert run.end() == 128 + number
    record = run.record
    assert record["outcome"] == "signalled" and record["signal"] == number.name and record["code"] == 128 + number
    run.wait_for("action.finished", action="growth")
    assert own(run.evidence("*-growth.folded")[0])[0].function == "take_memory"
    assert run.evidence("*-growth.md")


def test_a_target_that_exits_in_mid_profile(start: Callable[..., Any]) -> None:
    """Its code is guard's, at once; what was recorded until then is kept."""
    run = begin(start, [*FULL, "--profile-duration", "60s"])
    tell(run, "spin")
    tell(run, "grow 130")
    run.wait_for("action.started", action="cpu-profile")
    deadline = time.monotonic() + 30
    while not run.evidence("*-cpu-profile.folded") and time.monotonic() < deadline:
        time.sleep(0.01)
    order(run, "exit 7")
    began = time.monotonic()
    assert run.end() == 7
    assert time.monotonic() - began < 10
    assert run.record["outcome"] == "exited" and run.record["code"] == 7
    done = run.wait_for("action.finished", action="cpu-profile")
    assert done["samples"] > 0
    (profile,) = run.evidence("*-cpu-profile.folded")
    assert "spin" in {each.function for each in own(profile)}
    for path in run.evidence("*.json"):
        json.loads(path.read_text())


def test_a_target_that_was_stopped_stays_stopped(start: Callable[..., Any]) -> None:
    """Somebody stopped it before memory was critical: it is read as it stands, and only they continue it."""
    run = begin(start, SMALL)
    pid = run.record["pid"]
    order(run, "grow 100")
    order(run, "stop")
    run.wait_for("state.changed", to="critical")
    run.wait_for("action.finished", action="stacks")
    run.wait_for("action.finished", action="snapshot", state="critical")
    assert state_of(pid) in "Tt"
    (stacks,) = run.evidence("*-critical-stacks.stacks.json")
    document = json.loads(stacks.read_text())
    assert document["nonblocking"] is True and document["threads"]
    os.kill(pid, signal.SIGCONT)
    assert run.process.stdout.readline() == b"grow\n"
    assert run.process.stdout.readline() == b"stop\n"
    run.process.stdin.close()
    assert run.end() == 0
    assert not run.named("target.continued")


def test_nothing_of_the_tree_is_left_stopped(start: Callable[..., Any], tmp_path: Path) -> None:
    """A process that outlives the target, attributed until its end: it runs on, untraced."""
    fifo = tmp_path / "orders"
    os.mkfifo(fifo)
    code = (
        "import subprocess, sys; "
        f"subprocess.Popen([sys.executable, {STEPPER[1]!r}], stdin=open({str(fifo)!r}), start_new_session=True); "
        "sys.stdin.read()"
    )
    run = start([*SMALL, "--no-subreaper"], [sys.executable, "-c", code], stdin=subprocess.PIPE)
    with open(fifo, "w") as orders:
        assert run.process.stdout.readline() == b"ready\n"
        print("grow 60", file=orders, flush=True)
        assert run.process.stdout.readline() == b"grow\n"
        pid = run.wait_for("action.started", action="growth")["pid"]
        assert pid != run.record["pid"]
        for _ in range(600):
            if run.evidence("*-growth.folded"):
                break
            time.sleep(0.05)
            print("grow 1", file=orders, flush=True)
            assert run.process.stdout.readline() == b"grow\n"
        run.process.stdin.close()
        assert run.process.wait(60) == 0  # the survivor holds stderr open
        assert tracer_of(pid) == 0 and state_of(pid) in "RS"
        print("grow 1", file=orders, flush=True)
        assert run.process.stdout.readline() == b"grow\n"
        assert run.evidence("*-growth.md")
    assert run.process.stdout.read() == b""  # it, too, has ended


# -- a broken worker -------------------------------------------------------------------------------------------------


def workers_of(run: Any) -> list[int]:
    """guard's children but for the target."""
    text = Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children").read_text()
    return [int(pid) for pid in text.split() if int(pid) != run.record["pid"]]


def test_a_worker_that_is_killed_in_mid_action(start: Callable[..., Any]) -> None:
    """The kernel lets its threads go; the failure is named, what was on disk stays, the target runs on."""
    run = begin(start, [*SMALL, "--critical", "3G"])
    pid = run.record["pid"]
    tell(run, "grow 60")
    run.wait_for("action.finished", action="snapshot")
    grow_until_attributed(run)
    (worker,) = workers_of(run)
    descriptor = os.pidfd_open(worker)
    os.kill(worker, signal.SIGKILL)
    assert select.select([descriptor], [], [], 20)[0]
    os.close(descriptor)
    failed = run.wait_for("action.failed", action="growth")
    assert failed["reason"] == "worker-killed" and failed["hint"] and "SIGKILL" in failed["said"]
    tell(run, "grow 1")
    assert tracer_of(pid) == 0 and state_of(pid) in "RS"
    assert own(run.evidence("*-growth.folded")[0])[0].function == "take_memory"
    run.process.stdin.close()
    assert run.end() == 0
