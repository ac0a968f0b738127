"""Rows: what guard and its workers may use."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from tests.integration.faults.rows_disk import traced
from tests.integration.faults.scene import Scene
from tests.integration.faults.table import row


def limit(scene: Scene, which: int, most: int) -> None:
    """Lower a limit of guard's alone."""
    resource.prlimit(scene.guard_pid, which, (most, most))


@row("limits", "guard has no descriptor left (EMFILE)", "RLIMIT_NOFILE lowered in mid-run", "action.failed",
     {"said": "Too many open files"})  # fmt: skip
def descriptors(scene: Scene) -> None:
    scene.begin()
    scene.wait_for("run.started")
    scene.until(lambda: scene.paths("monitored/*/flight.jsonl")[0].stat().st_size, "no sample")
    limit(scene, resource.RLIMIT_NOFILE, len(os.listdir(f"/proc/{scene.guard_pid}/fd")))
    scene.reach("warning")
    scene.wait_for("action.failed")
    scene.runs()
    scene.order(f"exit {scene.code}")
    assert scene.ends() == scene.code
    assert scene.record()["outcome"] == "exited"  # the end record has a descriptor kept for it
    scene.over = True


@row("limits", "the machine has no descriptor left (ENFILE)", "`pipe2` fails from the third on (strace)",
     "action.failed", {"said": "Too many open files in system"}, needs="strace")  # fmt: skip
def files(scene: Scene) -> None:
    scene.begin(before=traced("-e", "trace=pipe2", "-e", "inject=pipe2:error=ENFILE:when=3+"))
    scene.reach("warning")
    scene.wait_for("action.failed")


@row("limits", "no process may be forked (EAGAIN)", "a pids cgroup that is full", "action.failed",
     {"said": "Resource temporarily unavailable"}, needs="cgroup-pids")  # fmt: skip
def processes(scene: Scene) -> None:
    scene.begin()
    scene.wait_for("run.started")
    group = Path(f"/sys/fs/cgroup/pids/guard-test-{os.getpid()}-{scene.guard_pid}")
    group.mkdir()
    scene.undo.callback(group.rmdir)
    scene.undo.callback(scene._end_process, scene.process)
    for pid in (scene.pid, scene.guard_pid):
        (group / "cgroup.procs").write_text(str(pid))
    (group / "pids.max").write_text((group / "pids.current").read_text())
    scene.reach("warning")
    scene.wait_for("action.failed")


@row("limits", "guard's address space is full", "RLIMIT_AS lowered to what guard has", "action.failed",
     {"action": "stacks"})  # fmt: skip
def address_space(scene: Scene) -> None:
    scene.begin()
    scene.reach("warning")
    scene.wait_for("action.finished", action="snapshot")
    limit(scene, resource.RLIMIT_AS, int(scene.status("VmSize", scene.guard_pid).split()[0]) * 1024)
    assert scene.ask("grow 40") == "done"
    scene.wait_for("action.failed", action="stacks")


@row("limits", "files may not grow (RLIMIT_FSIZE)", "8 KiB, in mid-run", "store.failed",
     {"what": "flight.jsonl", "reason": "File too large"})  # fmt: skip
def file_size(scene: Scene) -> None:
    scene.begin()
    scene.wait_for("run.started")
    limit(scene, resource.RLIMIT_FSIZE, 8192)
    scene.wait_for("store.failed")
    scene.reach("warning")


@row("limits", "core dumps are allowed, and a profiler crashes", "RLIMIT_CORE unlimited, `ulimit -c` in the profiler",
     "action.failed", {"reason": "profiler-crashed", "said": "core 0"})  # fmt: skip
def core(scene: Scene) -> None:
    from tests.integration.faults.rows_profiler import crippled

    def unlimited() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)

    script = "#!/bin/sh\necho core $(ulimit -c) >&2\nkill -SEGV $$\n"
    scene.begin(**crippled(scene, script), prepare=unlimited)
    scene.reach("critical")
    scene.wait_for("action.failed", action="stacks")


@row("limits", "the target dumps no core (RLIMIT_CORE 0)", "the target dies of SIGSEGV", "run.exited",
     {"signal": "SIGSEGV", "code": 139})  # fmt: skip
def no_core(scene: Scene) -> None:
    scene.begin(prepare=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
    scene.reach("warning")
    scene.runs()
    scene.order("die 11")
    assert scene.ends() == 139
    scene.over = True
