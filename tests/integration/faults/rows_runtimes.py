"""Rows: what a runtime is asked through, the heap agent in a Python and the inspector of a Node, doesn't answer."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from tests.integration.faults.scene import TARGET, Scene
from tests.integration.faults.table import Words, row

AGENT = ["--heap-agent", "census"]
NODE_TARGET = str(Path(__file__).parent / "target.js")
# A Node begins with some 45 MB.
NODE_OPTIONS = ["--warning", "80", "--critical", "125", "--profiling", "165"]


def heap_fails(scene: Scene, how: str, reason: str) -> None:
    """The heap is told as what couldn't be taken; the other actions go on."""
    scene.reach("critical")
    failed = scene.wait_for(f"action.{how}", action="heap-profile", reason=reason)
    assert failed["hint"], failed
    scene.wait_for("action.finished", action="stacks")


@row("runtimes", "the target keeps the heap agent out", "`python -IS`", "action.skipped",
     {"action": "heap-profile", "reason": "agent-silent", "said": Words("started with -I")})  # fmt: skip
def kept_out(scene: Scene) -> None:
    scene.begin(AGENT)
    heap_fails(scene, "skipped", "agent-silent")


@row("runtimes", "the heap agent's socket is gone", "the target closes what it doesn't know", "action.skipped",
     {"action": "heap-profile", "reason": "agent-silent", "said": Words("doesn't answer")})  # fmt: skip
def deaf(scene: Scene) -> None:
    scene.begin(AGENT, command=[sys.executable, TARGET])
    assert scene.ask("deafen") == "done"
    heap_fails(scene, "skipped", "agent-silent")


@row("runtimes", "the heap agent's thread hangs", "in the middle of a census", "action.failed",
     {"action": "heap-profile", "reason": "agent-failed", "said": Words("timed out")})  # fmt: skip
def hung(scene: Scene) -> None:
    scene.begin(AGENT, command=[sys.executable, TARGET])
    assert scene.ask("stall") == "done"
    heap_fails(scene, "failed", "agent-failed")


@row("runtimes", "a Node's inspector port is taken", "by a socket of another process", "capability.missing",
     {"capability": "inspector", "reason": Words("is taken")}, needs="node")  # fmt: skip
def port_taken(scene: Scene) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        scene.begin(NODE_OPTIONS, command=["node", f"--inspect-port={port}", NODE_TARGET])
        scene.reach("warning")
        # Growth is taken all the same, by what anybody may read; when it ends it says what it lacked.
        scene.until(lambda: scene.paths("auto-memory/*/*-growth.folded"), "growth by mapping")


@row("runtimes", "a Node ends while its inspector is open", "`process.exit`", "run.exited", {"code": 37}, needs="node")
def ends(scene: Scene) -> None:
    scene.begin(NODE_OPTIONS, command=["node", "--inspect-port=0", NODE_TARGET])
    scene.reach("warning")
    scene.until(lambda: scene.ask("inspected") == "yes", "its inspector is open")
