"""Limits as they are seen from inside a container."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.container.engine import Container

MIB = 1 << 20


def test_the_containers_limit_is_guards_limit(start: Callable[..., Container]) -> None:
    container = start(["--memory=128m"], ["run", "--", "true"])
    assert container.end() == 0
    started = container.named("run.started")[0]
    assert started["limit_bytes"] == 128 * MIB
    assert started["limit_source"].startswith("cgroup ")


def test_defaults_out_of_reach_move_and_guard_says_so(start: Callable[..., Container]) -> None:
    container = start(["--memory=128m"], ["run", "--", "true"])
    assert container.end() == 0
    moved = {event["setting"]: event for event in container.named("config.adjusted")}
    for name, share in (("warning", "60 %"), ("critical", "75 %"), ("profiling", "87.5 %")):
        assert moved[name]["to"] == share
        assert "limit" in moved[name]["reason"]
    thresholds = container.named("run.started")[0]["thresholds"]
    assert thresholds["profiling"]["bytes"] == 128 * MIB * 875 // 1000


def test_an_explicit_threshold_past_the_limit_is_an_error_that_names_it(start: Callable[..., Container]) -> None:
    container = start(["--memory=128m"], ["run", "--warning", "512", "--", "true"])
    assert container.end() == 2
    assert "134 MB" in container.said()
    assert container.output() == ""


def test_without_a_limit_the_machines_memory_counts(start: Callable[..., Container]) -> None:
    container = start([], ["run", "--", "true"])
    assert container.end() == 0
    assert container.named("run.started")[0]["limit_source"] == "machine"


def test_a_cpu_quota_is_seen(start: Callable[..., Container]) -> None:
    container = start(["--cpus=0.5"], ["config", "--json"])
    assert container.end() == 0, container.said()
    assert json.loads(container.output())["machine"]["cores"] == 0.5


def _oom(event: dict[str, Any]) -> bool:
    return bool(event["event"] == "oom.detected")


def test_the_targets_oom_kill(start: Callable[..., Container], profiles: Any) -> None:
    options = ["--memory=96m", "--memory-swap=96m", "--volume", f"{profiles}:/profiles"]
    container = start(options, ["run", "--interval", "500ms", "--", "python3", "/programs/leak.py", "300", "0.02"])
    assert container.end() == 137
    ended = container.named("run.exited")[0]
    assert (ended["outcome"], ended["code"], ended["signal"]) == ("oom-killed", 137, "SIGKILL")
    (path,) = profiles.glob("monitored/*/run.json")
    record = json.loads(path.read_text())
    assert record["outcome"] == "oom-killed"
    assert record["oom_kills"] == 1
    assert record["peak_bytes"] > 60 * MIB
    assert ended["suspect"]["name"] == "python3"
    # The victim is the target, whichever way it was noticed first.
    assert [event["pid"] for event in container.named("oom.detected")] in ([], [record["pid"]])


def test_a_workers_oom_kill_under_a_master_that_lives_on(
    start: Callable[..., Container], profiles: Any, engine: Any
) -> None:
    options = ["--memory=96m", "--memory-swap=96m", "--volume", f"{profiles}:/profiles"]
    container = start(options, ["run", "--interval", "300ms", "--", "python3", "/programs/master.py", "300"])
    _, worker, code = container.first_line().split()
    assert int(code) == -signal.SIGKILL
    seen = container.wait_for(_oom)
    assert seen["pid"] == int(worker)
    assert seen["name"] == "python3"
    assert seen["oom_kills"] == 1
    assert seen["rss_bytes"] > 30 * MIB
    assert seen["limit_bytes"] == 96 * MIB
    engine.must("stop", container.name)
    assert container.end() == 7  # the master's own
    assert container.named("run.exited")[0]["outcome"] == "stopped"
    assert len(container.named("oom.detected")) == 1


def test_a_kill_that_was_not_the_oom_killers(start: Callable[..., Container], engine: Any) -> None:
    container = start(["--memory=96m"], ["run", "--", "sh", "-c", "echo $$; exec sleep 60"])
    pid = container.first_line()
    engine.must("exec", container.name, "sh", "-c", f"kill -KILL {pid}")
    assert container.end() == 137
    assert container.named("run.exited")[0]["outcome"] == "signalled"
    assert container.named("oom.detected") == []


@pytest.mark.parametrize("options", [["--memory=96m"], ["--memory=96m", "--cap-drop=ALL"]], ids=["", "cap-drop"])
def test_a_neighbour_in_the_container_is_nobodys_fault_in_the_tree(
    start: Callable[..., Container], engine: Any, options: list[str]
) -> None:
    """`podman exec` beside guard: its memory counts against the limit, and no process of the tree is profiled."""
    container = start(options, ["run", "--interval", "200ms", "--", "python3", "/programs/graceful.py"])
    assert container.first_line() == "ready"
    container.wait_for("run.started")
    engine.must("exec", "--detach", container.name, "python3", "/programs/leak.py", "50", "0.01")
    changed = container.wait_for("state.changed", to="warning")
    assert changed["reason"] == "outside-tree"
    assert "guilty_pid" not in changed
    engine.must("stop", container.name)
    assert container.end() == 5
    profiled = [event for event in container.named("action.started") if event["action"] != "snapshot"]
    assert profiled == []
