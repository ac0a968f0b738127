"""Limits of cgroup v2: which one binds, what it does to thresholds, and what happens when it changes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from supervisor.doctor import checks, tryout
from supervisor.sample import read_process
from tests.integration.conftest import GUARD
from tests.vm.driving import PATIENCE_S, TARGET, begin, order, snapshot, tell
from tests.vm.groups import MIB, Group

PRODUCTION = ["--env", "production"]


def asked(group: Group, *arguments: str) -> Any:
    """What a command of guard's prints in the group, as JSON."""
    command = group.entering([*GUARD, *arguments, "--json"])
    done = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def bound(changed: dict[str, Any]) -> tuple[int, int]:
    """Limit and threshold of a change of state."""
    return changed["limit_bytes"], changed["threshold_bytes"]


def test_memory_max_is_the_limit_and_a_snapshot_holds_the_groups_figures(
    start: Callable[..., Any], group: Group
) -> None:
    group.set("memory.max", 256 * MIB)
    run = begin(start, PRODUCTION, group)
    started = run.wait_for("run.started")
    assert started["limit_bytes"] == 256 * MIB
    assert started["limit_source"] == f"cgroup v2 {group.path}"
    moved = {event["setting"]: event["to"] for event in run.named("config.adjusted")}
    assert (moved["warning"], moved["critical"], moved["profiling"]) == ("60 %", "75 %", "87.5 %")
    assert "sampling-interval" not in moved  # four cores and no quota
    assert [level["bytes"] for level in started["thresholds"].values()] == [161061273, 192 * MIB, 224 * MIB]
    assert {level["metric"] for level in started["thresholds"].values()} == {"cgroup"}
    assert tell(run, "grow 165") == "grow"
    changed = run.wait_for("state.changed", to="warning", patience_s=PATIENCE_S)
    assert changed["metric"] == "cgroup"
    assert changed["use_bytes"] >= changed["threshold_bytes"] == 161061273

    document = json.loads(snapshot(run, "warning").read_text())
    inside = document["cgroup"]
    assert (inside["directory"], inside["version"], inside["limit_bytes"]) == (str(group.path), 2, 256 * MIB)
    assert inside["stat"]["anon"] > 165 * MIB
    assert inside["oom_kills"] == 0
    pressure = document["pressure"]
    assert pressure["of"] == "cgroup"
    assert [line.split()[0] for line in pressure["memory"]] == ["some", "full"]
    assert abs(document["reconciled"]["tree_pss_bytes"] - inside["use_bytes"]) < 64 * MIB
    order(run, "exit 7")
    assert run.end(PATIENCE_S) == 7


@pytest.mark.parametrize(("outer", "inner", "binds"), [(192, 512, "outer"), (512, 192, "inner")])
def test_the_tightest_limit_on_the_way_up_binds(
    start: Callable[..., Any], group: Group, outer: int, inner: int, binds: str
) -> None:
    group.set("memory.max", outer * MIB)
    below = group.child("middle").child("below").set("memory.max", inner * MIB)
    run = begin(start, ["--warning", "50%", "--critical", "80%", "--no-profiling"], below)
    started = run.wait_for("run.started")
    assert started["limit_bytes"] == 192 * MIB
    assert started["limit_source"] == f"cgroup v2 {group.path if binds == 'outer' else below.path}"
    assert tell(run, "grow 100") == "grow"
    assert bound(run.wait_for("state.changed", to="warning", patience_s=PATIENCE_S)) == (192 * MIB, 96 * MIB)


