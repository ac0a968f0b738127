"""Rows: the surroundings guard reads: cgroups, /proc, its user."""

from __future__ import annotations

import os
from pathlib import Path

from tests.integration.faults.needs import NOBODY
from tests.integration.faults.scene import Namespace, Scene
from tests.integration.faults.table import AtLeast, Words, row


def namespace(scene: Scene, script: str) -> Namespace:
    space = Namespace(script)
    scene.undo.callback(space.close)
    return space


def memory_group(scene: Scene, name: str) -> Path:
    """A v1 memory cgroup of the row's own."""
    group = Path(f"/sys/fs/cgroup/memory/guard-test-{os.getpid()}-{name}")
    group.mkdir()

    def remove() -> None:
        scene.until(lambda: not group.exists() or not (group / "cgroup.procs").read_text(), "the group is not empty")
        if group.exists():
            group.rmdir()

    scene.undo.callback(remove)
    return group


@row("place", "the cgroup is moved", "guard and target move to another memory cgroup, the first is removed",
     "cgroup.moved", {"limit_bytes": 1 << 30}, needs="cgroup-memory")  # fmt: skip
def moved(scene: Scene) -> None:
    first, second = memory_group(scene, "a"), memory_group(scene, "b")
    (first / "memory.limit_in_bytes").write_text(str(2 << 30))
    (second / "memory.limit_in_bytes").write_text(str(1 << 30))
    join = f'echo $$ >{first}/cgroup.procs; exec "$@"'
    scene.begin(before=["sh", "-c", join, "sh"])
    assert scene.wait_for("run.started")["limit_bytes"] == 2 << 30
    for pid in (first / "cgroup.procs").read_text().split():
        (second / "cgroup.procs").write_text(pid)
    (first / "memory.force_empty").write_text("0")
    first.rmdir()
    scene.wait_for("cgroup.moved")
    scene.reach("warning")


@row("place", "the cgroup sets no limit", "v1's `9223372036854771712`", "run.started", {"limit_source": "machine"},
     needs="cgroup-memory")  # fmt: skip
def unlimited(scene: Scene) -> None:
    group = memory_group(scene, "u")
    assert (group / "memory.limit_in_bytes").read_text() == "9223372036854771712\n"
    scene.begin(before=["sh", "-c", f'echo $$ >{group}/cgroup.procs; exec "$@"', "sh"])
    scene.reach("warning")


@row("place", "no cgroup is mounted", "all of them unmounted, in a namespace", "run.started",
     {"limit_source": "machine", "limit_bytes": AtLeast(1 << 20)}, needs="mounts")  # fmt: skip
def no_cgroup(scene: Scene) -> None:
    space = namespace(scene, "umount -R -l /sys/fs/cgroup || true")
    scene.begin(before=space.enter)
    scene.reach("warning")


@row("place", "/proc is not there", "unmounted, in a namespace", "sample.failed", {"reason": Words("")}, needs="mounts")
def no_proc(scene: Scene) -> None:
    space = namespace(scene, "umount -R -l /proc")
    scene.begin(before=space.enter)
    assert scene.ask("grow 60") == "done"
    scene.wait_for("sample.failed")


@row(
    "place",
    "/proc is unmounted in mid-run",
    "in a namespace",
    "action.failed",
    {"reason": "target-gone"},
    needs="mounts",
)
def proc_goes(scene: Scene) -> None:
    space = namespace(scene, "true")
    scene.begin(before=space.enter)
    scene.reach("warning")
    scene.wait_for("action.finished", action="snapshot")
    space.run("umount -R -l /proc")
    assert scene.ask("grow 40") == "done"
    scene.wait_for("state.changed", to="critical")  # by descriptors that are kept
    scene.wait_for("action.failed")


@row("place", "/proc hides other users' processes", "`hidepid=2`, guard not root", "action.finished",
     {"action": "snapshot"}, needs="mounts nobody")  # fmt: skip
def hidden(scene: Scene) -> None:
    space = namespace(scene, "mount -t proc -o hidepid=2 proc /proc")
    scene.profiles.mkdir()
    os.chown(scene.profiles, 65534, 65534)
    scene.begin(before=[*space.enter, *NOBODY])
    scene.reach("warning")
    scene.wait_for("action.finished", action="snapshot")


@row("place", "guard is not root", "another user, no capabilities", "action.finished", {"action": "snapshot"},
     needs="nobody")  # fmt: skip
def not_root(scene: Scene) -> None:
    scene.profiles.mkdir()
    os.chown(scene.profiles, 65534, 65534)
    scene.begin(before=NOBODY)
    scene.reach("warning")
    scene.wait_for("action.finished", action="snapshot")
