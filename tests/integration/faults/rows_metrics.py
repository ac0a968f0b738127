"""Rows: what keeps figures from those who want them."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from tests.integration.driving import children_of
from tests.integration.faults.scene import Scene
from tests.integration.faults.table import Words, row


@row("metrics", "the port is taken", "by another program", "metrics.failed",
     {"what": "port", "reason": Words("in use"), "hint": Words("ss -ltnp")})  # fmt: skip
def taken(scene: Scene) -> None:
    other = scene.undo.enter_context(socket.create_server(("127.0.0.1", 0)))
    scene.begin(["--metrics-port", str(other.getsockname()[1])])
    scene.wait_for("metrics.failed", what="port")


@row("metrics", "the socket's name is a file's", "which stays as it is", "metrics.failed",
     {"what": "socket", "reason": Words("no socket")})  # fmt: skip
def occupied(scene: Scene) -> None:
    (scene.folder / "name").write_text("mine")
    scene.begin(["--metrics-socket", "name"])
    scene.wait_for("metrics.failed", what="socket")
    assert (scene.folder / "name").read_text() == "mine"


@row("metrics", "the file's directory isn't there", "and comes later", "metrics.failed",
     {"what": "file", "reason": Words("No such file"), "hint": Words("ls -ld")})  # fmt: skip
def no_directory(scene: Scene) -> None:
    scene.begin(["--metrics-file", "later/guard.prom"])
    scene.wait_for("metrics.failed", what="file")
    (scene.folder / "later").mkdir()
    scene.wait_for("metrics.serving", what="file")


@row("metrics", "the process that shows them is killed", "KILL", "metrics.failed",
     {"what": "helper", "again_s": 1.0})  # fmt: skip
def killed(scene: Scene) -> None:
    scene.begin(["--metrics-port", "0"])
    scene.wait_for("metrics.serving", what="port")
    for pid in children_of(scene.guard_pid):
        if Path(f"/proc/{pid}/comm").read_text() == "guard-metrics\n":
            os.kill(pid, signal.SIGKILL)
    scene.wait_for("metrics.failed", what="helper")
