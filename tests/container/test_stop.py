"""Ends from outside: the container's stop, its grace period, its kill; /dev/termination-log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.container.engine import Container, Engine

GRACE_S = 10


@pytest.mark.parametrize("options", [[], ["--cap-drop=ALL"], ["--pid=host"]], ids=["", "cap-drop", "pid-host"])
def test_stop_ends_the_target_in_its_own_way_and_in_time(
    start: Callable[..., Container], engine: Engine, options: list[str]
) -> None:
    container = start(options, ["run", "--", "python3", "/programs/graceful.py"])
    assert container.first_line() == "ready"
    began = time.monotonic()
    engine.must("stop", "--time", str(GRACE_S), container.name)
    assert time.monotonic() - began < GRACE_S / 2
    assert container.end() == 5
    assert container.output() == "bye\n"
    assert container.named("run.exited")[0]["outcome"] == "stopped"
    assert container.named("signal.forwarded")[0]["signal"] == "SIGTERM"


def test_a_target_that_ignores_the_stop_is_killed_by_the_engine_and_the_next_run_tells(
    start: Callable[..., Container], engine: Engine, profiles: Path
) -> None:
    volume = ["--volume", f"{profiles}:/profiles"]
    container = start(volume, ["run", "--", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"])
    assert container.first_line() == "ready"
    container.wait_for("run.started")
    engine.must("stop", "--time", "1", container.name)
    assert container.end() == 137
    (path,) = profiles.glob("monitored/*/run.json")
    assert json.loads(path.read_text())["outcome"] is None
    following = start(volume, ["run", "--", "true"])
    assert following.end() == 0
    told = following.named("previous_run.found")[0]
    assert told["run"] == path.parent.name
    assert told["outcome"] == "guard-killed"


@pytest.fixture
def termination_log(tmp_path: Path) -> Path:
    """As the kubelet makes it: an empty file that everybody may write."""
    path = tmp_path / "termination-log"
    path.touch()
    path.chmod(0o666)
    return path


def test_the_end_is_told_in_the_termination_log(start: Callable[..., Container], termination_log: Path) -> None:
    options = ["--volume", f"{termination_log}:/dev/termination-log", "--memory=96m", "--memory-swap=96m"]
    leak = ["python3", "/programs/leak.py", "300", "0.02"]
    assert start(options, ["run", "--interval", "500ms", "--", *leak]).end() == 137
    text = termination_log.read_text()
    assert len(text.encode()) <= 4096
    assert "oom-killed by SIGKILL, code 137" in text
    assert "python3" in text  # the suspect


def test_a_critical_state_is_told_there_before_the_end(
    start: Callable[..., Container], engine: Engine, termination_log: Path
) -> None:
    options = ["--volume", f"{termination_log}:/dev/termination-log"]
    limits = ["--warning", "20", "--critical", "30", "--profiling", "3000", "--interval", "200ms"]
    container = start(options, ["run", *limits, "--", "python3", "/programs/leak.py", "50", "0.01"])
    container.wait_for("state.changed", to="critical")
    container.wait_for("action.finished", state="critical")
    assert "running, critical" in termination_log.read_text()
    engine.must("kill", "--signal", "KILL", container.name)  # nothing can be written now
    assert container.end() == 137
    assert "running, critical" in termination_log.read_text()


@pytest.mark.parametrize("what", ["a read-only file", "a directory"])
def test_a_termination_log_that_cannot_be_written_is_nobodys_trouble(
    start: Callable[..., Container], tmp_path: Path, what: str
) -> None:
    path = tmp_path / "termination-log"
    path.touch() if what == "a read-only file" else path.mkdir()
    container = start(["--volume", f"{path}:/dev/termination-log:ro"], ["run", "--", "sh", "-c", "exit 3"])
    assert container.end() == 3
    troubles = [event["path"] for event in container.named("store.failed")]
    assert troubles == (["/dev/termination-log"] if what == "a read-only file" else [])
