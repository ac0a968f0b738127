"""Rows: guard itself is killed or stopped, its clocks jump."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
from pathlib import Path

from tests.integration.faults.rows_profiler import crippled
from tests.integration.faults.scene import STEPS, Scene
from tests.integration.faults.table import AtLeast, cannot, row

# A profiler that is at work until somebody ends it: guard is killed or stopped in the middle of its action.
BUSY = "#!/bin/sh\ntrap 'exit 1' INT\nwhile :; do sleep 0.1; done\n"


def in_mid_action(scene: Scene, state: str) -> None:
    """guard in this state, with what the state starts at work."""
    scene.begin(**crippled(scene, BUSY))
    scene.wait_for("run.started")
    scene.reach(state)
    if state != "ok":
        scene.wait_for("action.started", action="growth" if state == "warning" else "stacks")


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists() or scene_state(pid) in "ZX"


def scene_state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def killed_in(state: str) -> None:
    @row("guard", f"is killed in state {state}", "SIGKILL in mid-action", "previous_run.found",
         {"reason": "guard was killed"})  # fmt: skip
    def killed(scene: Scene) -> None:
        in_mid_action(scene, state)
        workers = scene.workers()
        scene.process.kill()
        scene.process.wait()
        for worker in workers:
            scene.until(functools.partial(gone, worker), f"worker {worker} outlives guard")
        scene.runs()
        assert scene.status("TracerPid") == "0"
        scene.order("exit 0")
        assert scene.answer() == ""
        scene.begin()
        scene.wait_for("previous_run.found")


def stopped_in(state: str) -> None:
    @row("guard", f"is stopped in state {state}", "SIGSTOP in mid-action, SIGCONT later", "signal.forwarded",
         {"signal": "SIGCONT"})  # fmt: skip
    def stopped(scene: Scene) -> None:
        in_mid_action(scene, state)
        scene.process.send_signal(signal.SIGSTOP)
        scene.until(lambda: scene_state(scene.process.pid) == "T", "guard is not stopped")
        assert scene.ask("ping") == "done"
        scene.process.send_signal(signal.SIGCONT)
        scene.wait_for("signal.forwarded", signal="SIGCONT")


for each in STEPS:
    killed_in(each)
for each in STEPS:
    stopped_in(each)


def jump(scene: Scene, wall_s: int, monotonic_s: int) -> None:
    """guard's clocks jump in mid-action."""
    library, offsets = scene.folder / "clock.so", scene.folder / "offsets"
    source = Path(__file__).parent / "clock.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, timeout=60)
    offsets.write_text("0 0")
    scene.begin(env={"LD_PRELOAD": str(library), "GUARD_TEST_CLOCK": str(offsets)})
    scene.reach("warning")
    scene.wait_for("action.started", action="growth")
    (scene.folder / "new").write_text(f"{wall_s} {monotonic_s}")
    os.rename(scene.folder / "new", offsets)
    assert scene.ask("grow 40") == "done"
    scene.wait_for("state.changed", to="critical")
    scene.wait_for("action.finished", action="snapshot", state="critical")


@row("guard", "the wall clock jumps an hour ahead", "clock_gettime by LD_PRELOAD", "run.exited",
     {"elapsed_s": AtLeast(0, 120)}, needs="cc")  # fmt: skip
def ahead(scene: Scene) -> None:
    jump(scene, 3600, 0)


@row("guard", "the wall clock jumps an hour back", "clock_gettime by LD_PRELOAD", "run.exited",
     {"elapsed_s": AtLeast(0, 120)}, needs="cc")  # fmt: skip
def back(scene: Scene) -> None:
    jump(scene, -3600, 0)


@row("guard", "the machine was asleep, or paused as a VM", "all clocks jump an hour ahead", "run.exited",
     {"elapsed_s": AtLeast(3600, 3720)}, needs="cc")  # fmt: skip
def paused(scene: Scene) -> None:
    jump(scene, 3600, 3600)


cannot("guard", "a real suspend", "would put the machine that runs the tests to sleep; the row above stands in for it")
