"""/opt/guard copied into an image without Python, without a C library even."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.container.engine import Container, Engine


def test_a_shell_runs_where_there_is_no_python(start: Callable[..., Container], bare_image: str) -> None:
    script = "ls /lib /lib64 /usr/lib /etc/passwd 2>/dev/null; cat /proc/1/comm; exit 4"
    container = start(["--memory=256m"], ["run", "--", "sh", "-c", script], of=bare_image)
    assert container.end() == 4
    assert container.output() == "guard\n"
    assert container.named("run.started")[0]["limit_bytes"] == 256 << 20
    assert container.named("run.exited")[0]["code"] == 4


def test_signals_arrive_there(start: Callable[..., Container], engine: Engine, bare_image: str) -> None:
    script = "trap 'echo usr1; exit 9' USR1; echo ready; while :; do sleep 0.05; done"
    container = start([], ["run", "--", "sh", "-c", script], of=bare_image)
    assert container.first_line() == "ready"
    engine.must("kill", "--signal", "USR1", container.name)
    assert container.end() == 9
    assert container.output() == "usr1\n"


def test_evidence_there(start: Callable[..., Container], bare_image: str, profiles: Path) -> None:
    """Of a shell there are no Python stacks: the kernel tells where it waits, and the snapshot is taken."""
    os.chown(profiles, 0, 0)
    script = "x=0123456789abcdef; while [ ${#x} -lt 30000000 ]; do x=$x$x; done; echo full; sleep 30; echo end"
    options = ["--volume", f"{profiles}:/profiles", "--env", "GUARD_PROFILES_DIR=/profiles"]
    limits = ["--warning", "10", "--critical", "20", "--profiling", "3000", "--interval", "100ms"]
    container = start(options, ["run", *limits, "--", "sh", "-c", script], of=bare_image)
    container.wait_for("state.changed", to="critical")
    finished = container.wait_for("action.finished", action="snapshot", state="critical")
    found = json.loads((profiles / Path(finished["path"]).relative_to("/profiles")).read_text())
    assert found["processes"]
    assert container.wait_for("action.finished", action="stacks")["engine"] in ("kernel", "native")


def test_doctor_there(start: Callable[..., Container], bare_image: str) -> None:
    """Its capabilities are tried on guard's own interpreter."""
    container = start([], ["doctor", "--json"], of=bare_image)
    assert container.end() == 0, container.said()
    found = {check["name"]: check["status"] for check in json.loads(container.output())["capabilities"]}
    assert found["stacks"] == "works", found


@pytest.fixture
def node_image(engine: Engine, bare_image: str, tmp_path: Path) -> Iterator[str]:
    """The same with this machine's node and its libraries."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine to put into an image")
    listing = subprocess.run(["ldd", os.path.realpath(node)], capture_output=True, text=True, check=True).stdout
    context = tmp_path / "node"
    files = [word for line in listing.splitlines() for word in line.split() if word.startswith("/")]
    for path in [os.path.realpath(node), *files]:
        copy = context / "files" / path.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    (context / "Dockerfile").write_text(f"FROM {bare_image}\nCOPY files /\n")
    engine.build("--tag", "guard-tests-node", str(context))
    yield os.path.realpath(node)
    engine("rmi", "--force", "guard-tests-node")


def test_node_runs_there(start: Callable[..., Container], engine: Engine, node_image: str) -> None:
    script = "process.on('SIGTERM', () => process.exit(6)); console.log('ready'); setInterval(() => {}, 1000)"
    container = start([], ["run", "--", node_image, "-e", script], of="guard-tests-node")
    assert container.first_line() == "ready"
    engine.must("kill", "--signal", str(signal.SIGTERM.value), container.name)
    assert container.end() == 6
    assert container.named("run.exited")[0]["outcome"] == "stopped"
