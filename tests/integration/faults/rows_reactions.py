"""Rows: hooks and webhooks that misbehave."""

from __future__ import annotations

import os
import signal
import sys

from tests.integration.faults.scene import Scene
from tests.integration.faults.table import AtLeast, Words, row
from tests.integration.receiver import SECRETS, Receiver

PYTHON = f"{sys.executable} -ISc"


def hooked(scene: Scene, program: str, *options: str) -> None:
    """A run whose hook at `warning` is this program, which has begun."""
    scene.begin(["--on-warning", f'{PYTHON} "{program}"', *options])
    scene.reach("warning")
    scene.wait_for("action.started", action="hook")


@row("reactions", "a hook never ends", "ignores TERM and sleeps", "action.failed",
     {"action": "hook", "reason": "deadline", "hint": Words("--hook-timeout"), "elapsed_s": AtLeast(0.5)})  # fmt: skip
def never_ends(scene: Scene) -> None:
    program = "import signal, time; signal.signal(15, signal.SIG_IGN); print('still', flush=True); time.sleep(987653)"
    hooked(scene, program, "--hook-timeout", "500ms")
    assert "still" in scene.wait_for("action.failed", action="hook")["said"]


@row("reactions", "a hook prints 1 GB", "and ends", "action.finished",
     {"action": "hook", "exit_code": 0, "output": Words("the last line")})  # fmt: skip
def prints_a_lot(scene: Scene) -> None:
    program = "import os; [os.write(1, b'x' * 65536) for _ in range(1 << 14)]; print('the last line', flush=True)"
    hooked(scene, program)
    assert len(scene.wait_for("action.finished", action="hook")["output"]) < 4096
    assert scene.record()["outcome"] is None


@row("reactions", "a hook leaves a daemon", "that keeps the hook's output open", "action.finished",
     {"action": "hook", "exit_code": 0, "output": Words("daemon")})  # fmt: skip
def leaves_a_daemon(scene: Scene) -> None:
    program = (
        "import os, time; pid = os.fork(); pid or (os.setsid(), time.sleep(987652)); print('daemon', pid, flush=True)"
    )
    hooked(scene, program)
    pid = int(scene.wait_for("action.finished", action="hook")["output"].split()[1])
    os.kill(pid, signal.SIGKILL)  # it lived on


@row("reactions", "a hook can't be started", "no such file", "action.failed",
     {"action": "hook", "reason": "hook-not-started", "said": Words("No such file")})  # fmt: skip
def not_there(scene: Scene) -> None:
    scene.begin(["--on-warning", "/nowhere/hook"])
    scene.reach("warning")


@row("reactions", "a hook fails", "ends with 3", "action.failed",
     {"action": "hook", "reason": "hook-failed", "said": Words("it ended with 3; it printed: no space")})  # fmt: skip
def fails(scene: Scene) -> None:
    hooked(scene, "print('no space'); raise SystemExit(3)")


def posted(scene: Scene, answer: int | str | None) -> Receiver:
    """A run that notifies a webhook which answers like this, if it is there; the URL's secret is nowhere."""
    receiver = scene.undo.enter_context(Receiver(answer or 200, location=SECRETS))
    if answer is None:
        receiver.close()
    scene.begin(["--notify", f"{receiver.url}/s3cret?token=t0psecret"])
    scene.reach("warning")
    scene.wait_for("action.started", action="notify")
    return receiver


def no_secret(scene: Scene) -> None:
    for path in scene.paths("**/*"):
        assert not path.is_file() or b"s3cret" not in path.read_bytes(), path
    assert not any("s3cret" in str(event) or "t0psecret" in str(event) for event in scene.events())


@row("reactions", "a webhook never answers", "accepts and is silent", "action.skipped",
     {"action": "notify", "reason": Words("waits for the next start")})  # fmt: skip
def silent(scene: Scene) -> None:
    posted(scene, "hang").wait_for_request()
    scene.runs()
    scene.order(f"exit {scene.code}")
    assert scene.ends() == scene.code
    scene.over = True
    assert scene.paths("spool/*.json")
    no_secret(scene)


@row("reactions", "a webhook answers 500", "every time", "action.failed",
     {"action": "notify", "reason": "webhook-failed", "said": Words("500"), "hint": Words("curl")})  # fmt: skip
def broken(scene: Scene) -> None:
    receiver = posted(scene, 500)
    scene.wait_for("action.failed", action="notify")
    assert len(receiver.requests) == 4
    no_secret(scene)


@row("reactions", "a webhook redirects", "to a link-local address", "action.failed",
     {"action": "notify", "reason": "redirect-refused"})  # fmt: skip
def redirecting(scene: Scene) -> None:
    receiver = posted(scene, 302)
    scene.wait_for("action.failed", action="notify")
    assert len(receiver.requests) == 1
    no_secret(scene)


@row("reactions", "a webhook refuses connections", "nobody listens", "action.failed",
     {"action": "notify", "reason": "webhook-unreachable", "said": Words("1 wait for the next start")})  # fmt: skip
def refusing(scene: Scene) -> None:
    posted(scene, None)
    scene.wait_for("action.failed", action="notify")
