"""Trying a capability for real: what a check gets and gives, its bound in time, the process it is tried on.

Each check runs in a child of its own: one that hangs (a dead network disk, a process that holds its memory lock) is
killed with all it started, one that the kernel kills (a seccomp filter) is a finding, and what a check changes about
its process (signals, subreaper) stays there.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from supervisor import libc, sample
from supervisor.model import Process
from supervisor.profilers import runner
from supervisor.profilers.failure import Failure

WORKS, REFUSED, ABSENT = "works", "refused", "absent"
LEAKING_FUNCTION = "take_memory"
_MOST_HELD_BYTES = 32 << 20
_START_PATIENCE_S = 5.0
_REAP_PATIENCE_S = 1.0
_AGAIN = "guard doctor, once more on a quieter machine"

# Busy most of the time in one function, while another takes memory: naming the busy one is what a profiler that looks
# at the wrong moment does. Mappings instead of bytes objects, so that what is dropped really leaves RSS.
_PROGRAM = f"""
import mmap, sys, time
held = []
def {LEAKING_FUNCTION}():
    piece = mmap.mmap(-1, 128 << 10, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, len(piece), mmap.PAGESIZE):
        piece[page] = 1
    held.append(piece)
def be_busy():
    end = time.monotonic() + 0.008
    while time.monotonic() < end:
        sum(range(100))
print(flush=True)
while True:
    {LEAKING_FUNCTION}()
    be_busy()
    if len(held) << 17 > int(sys.argv[1]):
        held.clear()
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a try: `works`, `refused` (then `hint` says what to change) or `absent` (by nature), and why."""

    status: str
    detail: str
    hint: str = ""


def works(detail: str) -> Verdict:
    """It does what it should."""
    return Verdict(WORKS, detail)


def refused(detail: str, hint: str) -> Verdict:
    """It could be had: `hint` is the setting to change or the command to type."""
    return Verdict(REFUSED, detail, hint)


def absent(detail: str) -> Verdict:
    """This system or target doesn't have it, and that is expected."""
    return Verdict(ABSENT, detail)


@dataclass(frozen=True, slots=True)
class Scene:
    """What checks are tried on.

    `guard_pid` is the doctor's own process. `subject` is the process that profilers are tried on, None when the
    throw-away one didn't start (`trouble` says why). `place_of` is whose cgroup counts. `scratch` is a private
    directory that is removed afterwards, "" without one.
    """

    guard_pid: int
    subject: Process | None
    place_of: int | str
    profiles_dir: str
    scratch: str = ""
    trouble: str = ""
    throwaway: bool = True

    @property
    def pid(self) -> int:
        """The subject's pid. Raises Failure without a subject, or when it has ended since."""
        if self.subject is None:
            raise Failure("no process to try it on", self.trouble, f"{sys.executable or 'python3'} -IS -c pass")
        now = sample.read_process(self.subject.pid)
        if now is None or now.state in ("Z", "X") or now.start_ticks != self.subject.start_ticks:
            hint = "guard doctor --pid PID, of a process that lives longer"
            raise Failure("target-gone", f"process {self.subject.pid} has ended", hint)
        return self.subject.pid


def only_of(scene: Scene, whose: str) -> Verdict:
    """It is for programs of another language than the process that is tried."""
    if scene.throwaway:
        return absent(f"only of {whose}: guard doctor --pid PID")
    return absent(f"only of {whose}, and process {scene.pid} is none")


@dataclass(frozen=True, slots=True)
class Check:
    """One capability: `attempt` tries it and may raise anything. `seconds` bound it.

    `python`: it makes sense on a Python process only.
    """

    name: str
    attempt: Callable[[Scene], Verdict]
    seconds: float = 2.0
    python: bool = False


def attempt(check: Check, scene: Scene) -> Verdict:
    """The check's verdict; whatever it raises is one, too."""
    try:
        return check.attempt(scene)
    except Failure as failure:
        return refused(f"{failure.reason}: {failure.said}", failure.hint or _AGAIN)
    except OSError as error:
        what = f" ({error.filename})" if error.filename else ""
        return refused(f"{os.strerror(error.errno or 0)}{what}", f"ls -ld {error.filename}" if what else _AGAIN)
    except Exception as error:  # a bug of guard's must not take the other findings along
        return refused(f"{type(error).__name__}: {error}", "guard doctor --json, and report what it prints as a bug")


