"""Bursts: memory that would be full before the timer's next sample. Evidence comes first, and nobody stays stopped."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor import cgroup
from tests.integration.driving import state_of
from tests.integration.stepping import STEPPER, order, own, tell, tracer_of

pytestmark = pytest.mark.integration

MIB = 1 << 20
# Kept 4 MiB at a time, as fast as it goes; beside it a function that computes longer.
BURST = """
import sys, time
kept = []
def compute():
    end = time.process_time() + 0.003
    while time.process_time() < end:
        sum(range(1000))
def keep_pages():
    for _ in range(2):
        kept.append(b"x" * (4 << 20))
sys.stdin.readline()
while len(kept) < 400:
    compute()
    keep_pages()
"""


@pytest.fixture
def limited() -> Iterator[Callable[[int], Callable[[], None]]]:
    """limited(bytes) gives a preexec_fn that puts the child into a v1 memory cgroup of its own with that limit."""
    place = cgroup.find()
    if place.memory_version != 1 or not place.memory or not os.access(place.memory[0], os.W_OK):
        pytest.skip("needs a writable v1 memory cgroup (v2 is tested in tests/vm)")
    made: list[Path] = []

    def make(limit_bytes: int) -> Callable[[], None]:
        group = Path(place.memory[0]) / f"guard-test-{os.getpid()}-{len(made)}"
        group.mkdir()
        made.append(group)
        (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
        return lambda: (group / "cgroup.procs").write_text(str(os.getpid())) and None

    yield make
    for group in made:
        for pid in (group / "cgroup.procs").read_text().split():
            os.kill(int(pid), signal.SIGKILL)  # what a failed test left
        for _ in range(500):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.01)


def start_burst(start: Callable[..., Any], enter: Callable[[], None], *options: str) -> Any:
    command = [sys.executable, "-c", BURST]
    run = start(["--env", "production", *options], command, stdin=subprocess.PIPE, preexec_fn=enter)
    run.wait_for("run.started")
    return run


def test_a_burst_leaves_who_took_the_memory(start: Callable[..., Any], limited: Callable[..., Any]) -> None:
    run = start_burst(start, limited(512 * MIB))
    order(run, "go")
    assert run.end() == 137, run.noise
    assert run.record["outcome"] == "oom-killed", "\n".join(run.noise)
    assert own(run.evidence("*-growth.folded")[0])[0].function == "keep_pages"
    assert run.record["suspect"]["function"] == "keep_pages"
    for event in run.named("target.thawed"):
        assert event["elapsed_s"] < 1.0
    assert run.named("target.frozen")
    (frame,) = run.evidence("*-growth.stacks.json")
    document = json.loads(frame.read_text())
    assert document["frozen"] is True and document["mappings"][0]["kind"] == "anonymous"


def test_what_is_not_python_is_let_go_at_once(start: Callable[..., Any], limited: Callable[..., Any]) -> None:
    """Where its memory lies is told and named; py-spy isn't asked at all."""
    if shutil.which("perl") is None:
        pytest.skip("needs perl")
    code = "$_ = <STDIN>; push @kept, 'x' x 4000000 while @kept < 400;"
    enter = limited(512 * MIB)
    run = start(["--env", "production"], ["perl", "-e", code], stdin=subprocess.PIPE, preexec_fn=enter)
    run.wait_for("run.started")
    order(run, "go")
    assert run.end() == 137, run.noise
    done = run.wait_for("action.finished", action="growth")
    assert done["enough"] and done["suspect"]["mapping"] in ("anonymous", "[heap]"), done
    assert run.record["suspect"]["mapping"] == done["suspect"]["mapping"]
    assert json.loads(run.evidence("*-growth.stacks.json")[0].read_text())["mappings"]


def test_guard_killed_while_the_target_is_frozen(start: Callable[..., Any], limited: Callable[..., Any]) -> None:
    """The worker that was to read it continues it."""
    run = start_burst(start, limited(512 * MIB))
    pid = run.record["pid"]
    end = os.pidfd_open(pid)
    order(run, "go")
    run.wait_for("target.frozen")
    run.process.kill()
    run.process.wait()
    # It goes on: to its kill by the kernel, as it would have without guard.
    assert select.select([end], [], [], 30)[0], (state_of(pid), run.events[-6:])
    os.close(end)


def test_a_process_that_others_stopped_is_left_alone(start: Callable[..., Any], limited: Callable[..., Any]) -> None:
    run = start(["--env", "production"], STEPPER, stdin=subprocess.PIPE, preexec_fn=limited(256 * MIB))
    assert run.process.stdout.readline() == b"ready\n"
    run.wait_for("run.started")
    pid = run.record["pid"]
    order(run, "grow 215")
    order(run, "stop")
    run.wait_for("state.changed", to="profiling")
    run.wait_for("action.finished", action="snapshot", state="profiling")
    for event in run.named("target.frozen"):
        run.wait_for("target.thawed", pid=event["pid"])
    deadline = time.monotonic() + 30
    while tracer_of(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    if not run.named("target.frozen"):  # the stop came first: then it is theirs alone
        assert state_of(pid) in "Tt"
    os.kill(pid, signal.SIGCONT)
    assert run.process.stdout.readline() == b"grow\n"
    assert run.process.stdout.readline() == b"stop\n"
    tell(run, "grow 1")
    run.process.stdin.close()
    assert run.end() == 0


def test_processor_time_wakes_guard_and_idling_does_not(start: Callable[..., Any], tmp_path: Path) -> None:
    """In a limit the timer would be blind for a burst; an idle target still costs one wake-up an interval at most."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    run = start(["--interval", "1s", "--no-profiling"], ["sleep", "60"])
    run.wait_for("run.started")
    trace = tmp_path / "trace"
    tracer = subprocess.Popen(
        ["strace", "-f", "-ttt", "-e", "trace=poll,ppoll", "-o", str(trace), "-p", str(run.process.pid)],
        stderr=subprocess.PIPE,
    )
    assert tracer.stderr is not None
    assert b"attached" in tracer.stderr.readline()
    time.sleep(6)  # what is counted is wake-ups in a time
    tracer.send_signal(signal.SIGINT)
    tracer.stderr.close()
    tracer.wait(10)
    waits = [line for line in trace.read_text().splitlines() if re.search(r"p?poll\(.*\) += ", line)]
    # Of each wait two calls are allowed: the one that sleeps and one that asks without waiting.
    slept = [line for line in waits if not re.search(r"(, 0\)|tv_nsec=0\}.*, NULL, 0\)) +=", line)]
    assert len(slept) <= 8, slept
    run.process.send_signal(signal.SIGTERM)
    run.end()