def test_a_neighbours_use_under_a_shared_limit_can_bind(start: Callable[..., Any], group: Group) -> None:
    group.set("memory.max", 400 * MIB)
    ours, theirs = group.child("ours").set("memory.max", 250 * MIB), group.child("theirs")
    run = begin(start, ["--warning", "70%", "--critical", "90%", "--profiling", "95%", "--no-profiling"], ours)
    assert run.wait_for("run.started")["limit_bytes"] == 250 * MIB
    with subprocess.Popen(theirs.entering(TARGET), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as neighbour:
        assert neighbour.stdin is not None
        neighbour.stdin.write(b"grow 320\n")
        neighbour.stdin.flush()
        changed = run.wait_for("state.changed", to="warning", patience_s=PATIENCE_S)
        neighbour.kill()
    assert bound(changed) == (400 * MIB, 280 * MIB)
    assert changed["reason"] == "outside-tree"
    assert run.named("limit.changed")[0]["to_bytes"] == 400 * MIB


def test_a_limit_that_changes_is_followed(start: Callable[..., Any], group: Group) -> None:
    group.set("memory.max", 600 * MIB)
    run = begin(start, ["--warning", "50%", "--critical", "85%", "--profiling", "95%", "--no-profiling"], group)
    assert tell(run, "grow 120") == "grow"
    group.set("memory.max", 220 * MIB)
    followed = run.wait_for("limit.changed", to_bytes=220 * MIB, patience_s=PATIENCE_S)
    assert (followed["from_bytes"], followed["unreachable"]) == (600 * MIB, [])
    assert followed["thresholds"]["warning"]["bytes"] == 110 * MIB
    changed = run.wait_for("state.changed", to="warning", patience_s=PATIENCE_S)
    assert bound(changed) == (220 * MIB, 110 * MIB)
    group.set("memory.max", 600 * MIB)
    run.wait_for("limit.changed", to_bytes=600 * MIB, patience_s=PATIENCE_S)
    run.wait_for("state.changed", to="ok", patience_s=PATIENCE_S)


def test_a_limit_set_under_way_moves_defaults_and_tells_what_it_makes_unreachable(
    start: Callable[..., Any], group: Group
) -> None:
    run = begin(start, ["--env", "development", "--profiling", "500", "--no-profiling"], group)
    assert run.wait_for("run.started")["limit_source"] == "machine"
    group.set("memory.max", 240 * MIB)
    followed = run.wait_for("limit.changed", to_bytes=240 * MIB, patience_s=PATIENCE_S)
    assert [level["bytes"] for level in followed["thresholds"].values()] == [144 * MIB, 180 * MIB, 500_000_000]
    assert (followed["unreachable"], followed["level"]) == (["profiling"], "warning")
    assert tell(run, "grow 150") == "grow"
    changed = run.wait_for("state.changed", to="warning", patience_s=PATIENCE_S)
    assert bound(changed) == (240 * MIB, 144 * MIB)


def test_beyond_memory_high_the_target_crawls_and_guard_tells(start: Callable[..., Any], group: Group) -> None:
    group.set("memory.max", 512 * MIB).set("memory.high", 192 * MIB)
    run = begin(start, [*PRODUCTION, "--profile-duration", "1s"], group)
    moved = [event["reason"] for event in run.named("config.adjusted") if event["setting"] == "warning"]
    assert moved and "memory.high" in moved[0]
    started = run.wait_for("run.started")
    assert started["limit_bytes"] == 512 * MIB
    assert started["thresholds"]["profiling"]["bytes"] == 168 * MIB
    order(run, "grow 400")  # far beyond: without swap it stands nearly still
    throttled = run.wait_for("memory.throttled", patience_s=PATIENCE_S)
    assert throttled["high_bytes"] == 192 * MIB
    assert throttled["directory"] == str(group.path)
    run.wait_for("state.changed", to="profiling", patience_s=PATIENCE_S)
    assert group.count("memory.events", "high") > 0
    assert group.count("memory.events", "oom_kill") == 0
    run.process.terminate()
    assert run.end(PATIENCE_S) == 143
    assert run.record["outcome"] == "stopped"


def test_a_cpu_quota_below_four_cores_doubles_the_sampling_interval(group: Group) -> None:
    within = group.set("cpu.max", "150000 100000").child("within")  # a quota above counts, too
    shown = asked(within, "config", *PRODUCTION)
    assert shown["machine"]["cores"] == 1.5
    assert shown["settings"]["sampling-interval"]["value"] == 0.004
    (change,) = (one for one in shown["adjusted"] if one["setting"] == "sampling-interval")
    assert "1.5 cores" in change["reason"]


def test_the_doctor_finds_what_the_group_has(group: Group) -> None:
    group.set("memory.max", 400 * MIB).set("cpu.max", "400000 100000")
    found = {finding["name"]: finding for finding in asked(group, "doctor")["capabilities"]}
    for name in ("memory limit", "memory in use", "OOM kill counter", "memory pressure", "cores", "stacks", "Yama"):
        assert found[name]["status"] == "works", found[name]
    assert str(group.path) in found["memory limit"]["detail"]
    assert found["OOM kill counter"]["detail"] == "0 so far"
    assert found["memory pressure"]["detail"] == "of the cgroup"
    assert found["cores"]["detail"] == "4 cores"


def test_in_the_root_group_the_doctor_asks_for_nothing() -> None:
    scene = tryout.Scene(os.getpid(), read_process(os.getpid()), "self", "")
    for check in (checks.limit, checks.usage, checks.oom_count):
        assert check(scene).status == tryout.ABSENT, check.__doc__
    assert checks.pressure(scene).status == tryout.WORKS
