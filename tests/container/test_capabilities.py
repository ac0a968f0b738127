"""What a container refuses is said once, with what to add, and the run goes on with the evidence that is left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.container.engine import Container

LIMITS = ["--warning", "20", "--critical", "30", "--profiling", "3000", "--interval", "200ms"]
LEAK = ["python3", "/programs/leak.py", "60", "0.05"]
AS_ANOTHER = ["setpriv", "--reuid=4711", "--regid=4711", "--clear-groups"]


@pytest.fixture
def no_ptrace(tmp_path: Path) -> str:
    """The option for a seccomp profile that allows everything but ptrace."""
    path = tmp_path / "no-ptrace.json"
    rule = {"names": ["ptrace"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    return f"--security-opt=seccomp={path}"


def run_to_critical(start: Callable[..., Container], options: list[str], command: list[str]) -> Container:
    """A leak through `critical` to its end, which must be its own."""
    container = start(options, ["run", *LIMITS, "--", *command])
    container.wait_for("state.changed", to="critical")
    # Both have ended before the target does: what a target takes with it is another test's.
    for action in ("stacks", "snapshot"):
        container.wait_for(
            lambda event, action=action: event["event"].startswith("action.f") and event["action"] == action,
            state="critical",
        )
    assert container.first_line() == "full"
    container.engine("kill", "--signal", "USR1", container.name)
    assert container.end() == 0, container.said()
    return container


def missing(container: Container) -> dict[str, dict[str, Any]]:
    """What was said to be missing, each once."""
    events = container.named("capability.missing")
    found = {event["capability"]: event for event in events}
    assert len(found) == len(events)
    return found


@pytest.mark.parametrize("options", [["--cap-drop=ALL"], ["--cap-drop=ALL", "--user=0"]], ids=["user", "root"])
def test_without_any_capability(start: Callable[..., Container], options: list[str]) -> None:
    """Of the target's own user guard may read stacks; only perf events are refused."""
    container = run_to_critical(start, [*options, "--security-opt=no-new-privileges"], LEAK)
    told = missing(container)
    assert list(told) == ["page-fault trap"]
    assert told["page-fault trap"]["add"] == "PERFMON"
    assert "--cap-add PERFMON" in told["page-fault trap"]["hint"]
    done = {event["action"] for event in container.named("action.finished")}
    assert done == {"growth", "stacks", "snapshot"}
    assert container.named("action.failed") == []
    suspect = container.named("run.exited")[0]["suspect"]
    assert suspect["name"] == "python3"


def test_the_capability_that_is_named_is_the_one(start: Callable[..., Container]) -> None:
    container = run_to_critical(
        start, ["--cap-drop=ALL", "--cap-add=PERFMON", "--security-opt=seccomp=unconfined"], LEAK
    )
    assert missing(container) == {}
    (growth,) = [event for event in container.named("action.finished") if event["action"] == "growth"]
    assert growth["engine"] == "page-fault"
    assert growth["suspect"]["function"] == "remember_everything"


def test_where_the_profile_refuses_what_the_capability_allows(start: Callable[..., Container]) -> None:
    """podman's default seccomp profile of that age lets perf_event_open through for SYS_ADMIN only."""
    container = run_to_critical(start, ["--cap-add=PERFMON"], LEAK)
    told = missing(container)
    if told:  # an older profile: PERFMON is there, so it is the profile that must be named
        assert "seccomp" in told["page-fault trap"]["hint"]
        assert "--cap-add PERFMON" not in told["page-fault trap"]["hint"]


def test_where_seccomp_denies_ptrace_stacks_are_read_without_stopping(
    start: Callable[..., Container], no_ptrace: str, profiles: Path
) -> None:
    container = run_to_critical(start, [no_ptrace, "--volume", f"{profiles}:/profiles"], LEAK)
    told = missing(container)
    assert told["ptrace"]["add"] == "SYS_PTRACE"
    assert "seccomp" in told["ptrace"]["hint"]
    assert container.named("action.failed") == [], container.said()
    (stacks,) = profiles.glob("auto-memory/*/*.stacks.json")
    document = json.loads(stacks.read_text())
    assert document["nonblocking"] is True
    assert "/programs/leak.py" in stacks.read_text()
    (growth,) = [event for event in container.named("action.finished") if event["action"] == "growth"]
    assert growth["engine"] == "running" if growth["suspect"].get("function") else "mappings", growth
    assert growth["suspect"]["mapping"], growth


def test_a_target_of_another_user(start: Callable[..., Container]) -> None:
    """guard as root without SYS_PTRACE may not look into it: that is said, and what needs no ptrace is there."""
    container = run_to_critical(start, ["--user=0"], [*AS_ANOTHER, *LEAK])
    told = missing(container)
    assert "--cap-add SYS_PTRACE" in told["ptrace"]["hint"]
    assert told["ptrace"]["add"] == "SYS_PTRACE"
    snapshots = [event for event in container.named("action.finished") if event["action"] == "snapshot"]
    assert snapshots
    assert {event["action"] for event in container.named("action.failed")} == {"growth", "stacks"}
    assert container.named("run.exited")[0]["suspect"]["name"] == "python3"


def test_a_target_of_another_user_with_the_capability(start: Callable[..., Container]) -> None:
    container = run_to_critical(start, ["--user=0", "--cap-add=SYS_PTRACE"], [*AS_ANOTHER, *LEAK])
    assert "ptrace" not in missing(container)
    done = {event["action"] for event in container.named("action.finished")}
    assert done == {"growth", "stacks", "snapshot"}


@pytest.mark.parametrize("mode", ["census", "tracemalloc"])
def test_the_heap_agent_needs_no_capability_no_ptrace_and_no_disk(
    start: Callable[..., Container], no_ptrace: str, profiles: Path, mode: str
) -> None:
    options = [
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        no_ptrace,
        "--read-only",
        "--read-only-tmpfs=false",
    ]
    container = start(
        [*options, "--volume", f"{profiles}:/profiles"], ["run", *LIMITS, "--heap-agent", mode, "--", *LEAK]
    )
    done = container.wait_for("action.finished", action="heap-profile", state="critical")
    assert (done["grew"]["type"], done["grew"]["holder"]) == ("bytearray", "__main__.remembered"), container.said()
    (place,) = profiles.glob("auto-memory/*/*-critical-heap-profile.md")
    if mode == "tracemalloc":
        assert (done["top"][0]["file"], done["top"][0]["line"]) == ("/programs/leak.py", 12)
        assert "/programs/leak.py:12" in place.read_text()
    assert container.first_line() == "full"
    container.engine("kill", "--signal", "USR1", container.name)
    assert container.end() == 0
    assert container.named("run.exited")[0]["suspect"]["grew"]["type"] == "bytearray"
