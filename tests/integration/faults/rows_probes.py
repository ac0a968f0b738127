"""Rows: probes that hang or are refused, the process that probes, figures that can't be had."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.integration.driving import children_of
from tests.integration.faults.scene import Scene
from tests.integration.faults.table import Words, row

OFTEN = ["--probe-interval", "50ms", "--probe-timeout", "300ms"]


def probed(scene: Scene, serve: Callable[[socket.socket], object] | None, *options: str) -> None:
    """A run that probes a server of the row's own; without `serve` nobody listens."""
    bound = scene.undo.enter_context(socket.socket())
    bound.bind(("127.0.0.1", 0))

    def run() -> None:
        with contextlib.suppress(OSError):
            while True:
                connected, _ = bound.accept()
                with connected, contextlib.suppress(OSError):
                    connected.recv(4096)
                    assert serve is not None
                    serve(connected)

    if serve is not None:
        bound.listen()
        scene.undo.callback(bound.shutdown, socket.SHUT_RDWR)
        threading.Thread(target=run, daemon=True).start()
    scene.begin([*OFTEN, "--probe", f"http://me:s3cret@127.0.0.1:{bound.getsockname()[1]}/?key=s3cret", *options])
    scene.wait_for("run.started")


def failing(scene: Scene, serve: Callable[[socket.socket], object] | None) -> None:
    """Probes of such a server fail."""
    probed(scene, serve)
    scene.wait_for("probe.failed")


def prober(scene: Scene, *others: int) -> int:
    """The process that probes."""
    found: list[int] = []

    def look() -> bool:
        for pid in children_of(scene.guard_pid):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text() == "guard-probe\n" and pid not in others:
                    found.append(pid)
        return bool(found)

    scene.until(look, "nobody probes")
    return found[0]


def answer(connected: socket.socket) -> None:
    connected.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")


def drip(connected: socket.socket) -> None:
    connected.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(200):
        connected.sendall(b"x")
        time.sleep(0.05)


@row("probes", "the target never answers", "accepts and is silent", "probe.failed", {"outcome": "timeout"})
def silent(scene: Scene) -> None:
    failing(scene, lambda connected: connected.recv(4096))


@row("probes", "the answer never ends", "a byte every 50 ms", "probe.failed", {"outcome": "timeout"})
def endless(scene: Scene) -> None:
    failing(scene, drip)


@row("probes", "nobody listens", "a port that is bound and no more", "probe.failed",
     {"outcome": "refused", "reason": Words("Connection refused")})  # fmt: skip
def refused(scene: Scene) -> None:
    failing(scene, None)


@row(
    "probes",
    "the answer is garbage",
    "no HTTP",
    "probe.failed",
    {"outcome": "failed", "reason": Words("BadStatusLine")},
)
def garbage(scene: Scene) -> None:
    failing(scene, lambda connected: connected.sendall(b"\x00\xff\r\n\r\n"))


@row("probes", "the process that probes is killed", "SIGKILL", "prober.failed", {"reason": "it ended"})
def killed(scene: Scene) -> None:
    probed(scene, answer)
    first = prober(scene)
    os.kill(first, signal.SIGKILL)
    prober(scene, first)


@row("probes", "the process that probes hangs", "SIGSTOP", "prober.failed", {"reason": Words("it said nothing for")})
def hangs(scene: Scene) -> None:
    probed(scene, answer)
    first = prober(scene)
    os.kill(first, signal.SIGSTOP)
    scene.wait_for("prober.failed")
    prober(scene, first)
