"""What rows need of a machine, tried for real: None when it is there, else the reason it isn't."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

_TOOLS = {
    "strace": "strace",
    "cc": "cc",
    "mkfs": "mkfs.ext4",
    "unshare": "unshare",
    "setpriv": "setpriv",
    "node": "node",
}


def _succeeds(*line: str) -> bool:
    try:
        return subprocess.run(line, capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@functools.cache
def missing(need: str) -> str | None:
    """Why this machine doesn't have it."""
    if need in _TOOLS:
        return None if shutil.which(_TOOLS[need]) else f"{_TOOLS[need]} is not installed"
    if need == "root":
        return None if os.geteuid() == 0 else "takes root"
    if need == "mounts":
        works = _succeeds("unshare", "-m", "sh", "-c", "mount -t tmpfs none /mnt")
        return None if works else "this place doesn't let a mount namespace be made"
    if need == "loop":
        works = os.path.exists("/dev/loop-control") and os.access("/dev/loop-control", os.W_OK)
        return None if works else "there are no loop devices"
    if need == "pids":
        text = "echo 400 >/proc/sys/kernel/pid_max && echo 20 >/proc/sys/kernel/ns_last_pid"
        works = _succeeds("unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", text)
        return None if works else "a pid namespace has no last pid of its own to set here"
    if need.startswith("cgroup-"):
        controller = need.removeprefix("cgroup-")
        place = Path("/sys/fs/cgroup", controller)
        works = (place / "cgroup.procs").exists() and os.access(place, os.W_OK)
        return None if works else f"no cgroup v1 {controller} controller that may be written"
    if need == "nobody":
        works = _succeeds(*NOBODY, sys.executable, "-c", "")
        return None if works else "another user can't run this Python"
    raise AssertionError(need)


# Not root in anything but that it may read this checkout and this Python, wherever they are.
NOBODY = [
    "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all,+dac_read_search",
    "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search",
]  # fmt: skip
