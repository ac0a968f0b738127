"""guard beside others: in the machine's pid namespace, and reached by `podman exec`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.container.engine import Container, Engine


def test_in_the_machines_pid_namespace(start: Callable[..., Container]) -> None:
    """guard isn't PID 1 there: it is a subreaper, and its tree is its own descendants only."""
    orphan = "(sh -c 'sleep 0.1 & echo $!' >/tmp/orphan); o=$(cat /tmp/orphan)"
    script = f"{orphan}; while [ -d /proc/$o ]; do sleep 0.05; done; tr '\\0' ' ' </proc/1/cmdline; exit 8"
    container = start(["--pid=host", "--memory=96m"], ["run", "--log-level=debug", "--", "sh", "-c", script])
    assert container.end() == 8
    started = container.named("run.started")[0]
    assert started["guard_pid"] > 1
    assert started["limit_bytes"] == 96 << 20
    assert container.named("reaper.unavailable") == []
    assert container.named("orphan.reaped")
    assert all(event["processes"] < 10 for event in container.named("sample.taken"))


def test_exec_beside_guard(start: Callable[..., Container], engine: Engine) -> None:
    """Another guard's commands in the running container; what exec leaves behind is reaped by the first."""
    container = start(["--memory=96m"], ["run", "--log-level=debug", "--", "python3", "/programs/graceful.py"])
    assert container.first_line() == "ready"
    pid = container.wait_for("run.started")["pid"]
    settings = json.loads(engine.must("exec", container.name, "guard", "config", "--json"))
    assert settings["machine"]["limit_bytes"] == 96 << 20
    checks = json.loads(engine.must("exec", container.name, "guard", "doctor", "--pid", str(pid), "--json"))
    assert {check["name"]: check["status"] for check in checks["capabilities"]}["stacks"] == "works"
    answer = json.loads(engine.must("exec", container.name, "guard", "ctl", "stacks", "--json"))
    assert answer["pid"] == pid and answer["paths"][0].endswith(".stacks.json")
    engine.must("exec", container.name, "test", "-s", answer["paths"][0])
    engine.must("exec", container.name, "sh", "-c", "sh -c 'sleep 0.2' & exit 0")
    container.wait_for("orphan.reaped")
    engine.must("stop", container.name)
    assert container.end() == 5


def test_watching_from_exec(start: Callable[..., Container], engine: Engine, profiles: Path) -> None:
    """A container whose command isn't under guard is watched from beside, and told who holds the memory."""
    leak = ["/programs/leak.py", "60", "0.02"]
    container = start(["--entrypoint", "python3", "--volume", f"{profiles}:/profiles"], leak)
    assert container.first_line() == "full"
    options = ["--warning", "20", "--critical", "30", "--profiling", "3000", "--interval", "100ms", "--profiles-dir"]
    engine.must("exec", "--detach", container.name, "guard", "watch", *options, "/profiles", "1")
    # It writes no line that could be waited for here: the evidence itself is looked for, until exec's `find` has it.
    script = "until ls /profiles/auto-memory/*/*.stacks.json 2>/dev/null; do sleep 0.1; done"
    engine.must("exec", container.name, "sh", "-c", script)
    engine.must("kill", "--signal", "USR1", container.name)
    container.end()
    (stacks,) = profiles.glob("auto-memory/*/*.stacks.json")
    assert json.loads(stacks.read_text())["pid"] == 1
