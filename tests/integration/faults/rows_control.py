"""Rows: who asks a running guard, and the socket they come to."""

from __future__ import annotations

import os
import socket

from tests.integration.faults.rows_disk import traced
from tests.integration.faults.scene import PATIENCE_S, Scene
from tests.integration.faults.table import Words, row


def come(scene: Scene) -> socket.socket:
    """A client at the run's socket."""
    scene.wait_for("run.started")
    fd = os.open(scene.paths("monitored/*/ctl.sock")[0].parent, os.O_RDONLY)
    found = socket.socket(socket.AF_UNIX)
    scene.undo.enter_context(found)
    found.connect(f"/proc/self/fd/{fd}/ctl.sock")
    os.close(fd)
    found.settimeout(PATIENCE_S)
    return found


@row("control", "the file system has no sockets", "`bind` fails (strace)", "ctl.failed",
     {"reason": "Operation not permitted", "hint": Words("--profiles-dir")}, needs="strace")  # fmt: skip
def no_sockets(scene: Scene) -> None:
    scene.begin(before=traced("-e", "trace=bind", "-e", "inject=bind:error=EPERM"))
    scene.wait_for("run.started")
    assert scene.record()["ctl"] is None


@row("control", "there is no descriptor for who asks (EMFILE)", "`accept4` fails once (strace)", "ctl.failed",
     {"reason": "Too many open files"}, needs="strace")  # fmt: skip
def no_descriptor(scene: Scene) -> None:
    scene.begin(before=traced("-e", "trace=accept4", "-e", "inject=accept4:error=EMFILE:when=1"))
    client = come(scene)
    client.sendall(b'{"verb": "state"}\n')
    assert b'"ok": true' in client.recv(65536)  # a second later


@row("control", "somebody sends what is no request", "bytes without an end", "ctl.refused",
     {"reason": Words("not a request")})  # fmt: skip
def nonsense(scene: Scene) -> None:
    scene.begin()
    client = come(scene)
    client.sendall(b"x" * 5000)
    assert b'"ok": false' in client.recv(65536)


@row("control", "somebody asks and says nothing", "a connection without a word", "run.json", {"outcome": "exited"})
def silence(scene: Scene) -> None:
    scene.begin()
    client = come(scene)
    assert b"no request came" in client.recv(65536)
