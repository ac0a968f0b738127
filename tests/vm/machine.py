"""The machine: whether it can be had, one boot for all tests of a session, their results as they come."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
BOOT = ROOT.parent / "shared" / "vm" / "run"
PROGRAMS = {"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "setpriv": "util-linux"}
INSIDE = "GUARD_TEST_MACHINE"
MARK = "\x1eguard-machine "
TIMEOUT_S = 1500
_NICE = 10
_PIPE_BYTES = 1 << 20  # results wait in it until their turn comes
# Four processors: under four guard doubles its sampling interval, which a test of cpu.max must tell apart.
OPTIONS = ("--cpus", "4", "--mem", "1024", "--timeout", str(TIMEOUT_S))


def lacking() -> str:
    """Why no machine can be booted here; "" when one can."""
    if not BOOT.exists():
        return f"there is no {os.path.relpath(BOOT, ROOT)}"
    if platform.machine() != "x86_64":
        return f"it is made for x86_64, not {platform.machine()}"
    packages = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    if packages:
        return f"missing programs: apt-get install --no-install-recommends {' '.join(packages)}"
    return ""


class NotToBeHad(Exception):
    """The machine did not come up: nothing ran in it."""


class Machine:
    """One boot that runs pytest on `nodeids`; results are read one by one."""

    def __init__(self, nodeids: list[str]) -> None:
        self._results: dict[str, list[dict[str, Any]]] = {}
        self._noise: list[str] = []
        self._running = ""
        self._stderr: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open as long as the machine is
        self._share = tempfile.mkdtemp(prefix="guard-machine-")
        inside = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-o", "addopts="]
        inside += ["--import-mode=importlib", f"--basetemp={self._share}/tests", "--timeout=240", *nodeids]
        self._process = subprocess.Popen(
            [sys.executable, str(BOOT), *OPTIONS, "--share", self._share, "--", *inside],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._stderr, text=True, errors="replace",
            cwd=ROOT, env={**os.environ, INSIDE: "1", "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        os.setpriority(os.PRIO_PROCESS, self._process.pid, _NICE)  # before it starts the machine, which inherits it
        assert self._process.stdout is not None
        fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def phases(self, nodeid: str) -> list[dict[str, Any]]:
        """The reports of one test's setup, call and teardown. Raises NotToBeHad; RuntimeError when it has none."""
        assert self._process.stdout is not None
        while not any(phase["when"] == "teardown" for phase in self._results.get(nodeid, ())):
            line = self._process.stdout.readline()
            if not line:
                raise self._gone(nodeid)
            _, mark, text = line.partition(MARK)
            if not mark:
                self._noise.append(line)
                continue
            phase = json.loads(text)
            self._running = phase["nodeid"]
            self._results.setdefault(phase["nodeid"], []).append(phase)
        return self._results[nodeid]

    def _gone(self, nodeid: str) -> Exception:
        code = self._process.wait()
        self._stderr.seek(0)
        said = f"{''.join(self._noise)[-4000:]}\n{self._stderr.read()[-8000:]}".strip()
        if code == 125 and not self._running:
            return NotToBeHad(said)
        after = self._running or "nothing"
        return RuntimeError(f"the machine ended with {code} and no result of {nodeid}, after {after}:\n{said}")

    def close(self) -> None:
        """Turn it off."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(30)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._stderr.close()
        shutil.rmtree(self._share, ignore_errors=True)


if __name__ == "__main__":
    print(lacking(), end="")
