"""Rows: what a target may do."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from supervisor import sample
from tests.integration.faults.rows_profiler import crippled
from tests.integration.faults.scene import Scene
from tests.integration.faults.table import AtLeast, row


@row("target", "execs", "another program in its place, growing before and after", "action.finished",
     {"action": "stacks"})  # fmt: skip
def execs(scene: Scene) -> None:
    scene.begin()
    scene.reach("warning")
    assert scene.ask("exec") == f"ready {scene.pid}"
    assert scene.ask("grow 110") == "done"
    scene.wait_for("action.finished", action="stacks")


@row("target", "changes its user", "setresuid in mid-run", "state.changed", {"to": "warning"}, needs="root")
def changes_user(scene: Scene) -> None:
    scene.begin()
    assert scene.ask("uid 65534") == "done"
    scene.reach("warning")


@row("target", "daemonises away", "two forks and setsid; the first process exits", "run.exited", {"code": 5})
def daemonises(scene: Scene) -> None:
    scene.begin()
    scene.reach("warning")
    scene.code = 5
    assert scene.ask("daemonise 5") == "done"
    assert scene.ends() == 5
    assert scene.ask("ping") == "done"  # in a session of its own it is nobody's to end
    scene.order("exit 0")
    assert scene.answer() == ""
    scene.over = True


@row("target", "closes everything", "every descriptor but the test's own", "action.finished", {"action": "snapshot"})
def closes(scene: Scene) -> None:
    scene.begin()
    assert scene.ask("close") == "done"
    scene.reach("warning")
    scene.wait_for("action.finished", action="snapshot")


@row("target", "renames itself", "`) Z\\n\\e[31m` as its name", "state.changed", {"guilty_name": ") Z\n\x1b[31m"})
def renames(scene: Scene) -> None:
    scene.begin()
    assert scene.ask("rename") == "done"
    scene.reach("warning")


@row("target", "ignores TERM", "SIGTERM to guard", "signal.forwarded", {"signal": "SIGTERM", "sent": "SIGTERM"})
def ignores(scene: Scene) -> None:
    scene.begin()
    assert scene.ask("ignore") == "done"
    scene.wait_for("run.started")
    scene.process.send_signal(signal.SIGTERM)
    scene.wait_for("signal.forwarded")


@row("target", "is in D state", "the parent of a vfork that waits", "action.finished",
     {"action": "snapshot", "state": "critical"})  # fmt: skip
def sleeps_deep(scene: Scene) -> None:
    fifo = scene.folder / "fifo"
    os.mkfifo(fifo)
    scene.undo.callback(lambda: os.close(os.open(fifo, os.O_RDWR)))  # nobody waits for it for ever
    scene.begin()
    scene.reach("warning")
    scene.order("grow 40")
    scene.order(f"vfork {fifo}")
    assert scene.answer() == "done"
    scene.until(lambda: scene.status("State")[0] == "D", "never in D state")
    scene.wait_for("state.changed", to="critical")
    scene.wait_for("action.finished", action="snapshot", state="critical")
    assert not [event for event in scene.events() if event.get("to") == "profiling"]  # its memory counts once
    fifo.write_bytes(b"")
    assert scene.answer() == "done"


@row("target", "is stopped by somebody else", "SIGSTOP before memory is critical", "action.finished",
     {"action": "stacks", "state": "critical"})  # fmt: skip
def stopped(scene: Scene) -> None:
    scene.begin()
    scene.reach("warning")
    assert scene.ask("grow 40") == "done"
    os.kill(scene.pid, signal.SIGSTOP)
    scene.wait_for("action.finished", action="snapshot", state="critical")
    scene.wait_for("action.finished", action="stacks")
    assert scene.status("State")[0] in "Tt"
    assert not [event for event in scene.events() if event["event"] == "target.continued"]
    os.kill(scene.pid, signal.SIGCONT)


@row("target", "forks 5,000 short-lived children", "one after the other, while samples are taken", "run.exited",
     {"outcome": "exited", "code": 37})  # fmt: skip
def burst(scene: Scene) -> None:
    scene.begin(["--interval", "20ms"])
    assert scene.ask("burst 5000") == "done"
    assert not [event for event in scene.events() if event["event"] in ("sample.failed", "guard.failed")]


@row("target", "a child's pid is used again between sample and action",
     "a pid namespace whose last pid is set, a stacks action that waits", "action.skipped",
     {"action": "cpu-profile", "reason": "the process is gone"}, needs="root pids")  # fmt: skip
def reuse(scene: Scene) -> None:
    gate, reached = scene.folder / "gate", scene.folder / "reached"
    os.mkfifo(gate)
    script = f"#!/bin/sh\ncase $1 in dump) echo here >>{reached}; read line <{gate};; esac\nexit 1\n"
    scene.begin(**crippled(scene, script), before=["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"])
    inside = scene.wait_for("run.started")["pid"]
    (outer,) = Path(f"/proc/{scene.process.pid}/task/{scene.process.pid}/children").read_text().split()
    scene.guard_pid = int(outer)
    (target,) = (int(pid) for pid in Path(f"/proc/{outer}/task/{outer}/children").read_text().split())
    scene.pid = target
    child = scene.ask("child 160")
    assert inside < int(child)
    scene.wait_for("state.changed", to="profiling", guilty_pid=int(child))
    both = "here\n" * 2  # the growth action and the stacks action, each at the gate
    scene.until(lambda: reached.exists() and reached.read_text() == both, "they never came to their tool")
    assert scene.ask("reuse 160") == child
    samples = scene.paths("monitored/*/flight.jsonl")[0]
    size = samples.stat().st_size
    scene.until(lambda: samples.stat().st_size > size + 1000, "no more samples")
    opened = os.open(gate, os.O_RDWR)  # for every attempt there will be, whoever makes it
    scene.undo.callback(os.close, opened)
    os.write(opened, b"\n" * 64)
    scene.wait_for("action.failed", action="stacks")


@row("target", "its main thread ends, others live on", "a zombie leader whose threads hold the memory",
     "state.changed", {"to": "warning", "rss_bytes": AtLeast(40_000_000)})  # fmt: skip
def zombie_leader(scene: Scene) -> None:
    scene.begin()
    scene.order("zombie")
    scene.until(lambda: scene.status("State")[0] == "Z", "the leader lives")
    assert scene.ask("grow 60") == "done"
    scene.wait_for("state.changed", to="warning")
    reading = sample.read_process(scene.pid)
    assert reading is not None
    scene.order(f"exit {scene.code}")
    assert scene.ends() == scene.code
    scene.over = True
