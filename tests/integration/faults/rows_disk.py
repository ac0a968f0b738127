"""Rows: the disk that evidence goes to."""

from __future__ import annotations

import json
import os
import shutil
import signal

from tests.integration.faults.scene import Namespace, Scene
from tests.integration.faults.table import Words, row

NO_SPACE = Words("No space left on device")


def on_tmpfs(scene: Scene, options: str) -> Namespace:
    """The profiles directory on a file system in memory, in a namespace of its own."""
    scene.profiles.mkdir()
    space = Namespace(f"mount -t tmpfs -o {options} none {scene.profiles}")
    scene.undo.callback(space.close)
    scene.seen = space.root / scene.profiles.relative_to("/")
    return space


def on_ext4(scene: Scene) -> Namespace:
    """On a file system of its own on a loop device, in a namespace of its own."""
    scene.profiles.mkdir()
    image = scene.folder / "image"
    image.write_bytes(b"")
    os.truncate(image, 8 << 20)
    space = Namespace(f"mkfs.ext4 -q {image} && mount -o loop {image} {scene.profiles}")
    scene.undo.callback(space.close)
    scene.undo.callback(space.run, f"umount -l {scene.profiles}")
    scene.seen = space.root / scene.profiles.relative_to("/")
    return space


def traced(*options: str) -> list[str]:
    """A prefix that makes system calls of guard's threads fail, and nobody else's."""
    return ["strace", "-qq", "-f", "-b", "execve", "-o", "/dev/null", *options]


@row("disk", "the disk fills up", "a small tmpfs, filled in mid-run", "store.failed", {"reason": NO_SPACE},
     needs="mounts")  # fmt: skip
def full(scene: Scene) -> None:
    space = on_tmpfs(scene, "size=256k")
    scene.begin(before=space.enter)
    scene.wait_for("run.started")
    space.run(f"head -c 1000000 /dev/zero >{scene.profiles}/fill || true")
    scene.wait_for("store.failed")
    scene.reach("warning")
    scene.wait_for("action.failed", action="snapshot", reason="evidence-not-written")
    space.run(f"rm {scene.profiles}/fill")


@row("disk", "the disk fills up between write and rename", "`rename` fails (strace)", "store.failed",
     {"what": "run.json", "reason": NO_SPACE}, needs="strace")  # fmt: skip
def full_at_rename(scene: Scene) -> None:
    scene.begin(before=traced("-e", "trace=/^rename", "-e", "inject=/^rename:error=ENOSPC:when=3+"))
    scene.wait_for("run.started")


@row("disk", "guard is killed between write and rename", "`rename` kills it (strace)", "previous_run.found",
     {"reason": "guard was killed"}, needs="strace")  # fmt: skip
def killed_at_rename(scene: Scene) -> None:
    scene.begin(before=traced("-e", "trace=/^rename", "-e", "inject=/^rename:signal=KILL:when=3"))
    scene.wait_for("run.started")
    scene.order("exit 7")
    scene.ends()
    assert scene.record()["outcome"] is None  # the start record, whole
    scene.begin(["--keep-runs", "5"])
    # What the killed one left unfinished is taken away by retention, some seconds after a start.
    scene.wait_for("previous_run.found")
    scene.until(lambda: not scene.paths("monitored/*/.*"), "the temporary file stays")


@row("disk", "the disk is read-only", "a tmpfs mounted `ro`", "config.adjusted",
     {"setting": "profiles-dir", "reason": Words("Read-only file system")}, needs="mounts")  # fmt: skip
def read_only(scene: Scene) -> None:
    space = on_tmpfs(scene, "ro")
    scene.begin(before=space.enter, env={"TMPDIR": str(scene.folder)})
    scene.wait_for("config.adjusted", setting="profiles-dir")


@row("disk", "the disk turns read-only", "ext4 on a loop device, aborted", "store.failed",
     {"reason": Words("Read-only file system")}, needs="mounts loop mkfs")  # fmt: skip
