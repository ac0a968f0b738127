"""The real systemd-oomd, of a systemd that has prekill hooks, kills a unit that leaks; guard was asked before.

Debian 12's systemd is too old: GUARD_TEST_OOMD_ROOT names a directory with a newer Debian's (docs/oomd.md has
the line that makes one). It is booted in namespaces of this machine, with the units that `guard init --oomd` writes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.scaffold import oomd
from supervisor.scaffold.wish import Wish
from tests.integration.conftest import ROOT
from tests.vm.groups import Group

BUSYBOX = "/run/guard-vm/busybox"
SLICE = (
    "[Slice]\nManagedOOMMemoryPressure=kill\nManagedOOMMemoryPressureLimit=5%\nManagedOOMMemoryPressureDurationSec=1s\n"
)
LEAK = """
import time
kept = []
def hoard():
    kept.append(bytearray(1 << 20))
while len(kept) < 150:
    hoard()
    time.sleep(0.02)
while True:
    for each in kept:
        each[::4096] = bytes(len(each[::4096]))
"""
DRIVE = """
varlinkctl --timeout=120 info /run/systemd/oomd.prekill.hook/guard > /out/info
systemctl start leak
left=90; while systemctl -q is-active leak && [ $left -gt 0 ]; do sleep 1; left=$((left - 1)); done
left=30; until grep -q oom-killed /var/lib/guard-oomd/monitored/*/run.json || [ $left = 0 ]; do
    sleep 1; left=$((left - 1))
done
systemctl show -P Result leak > /out/result
journalctl --no-pager -o cat -u systemd-oomd > /out/oomd
journalctl --no-pager -o cat -u guard-oomd > /out/guard
systemctl exit 0
"""
# A controller can only be given on where no process is in the group itself: so only PID 1 to be enters it.
ENTER = 'echo 0 > "$0/cgroup.procs" && exec unshare -C sh -eu -c "$1" "$2" "$3"'
BOOT = f"""
mount --make-rprivate /
mount --bind "$0" "$0"
for place in $1; do mkdir -p "$0$place" && mount --bind "$place" "$0$place"; done
mount -t proc proc "$0/proc"
mount -t sysfs sys "$0/sys"
mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 "$0/sys/fs/cgroup"
mount --rbind /dev "$0/dev"
mount -t tmpfs -o mode=755 run "$0/run"
cp {BUSYBOX} "$0/run/busybox"
cd "$0" && mkdir -p old && pivot_root . old && /run/busybox umount -l /old
exec env -i container=guard PATH=/usr/sbin:/usr/bin:/sbin:/bin /usr/lib/systemd/systemd --unit=drive.target
"""


@pytest.fixture
def other() -> Path:
    """The root of the other Debian."""
    root = os.environ.get("GUARD_TEST_OOMD_ROOT", "")
    if not root:
        pytest.skip("absent: a systemd of 260 or later (GUARD_TEST_OOMD_ROOT, see docs/oomd.md)")
    return Path(root)


@pytest.fixture
def swap() -> Iterator[None]:
    """oomd acts on pressure while memory is being reclaimed: that takes somewhere to put it."""
    subprocess.run([BUSYBOX, "modprobe", "zram", "num_devices=1"], check=True)
    Path("/sys/block/zram0/disksize").write_text("256M")
    subprocess.run(["mkswap", "/dev/zram0"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["swapon", "/dev/zram0"], check=True)
    yield
    subprocess.run(["swapoff", "/dev/zram0"], check=True)


def install(root: Path, python: str) -> None:
    """Units, a guard to start, and what drives it all."""
    units = root / "etc/systemd/system"
    guard = root / "guard"
    guard.write_text(f'#!/bin/sh\nexec {python} -IS {ROOT}/bin/guard "$@"\n')
    guard.chmod(0o755)
    wish = Wish("/", "app", "app", "", ("true",), 1 << 20, "guard", "/guard", False, False)
    # Emulated processors are some 12 times slower.
    service = oomd.service(wish).replace("--deadline 3s", "--deadline 90s --growth 20s")
    assert "90s" in service
    configuration = oomd.configuration(wish).replace("=5s", "=120s")
    texts = {
        "guard-oomd.socket": oomd.socket(wish),
        "guard-oomd.service": service,
        "workload.slice": SLICE,
        "leak.service": f"[Service]\nSlice=workload.slice\nMemoryHigh=40M\nExecStart={python} -IS /out/leak.py\n",
        "drive.service": "[Unit]\nWants=systemd-oomd.service guard-oomd.service guard-oomd.socket dbus.service\n"
        "After=systemd-oomd.service guard-oomd.service dbus.service\n"
        "[Service]\nType=oneshot\nExecStart=/bin/sh /out/drive.sh\n",
        "drive.target": "[Unit]\nRequires=basic.target drive.service\nAfter=basic.target\n",
    }
    for name, text in texts.items():
        (units / name).write_text(text)
    if not (units / "tmp.mount").is_symlink():  # it would hide a checkout below /tmp
        (units / "tmp.mount").symlink_to("/dev/null")
    (root / "etc/systemd/oomd.conf.d").mkdir(exist_ok=True)
    (root / "etc/systemd/oomd.conf.d/guard-oomd.conf").write_text(configuration)
    out = root / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    (out / "leak.py").write_text(LEAK)
    (out / "drive.sh").write_text(DRIVE)
    shutil.rmtree(root / "var/lib/guard-oomd", ignore_errors=True)


@pytest.fixture
def box(group: Group) -> Iterator[Group]:
    """A group in which systemd makes others."""
    yield group
    group.set("cgroup.kill", 1)
    for path, _, _ in os.walk(group.path, topdown=False):
        deadline = time.monotonic() + 60
        while path != str(group.path):
            try:
                os.rmdir(path)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def test_the_real_oomd_asks_and_waits(other: Path, swap: None, box: Group) -> None:
    places = {str(ROOT), os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix)}
    if any(place == "/usr" or place == "/" for place in places):
        pytest.skip("this Python lies in /usr, which is the other Debian's there")
    install(other, sys.executable)
    line = ["unshare", "-m", "-p", "-u", "-i", "-f", "sh", "-eu", "-c", ENTER, str(box.path)]
    done = subprocess.run(
        [*line, BOOT, str(other), " ".join(places)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=220,
    )  # fmt: skip
    said = {path.name: path.read_text() for path in (other / "out").iterdir()}
    told = f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}\n{said}"
    assert said.get("result") == "oom-kill\n", told
    assert "io.systemd.oom.Prekill" in said["info"]
    oomds = said["oomd"].splitlines()
    asked = oomds.index("Invoking oomd prekill hook guard for cgroup /workload.slice/leak.service")
    assert "oomd prekill hook finished for cgroup /workload.slice/leak.service" in oomds[asked:], told
    assert "returned error" not in said["oomd"]
    evidence = other / "var/lib/guard-oomd"
    records = [json.loads(path.read_text()) for path in evidence.glob("monitored/*/run.json")]
    (record,) = [each for each in records if each["unit"] == "/workload.slice/leak.service"]
    assert (record["outcome"], record["killer"]) == ("oom-killed", "systemd-oomd"), told
    names = {Path(path).name.partition(".")[0][4:] for path in record["evidence"]}
    assert {"critical-snapshot", "critical-stacks"} <= names, told
    (stacks,) = evidence.glob(f"auto-memory/{record['run']}/*.stacks.json")
    frames = [frame["name"] for thread in json.loads(stacks.read_text())["threads"] for frame in thread["frames"]]
    assert "<module>" in frames
