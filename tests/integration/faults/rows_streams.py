"""Rows: guard's stderr. It is the fault itself, so what guard tells is in the run's folder."""

from __future__ import annotations

import fcntl
import os
import signal
import socket

from tests.integration.faults.scene import Scene
from tests.integration.faults.table import AtLeast, row

DROPPED = {"log_lines_dropped": AtLeast(2)}


def told_in_the_file(scene: Scene) -> None:
    """Events go on where they can: the growth, and a signal that is forwarded, are in events.jsonl."""
    scene.reach("warning")
    scene.process.send_signal(signal.SIGCONT)
    scene.wait_for("signal.forwarded", signal="SIGCONT")


@row("streams", "stderr is closed", "`2>&-`", "run.json", DROPPED)
def closed(scene: Scene) -> None:
    scene.begin(before=["sh", "-c", 'exec "$@" 2>&-', "sh"], stderr=2)
    told_in_the_file(scene)


@row("streams", "who read stderr is gone", "the pipe's reader closes it in mid-run", "run.json", DROPPED)
def broken(scene: Scene) -> None:
    read_end, write_end = os.pipe()
    scene.begin(stderr=write_end)
    os.close(write_end)
    scene.wait_for("run.started")
    os.close(read_end)
    told_in_the_file(scene)


@row("streams", "stderr is on a full device", "`2>/dev/full`", "run.json", DROPPED)
def full_device(scene: Scene) -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    scene.undo.callback(os.close, fd)
    scene.begin(stderr=fd)
    told_in_the_file(scene)


@row("streams", "nobody reads stderr's pipe", "a pipe that is full from the start", "run.json", DROPPED)
def unread_pipe(scene: Scene) -> None:
    read_end, write_end = os.pipe()
    scene.undo.callback(os.close, read_end)
    os.set_blocking(write_end, False)
    os.write(write_end, b"x" * fcntl.fcntl(write_end, fcntl.F_GETPIPE_SZ))
    os.set_blocking(write_end, True)
    scene.begin(stderr=write_end)
    told_in_the_file(scene)
    assert not fcntl.fcntl(write_end, fcntl.F_GETFL) & os.O_NONBLOCK  # the target shares it
    os.close(write_end)


@row("streams", "nobody reads stderr's socket", "a socket pair whose buffer is full", "run.json", DROPPED)
def unread_socket(scene: Scene) -> None:
    ours, theirs = socket.socketpair()
    scene.undo.callback(ours.close)
    theirs.setblocking(False)
    try:
        while True:
            theirs.send(b"x" * 512)
    except BlockingIOError:
        theirs.setblocking(True)
    scene.begin(stderr=theirs.fileno())
    theirs.close()
    told_in_the_file(scene)


@row("streams", "stderr's socket is closed at the other end", "a socket pair, shut in mid-run", "run.json", DROPPED)
def broken_socket(scene: Scene) -> None:
    ours, theirs = socket.socketpair()
    scene.begin(stderr=theirs.fileno())
    theirs.close()
    scene.wait_for("run.started")
    ours.close()
    told_in_the_file(scene)
