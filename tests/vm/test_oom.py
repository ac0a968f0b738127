"""OOM kills by cgroup v2: of the target, of a worker under a living master, of guard itself, of a neighbour."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.integration.conftest import GUARD
from tests.vm.driving import PATIENCE_S, TARGET, answer, begin, order, tell
from tests.vm.groups import MIB, Group

CALM = ["--no-profiling"]


def sampled(run: Any, after_s: float) -> float:
    """Wait until a sample was taken this long after the start; when it was."""
    (path,) = run.profiles.glob("monitored/*/flight.jsonl")
    deadline = time.monotonic() + PATIENCE_S
    while (taken := float(json.loads(path.read_text().splitlines()[-1])["elapsed_s"])) <= after_s:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return taken


def worker_killed(run: Any) -> int:
    """A worker that was seen in a sample and takes all there is; its pid, once the master has seen its end."""
    word, pid = tell(run, "fork 40").split()
    assert (word, answer(run)) == ("worker", f"grown {pid}")
    sampled(run, sampled(run, 0))
    order(run, "more")
    assert tell(run, "wait") == f"ended {pid} -9"
    return int(pid)


def test_the_targets_oom_kill_is_its_outcome(start: Callable[..., Any], group: Group) -> None:
    group.set("memory.max", 128 * MIB)
    run = begin(start, CALM, group)
    order(run, "grow 400")
    assert run.end(PATIENCE_S) == 137
    exited = run.named("run.exited")[0]
    assert (exited["outcome"], exited["code"], exited["signal"]) == ("oom-killed", 137, "SIGKILL")
    assert run.record["oom_kills"] == group.count("memory.events", "oom_kill") == 1
    assert run.record["cgroup"] == str(group.path)
    assert run.record["peak_bytes"] > 100 * MIB


def test_a_kill_before_the_first_sample_counts(start: Callable[..., Any], group: Group) -> None:
    group.set("memory.max", 96 * MIB)
    # A shell that doubles a variable is at its limit before a watcher is there to see it.
    greedy = ["/bin/sh", "-c", 'a=0123456789; while :; do a="$a$a"; done']
    run = start(CALM, greedy, guard=group.entering(GUARD))
    assert run.end(PATIENCE_S) == 137
    assert run.record["outcome"] == "oom-killed"
    assert run.record["oom_kills"] == 1


def test_a_workers_oom_kill_under_a_living_master_is_detected(start: Callable[..., Any], group: Group) -> None:
    group.set("memory.max", 128 * MIB)
    run = begin(start, CALM, group)
    worker = worker_killed(run)
    detected = run.wait_for("oom.detected", patience_s=PATIENCE_S)
    assert (detected["pid"], detected["oom_kills"], detected["limit_bytes"]) == (worker, 1, 128 * MIB)
    assert detected["rss_bytes"] > 0
    order(run, "exit 3")
    assert run.end(PATIENCE_S) == 3
    assert (run.record["outcome"], run.record["oom_kills"]) == ("exited", 1)


def test_after_a_workers_oom_kill_a_kill_by_hand_is_no_oom_kill(start: Callable[..., Any], group: Group) -> None:
    group.set("memory.max", 128 * MIB)
    run = begin(start, CALM, group)
    worker_killed(run)
    run.wait_for("oom.detected", patience_s=PATIENCE_S)
    seen_s = sampled(run, 0)
    sampled(run, seen_s + 2)
    os.kill(run.wait_for("run.started")["pid"], signal.SIGKILL)
    assert run.end(PATIENCE_S) == 137
    assert (run.record["outcome"], run.record["oom_kills"]) == ("signalled", 1)


def test_a_neighbours_oom_kill_is_not_the_trees(start: Callable[..., Any], group: Group) -> None:
    group.set("memory.max", 256 * MIB)
    ours, theirs = group.child("ours"), group.child("theirs")
    run = begin(start, CALM, ours)
    assert run.wait_for("run.started")["limit_source"] == f"cgroup v2 {group.path}"
    command = theirs.entering(TARGET)
    neighbour = subprocess.run(command, input=b"grow 600\n", stdout=subprocess.DEVNULL, timeout=PATIENCE_S)
    assert neighbour.returncode == -9
    assert group.count("memory.events", "oom_kill") == 1
    pid = run.wait_for("run.started")["pid"]
    os.kill(pid, signal.SIGKILL)
    assert run.end(PATIENCE_S) == 137
    assert run.named("oom.detected") == []
    assert (run.record["outcome"], run.record["oom_kills"]) == ("signalled", 0)


def test_killed_with_its_whole_group_guard_tells_at_the_next_start(start: Callable[..., Any], group: Group) -> None:
    group.set("memory.max", 128 * MIB).set("memory.oom.group", 1)
    run = begin(start, CALM, group)
    assert tell(run, "grow 75") == "grow"
    run.wait_for("state.changed", to="warning", patience_s=PATIENCE_S)
    order(run, "grow 400")
    assert run.process.wait(PATIENCE_S) == -9
    assert group.count("memory.events", "oom_group_kill") == 1
    assert run.record["outcome"] is None

    again = begin(start, ["--profiles-dir", str(run.profiles), *CALM], group)
    found = again.wait_for("previous_run.found", patience_s=PATIENCE_S)
    assert found["outcome"] == "guard-killed"
    assert "OOM killer" in found["reason"]
    assert found["oom_kills"] >= 2  # the target and guard
    assert found["last_limit_bytes"] == 128 * MIB
    assert found["last_use_bytes"] > 75 * MIB
    folder = Path(found["path"])
    record = json.loads((folder / "run.json").read_text())
    assert (record["outcome"], record["cgroup"]) == (None, str(group.path))
    assert record["oom_kills_at_start"] == 0
    flight = [json.loads(line) for line in (folder / "flight.jsonl").read_text().splitlines()]
    assert max(line["rss_bytes"] for line in flight) > 75 * MIB
    events = [json.loads(line)["event"] for line in (folder / "events.jsonl").read_text().splitlines()]
    assert "state.changed" in events
    order(again, "exit 0")
    assert again.end(PATIENCE_S) == 0

    command = [*GUARD, "postmortem", "--json", "--profiles-dir", str(run.profiles), record["run"]]
    done = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_S)
    ended = json.loads(done.stdout)["ended"]
    assert (ended["cause"], ended["outcome"]) == ("oom-kill", "guard-killed"), ended
