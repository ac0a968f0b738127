"""A read-only root, with one place to write, or with none."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.container.engine import Container

READ_ONLY = ["--read-only", "--read-only-tmpfs=false"]
LIMITS = ["--warning", "20", "--critical", "30", "--profiling", "3000", "--interval", "200ms"]
LEAK = ["python3", "/programs/leak.py", "50", "0.01"]


def test_one_volume_takes_all_evidence(start: Callable[..., Container], profiles: Path) -> None:
    container = start([*READ_ONLY, "--volume", f"{profiles}:/profiles"], ["run", *LIMITS, "--", *LEAK])
    finished = container.wait_for("action.finished", action="stacks", state="critical")
    assert container.engine("kill", "--signal", "USR1", container.name).returncode == 0
    assert container.end() == 0
    assert container.named("run.started")[0]["evidence"].startswith("/profiles/monitored/")
    stacks = profiles / Path(finished["path"]).relative_to("/profiles")
    assert "/programs/leak.py" in stacks.read_text()
    assert stacks.stat().st_mode & 0o777 == 0o600
    (record,) = profiles.glob("monitored/*/run.json")
    assert json.loads(record.read_text())["outcome"] == "exited"
    assert [event for event in container.named("config.adjusted") if event["setting"] == "profiles-dir"] == []
    assert container.named("store.failed") == []


def test_a_volume_that_is_memory_takes_a_share_of_the_limit(start: Callable[..., Container]) -> None:
    options = [*READ_ONLY, "--tmpfs", "/profiles:mode=0777", "--memory=256m"]
    container = start(options, ["run", "--warning", "20", "--critical", "30", "--interval", "200ms", "--", *LEAK])
    finished = container.wait_for("action.finished", action="stacks", state="critical")
    assert finished["path"].startswith("/profiles/")
    container.engine("kill", "--signal", "USR1", container.name)
    assert container.end() == 0


def test_the_temporary_directory_is_the_next_place(start: Callable[..., Container]) -> None:
    container = start([*READ_ONLY, "--tmpfs", "/tmp"], ["run", "--", "true"])
    assert container.end() == 0
    (moved,) = [event for event in container.named("config.adjusted") if event["setting"] == "profiles-dir"]
    assert (moved["from"], moved["to"]) == ("/profiles", "/tmp/guard-10001/profiles")
    assert "Read-only file system" in moved["reason"]
    assert container.named("run.started")[0]["evidence"].startswith("/tmp/guard-10001/profiles/monitored/")


def test_without_any_place_there_is_the_log(start: Callable[..., Container]) -> None:
    container = start(READ_ONLY, ["run", *LIMITS, "--", *LEAK])
    container.wait_for("state.changed", to="critical")
    skipped = container.wait_for("action.skipped", action="stacks")
    assert "log only" in skipped["reason"]
    container.engine("kill", "--signal", "USR1", container.name)
    assert container.end() == 0
    moved = [event for event in container.named("config.adjusted") if event["setting"] == "profiles-dir"]
    assert [event["from"] for event in moved] == ["/profiles", "/tmp/guard-10001/profiles"]
    assert {event["to"] for event in moved} == {"log only"}
    assert container.named("run.started")[0]["evidence"] is None
    ended = container.named("run.exited")[0]
    assert ended["outcome"] == "exited"
    assert ended["suspect"]["name"] == "python3"


def test_another_users_volume_is_no_place(start: Callable[..., Container], profiles: Path) -> None:
    os.chown(profiles, 0, 0)
    container = start(["--volume", f"{profiles}:/profiles"], ["run", "--", "true"])
    assert container.end() == 0
    (moved,) = [event for event in container.named("config.adjusted") if event["setting"] == "profiles-dir"]
    assert "Permission denied" in moved["reason"]
    assert moved["to"] == "/tmp/guard-10001/profiles"


@pytest.mark.parametrize("user", ["0", "4711", "4711:4711"])
def test_any_user(start: Callable[..., Container], user: str) -> None:
    """A platform's own user id has group 0 (OpenShift); a pod's runAsUser and runAsGroup are what they are."""
    container = start(["--user", user], ["run", "--", "sh", "-c", "id -u"])
    assert container.end() == 0
    assert container.output().strip() == user.partition(":")[0]
    place = "/tmp/guard-4711/profiles" if user == "4711:4711" else "/profiles"
    assert container.named("run.started")[0]["evidence"].startswith(f"{place}/monitored/")
