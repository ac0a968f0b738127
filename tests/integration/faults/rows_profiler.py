"""Rows: a py-spy that breaks, put in the place of the real one."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.integration.faults.scene import ROOT, Scene
from tests.integration.faults.table import Words, row

PATH = "/usr/bin:/bin"


def crippled(scene: Scene, script: str | None) -> dict[str, Any]:
    """For `begin`: guard in an environment of its own whose py-spy is this script, or isn't there."""
    assert shutil.which("py-spy", path=PATH) is None
    place = scene.folder / "venv"
    packages = Path("lib", f"python{sys.version_info.major}.{sys.version_info.minor}")
    (place / "bin").mkdir(parents=True)
    (place / packages).mkdir(parents=True)
    (place / packages / "site-packages").symlink_to(Path(sys.prefix) / packages / "site-packages")
    (place / "pyvenv.cfg").write_text((Path(sys.prefix) / "pyvenv.cfg").read_text())
    (place / "bin" / "python").symlink_to(os.path.realpath(sys.executable))
    if script is not None:
        (place / "bin" / "py-spy").write_text(script)
        (place / "bin" / "py-spy").chmod(0o755)
    guard = [str(place / "bin" / "python"), "-IS", str(ROOT / "bin" / "guard")]
    return {"guard": guard, "env": {"PATH": PATH}}


def all_fail(scene: Scene, script: str | None, reason: str) -> None:
    """Each action fails with its reason and a hint, the snapshot is taken, and nothing pretends to be evidence."""
    scene.begin(**crippled(scene, script))
    scene.reach("profiling")
    for action in ("stacks", "cpu-profile"):
        failed = scene.wait_for("action.failed", action=action)
        assert failed["reason"] == reason, failed
        assert failed["hint"] and failed["tried"]
    scene.wait_for("action.finished", action="snapshot", state="profiling")
    scene.runs()
    assert not scene.paths("auto-memory/*/*-cpu-profile.*") and not scene.paths("auto-memory/*/*.stacks.json")


def write_to_output(text: str) -> str:
    """Shell: write to the file that py-spy is told to write to."""
    return f'for word; do case $word in /proc/self/fd/*) {text} > "$word";; esac; done\n'


@row("profiler", "is missing", "no py-spy", "action.failed", {"reason": "py-spy-missing"})
def absent(scene: Scene) -> None:
    all_fail(scene, None, "py-spy-missing")


@row("profiler", "hangs", "ignores SIGINT and sleeps", "action.failed", {"reason": "profiler-hung"})
def hung(scene: Scene) -> None:
    all_fail(scene, "#!/bin/sh\ntrap '' INT\nexec sleep 987654\n", "profiler-hung")
    names = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [name for name in names if b"987654" in name]


@row("profiler", "crashes", "SIGSEGV", "action.failed", {"reason": "profiler-crashed", "said": "half a word"})
def crashing(scene: Scene) -> None:
    all_fail(scene, "#!/bin/sh\necho half a word >&2\nkill -SEGV $$\n", "profiler-crashed")


@row("profiler", "writes garbage", "to stdout and to its file", "action.failed", {"reason": "profiler-garbage"})
def garbage(scene: Scene) -> None:
    script = "#!/bin/sh\necho '{\"not\": json'\n" + write_to_output("echo '<<< >>>'")
    all_fail(scene, script, "profiler-garbage")


@row("profiler", "fills the disk", "writes without end to stdout, stderr and its file", "action.failed",
     {"reason": "profiler-flood"})  # fmt: skip
def flood(scene: Scene) -> None:
    script = "#!/bin/sh\ntrap '' XFSZ\nyes & yes >&2 &\n" + write_to_output("yes") + "wait\nexit 1\n"
    all_fail(scene, script, "profiler-flood")
    assert sum(path.stat().st_size for path in scene.paths("**/*") if path.is_file()) < 4 << 20


@row("profiler", "is killed by the OOM killer", "in a memory cgroup of 1 MiB", "action.failed",
     {"reason": "profiler-killed", "hint": Words("dmesg")}, needs="cgroup-memory")  # fmt: skip
def out_of_memory(scene: Scene) -> None:
    group = Path(f"/sys/fs/cgroup/memory/guard-test-{os.getpid()}")
    group.mkdir()
    scene.undo.callback(group.rmdir)
    (group / "memory.limit_in_bytes").write_text(str(1 << 20))
    all_fail(scene, f"#!/bin/sh\necho $$ >{group}/cgroup.procs\nexec tail /dev/zero\n", "profiler-killed")
    assert "oom_kill 0" not in (group / "memory.oom_control").read_text()


@row("profiler", "leaves the target stopped", "sends it SIGSTOP and fails", "target.continued", {})
def leaves_stopped(scene: Scene) -> None:
    script = '#!/bin/sh\nwhile [ "$1" != --pid ]; do shift; done\nkill -STOP $2\nexit 1\n'
    scene.begin(**crippled(scene, script))
    scene.reach("warning")
    assert scene.ask("grow 40") == "done"
    scene.wait_for("target.continued", pid=scene.pid)