def aborted(scene: Scene) -> None:
    space = on_ext4(scene)
    scene.begin(before=space.enter)
    scene.wait_for("run.started")
    space.run(f"mount -o remount,abort {scene.profiles}")
    scene.wait_for("store.failed")
    scene.reach("warning")
    scene.wait_for("action.failed", action="snapshot")


@row("disk", "the disk hangs", "ext4 on a loop device, frozen: every write waits", "store.failed",
     {"reason": Words("hangs")}, needs="mounts loop mkfs")  # fmt: skip
def frozen(scene: Scene) -> None:
    space = on_ext4(scene)
    scene.begin(before=space.enter)
    scene.wait_for("run.started")
    scene.until(lambda: scene.paths("monitored/*/flight.jsonl")[0].stat().st_size, "no sample")
    space.run(f"fsfreeze -f {scene.profiles}")
    scene.undo.callback(space.run, f"fsfreeze -u {scene.profiles} || true")
    scene.wait_for("store.failed")
    scene.reach("warning")
    scene.process.send_signal(signal.SIGUSR2)  # forwarded, though evidence waits: the target dies of it
    scene.wait_for("signal.forwarded", signal="SIGUSR2")
    assert scene.answer() == ""
    space.run(f"fsfreeze -u {scene.profiles}")
    assert scene.ends() == 128 + signal.SIGUSR2
    scene.over = True


@row("disk", "no inodes are left", "a tmpfs with 8 inodes", "action.failed", {"said": NO_SPACE}, needs="mounts")
def inodes(scene: Scene) -> None:
    space = on_tmpfs(scene, "size=8m,nr_inodes=8")
    scene.begin(before=space.enter)
    scene.reach("warning")
    scene.wait_for("action.failed")


@row("disk", "the profiles directory is deleted", "`rm -r` in mid-run", "action.failed",
     {"said": Words("was replaced or removed")})  # fmt: skip
def deleted(scene: Scene) -> None:
    scene.begin()
    scene.wait_for("run.started")
    shutil.rmtree(scene.profiles)
    assert scene.ask("grow 60") == "done"
    scene.wait_for("action.failed")


@row("disk", "the profiles directory is replaced by a link", "`mv` and `ln -s` in mid-run", "action.failed",
     {"said": Words("was replaced or removed")})  # fmt: skip
def replaced(scene: Scene) -> None:
    scene.begin()
    scene.wait_for("run.started")
    trap, moved = scene.folder / "trap", scene.folder / "moved"
    scene.profiles.rename(moved)
    scene.seen = moved
    (run,) = moved.glob("monitored/*")
    (trap / "auto-memory" / run.name).mkdir(parents=True)
    scene.profiles.symlink_to(trap)
    scene.reach("warning")
    scene.wait_for("action.failed")
    assert [path for path in trap.rglob("*") if path.is_file()] == []


@row("disk", "a folder in it is replaced by a link", "`auto-memory` is a link to elsewhere", "action.failed",
     {"said": Words("")})  # fmt: skip
def category_is_a_link(scene: Scene) -> None:
    trap = scene.folder / "trap"
    trap.mkdir()
    scene.profiles.mkdir()
    (scene.profiles / "auto-memory").symlink_to(trap)
    scene.begin()
    scene.reach("warning")
    scene.wait_for("action.failed")
    assert list(trap.iterdir()) == []


@row("disk", "two guards share the directory, and one is killed", "SIGKILL", "previous_run.found",
     {"outcome": "guard-killed"})  # fmt: skip
def shared(scene: Scene) -> None:
    scene.begin()
    first, pid = scene.process, scene.pid
    scene.wait_for("run.started")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    scene.runs()
    os.kill(pid, signal.SIGKILL)
    scene.begin()
    for path in scene.paths("monitored/*/run.json"):
        assert json.loads(path.read_text())["outcome"] is None
