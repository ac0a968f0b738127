"""Running a profiler: bounded in time, its output kept, the target checked afterwards."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

from supervisor import sample, stops
from supervisor.profilers.failure import Failure
from supervisor.profilers.lent import Lent
from supervisor.quantities import human_bytes

GRACE_S = 2.0  # py-spy writes its file within 20 ms of SIGINT
MOST_BYTES = 32 << 20


class Completed:
    """A profiler that ended: `code` is negative for a signal; `hung` when its deadline passed.

    `interrupted`: guard asked for the end before; what there was is kept. `cut`: whoever watched it ended it.
    """

    __slots__ = ("code", "cpu_s", "cut", "hung", "interrupted", "stderr", "stdout")

    def __init__(
        self, code: int, stdout: bytes, stderr: str, *, hung: bool, interrupted: bool, cut: bool, cpu_s: float
    ) -> None:
        self.code = code
        self.stdout = stdout
        self.stderr = stderr
        self.hung = hung
        self.cut = cut
        self.interrupted = interrupted
        self.cpu_s = cpu_s


class Interrupted(Exception):
    """guard asked the worker to come to an end."""


def hold(*numbers: signal.Signals) -> None:
    """From here on these signals wait, SIGINT if none is named, until something here that waits lets them in."""
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers or (signal.SIGINT,))


def run(
    argv: list[str],
    deadline_s: float,
    *,
    keep: tuple[int, ...] = (),
    watch: Callable[[int], bool] | None = None,
    every_s: float = 0.1,
    loan: Lent | None = None,
    most_bytes: int = MOST_BYTES,
) -> Completed:
    """Run to the end or the deadline: then SIGINT (py-spy keeps its file), two seconds, SIGKILL.

    A SIGINT to the worker is passed on the same way and ends the run early without an error; so does `watch`, called
    with the profiler's pid `every_s`, when it returns True. `keep` are descriptors the profiler inherits, by `loan` it
    reads its process. SIGINT may be blocked: it is let in while this waits. No file of the profiler's grows past
    `most_bytes`.

    Raises OSError when the profiler can't be started, Failure when it wrote without end.
    """
    out_fd, err_fd = os.memfd_create("stdout"), os.memfd_create("stderr")
    try:
        done = _run(argv, deadline_s, (out_fd, err_fd), keep, watch, every_s, loan, most_bytes)
        sizes = [os.fstat(fd).st_size for fd in (out_fd, err_fd, *keep)]
        if max(sizes) >= most_bytes:
            said = f"it wrote {human_bytes(most_bytes)}, and would have gone on"
            raise Failure("profiler-flood", said, f"{argv[0]} --version")
        done.stdout = os.pread(out_fd, sizes[0], 0)
        done.stderr = os.pread(err_fd, 65536, max(0, sizes[1] - 65536)).decode("utf-8", "replace")
        return done
    finally:
        os.close(out_fd)
        os.close(err_fd)


def _run(
    argv: list[str],
    deadline_s: float,
    streams: tuple[int, int],
    keep: tuple[int, ...],
    watch: Callable[[int], bool] | None,
    every_s: float,
    loan: Lent | None,
    most_bytes: int,
) -> Completed:
    """The profiler from start to end; its output is in the two streams then."""
    before = _children_cpu_s()

    def prepare() -> None:
        # SIGINT at its default and nothing blocked, whatever the worker has; no flood fills memory or disk.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        most = most_bytes if hard == resource.RLIM_INFINITY else min(most_bytes, hard)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    options: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": streams[0],
        "stderr": streams[1],
        "pass_fds": keep,
        "env": quiet_environment(),
        "restore_signals": True,
    }
    if loan is None:
        process = subprocess.Popen(argv, preexec_fn=prepare, **options)  # noqa: PLW1509 - one thread
    else:
        process = loan.start(argv, prepare, **options)
    hung = interrupted = cut = False
    until_s = time.monotonic() + deadline_s
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
            while True:
                left_s = until_s - time.monotonic()
                wait_s = left_s if watch is None else min(left_s, every_s)
                try:
                    _wait(process, wait_s)
                    break
                except subprocess.TimeoutExpired:
                    if time.monotonic() >= until_s:
                        raise
                    if watch is not None and watch(process.pid):
                        cut = True
                        raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    except (subprocess.TimeoutExpired, Interrupted) as cause:
        interrupted = isinstance(cause, Interrupted)
        hung = not interrupted and not cut
        process.send_signal(signal.SIGINT)
        try:
            _wait(process, GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            hung = True
    if loan is not None:
        loan.finish()
    cpu_s = _children_cpu_s() - before
    return Completed(process.returncode, b"", "", hung=hung, interrupted=interrupted, cut=cut, cpu_s=cpu_s)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Popen.wait polls, up to 50 ms late; a pidfd doesn't. Raises TimeoutExpired."""
    try:
        fd = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        process.wait(max(0.0, seconds))
        return
    try:
        ended = select.select([fd], [], [], max(0.0, seconds))[0]
    finally:
        os.close(fd)
    if not ended:
        raise subprocess.TimeoutExpired(process.args, seconds)
    process.wait()


def pause(seconds: float, until: int | None = None) -> bool:
    """Sleep, SIGINT let in as in `run`; whether guard asked for the end meanwhile.

    With `until` no longer than until that descriptor (a pidfd) is readable.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
            if until is None:
                time.sleep(seconds)
            else:
                select.select([until], [], [], seconds)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    except Interrupted:
        return True
    return False


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def quiet_environment() -> dict[str, str]:
    """The environment for a profiler: backtraces of its own are of no use in a one-line explanation."""
    return {name: value for name, value in os.environ.items() if name not in ("RUST_BACKTRACE", "RUST_LOG")}


def left_stopped(pid: int, was_stopped: bool) -> bool:
    """After a profiler: continue the process when the profiler left it stopped. True when it had to be."""
    return not was_stopped and sample.stopped(pid) and stops.resume(pid)