def bounded(check: Check, scene: Scene) -> Verdict:
    """`attempt` in a child that is killed, with what it started, after `check.seconds`."""
    try:
        read_end, write_end = os.pipe()
        pid = os.fork()
    except OSError as error:
        return refused(f"no process to try it in: {os.strerror(error.errno or 0)}", "ulimit -u -n")
    if pid == 0:
        _in_child(check, scene, write_end)
    os.close(write_end)
    try:
        data = _read(read_end, check.seconds)
    finally:
        os.close(read_end)
        status = _end(pid)
    if data is None:
        _let_run(scene)
        return refused(f"no answer within {check.seconds:g} s", _AGAIN)
    try:
        return Verdict(**json.loads(data))
    except (ValueError, TypeError):
        by = signal.Signals(os.WTERMSIG(status)).name if status and os.WIFSIGNALED(status) else "no answer"
        return refused(f"the try ended by {by}", "docker run --security-opt seccomp=unconfined; dmesg | tail")


def _in_child(check: Check, scene: Scene, write_end: int) -> NoReturn:
    try:
        os.setsid()
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))  # traps wait for it
        verdict = attempt(check, scene)
        answer = {"status": verdict.status, "detail": verdict.detail, "hint": verdict.hint}
        os.write(write_end, json.dumps(answer).encode())
    finally:
        os._exit(0)


def _read(fd: int, seconds: float) -> bytes | None:
    """All that comes until the other end is closed; None when that takes longer."""
    deadline = time.monotonic() + seconds
    data = b""
    while (left := deadline - time.monotonic()) > 0:
        if select.select([fd], [], [], left)[0]:
            chunk = os.read(fd, 65536)
            if not chunk:
                return data
            data += chunk
    return None


def _end(pid: int) -> int | None:
    """Kill what is left of a child's group and reap the child; its status, None if even KILL doesn't reach it.

    One that waits for a disk that never answers can't be waited for.
    """
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
        _kill_group(pid)
        deadline = time.monotonic() + _REAP_PATIENCE_S
        while done == 0 and time.monotonic() < deadline:
            time.sleep(0.002)
            done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return status if done else None


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        try:
            os.kill(pid, 0 if os.getpgid(0) == pid else signal.SIGKILL)
        except OSError:
            pass


def _let_run(scene: Scene) -> None:
    """After a try that was killed: its tracer is dying, and no process may stay stopped for its sake."""
    if scene.subject is None or scene.subject.state in ("T", "t"):
        return
    deadline = time.monotonic() + _REAP_PATIENCE_S
    while sample.stopped(scene.subject.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    now = sample.read_process(scene.subject.pid)
    if now is not None and now.start_ticks == scene.subject.start_ticks:
        runner.left_stopped(now.pid, was_stopped=False)


class Throwaway:
    """A Python process that leaks, held within bounds; ended, by its pid, when the block is left."""

    def __init__(self, headroom_bytes: int) -> None:
        self._most = min(_MOST_HELD_BYTES, max(4 << 20, headroom_bytes // 8))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Process | str:
        """The process once it leaks, or why there is none."""
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-IS", "-c", _PROGRAM, str(self._most)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_before_exec,  # noqa: PLW1509 - the doctor has one thread
            )
        except (OSError, subprocess.SubprocessError) as error:
            return f"{sys.executable or 'this Python'} can't be started: {error}"
        assert self._process.stdout is not None
        ready = select.select([self._process.stdout], [], [], _START_PATIENCE_S)[0]
        if not ready or not self._process.stdout.read(1):
            return f"{sys.executable} did not come up within {_START_PATIENCE_S:g} s"
        return sample.read_process(self._process.pid) or "no /proc shows it"

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()


def _before_exec() -> None:
    """In the child: end with the doctor, be the first to go when memory runs out, let its profilers in."""
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(libc.PR_SET_PTRACER, os.getppid())  # as `guard run` does under Yama 1
    try:
        with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
            file.write(b"1000")
    except OSError:
        pass
