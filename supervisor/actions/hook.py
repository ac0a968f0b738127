"""`hook`: run a user's command, bounded in time and output, in a process group of its own."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from typing import Any

from supervisor import libc, meant
from supervisor.actions.task import Task
from supervisor.profilers.failure import Failure

_MOST_OUTPUT = 500  # characters that are told, the last ones: a log line keeps no more
_GRACE_S = 2.0


def take(task: Task) -> dict[str, Any]:
    """Run the command until it ends or its time is over. What it leaves in the background is left alone.

    Returns `exit_code` and `output`. Raises Failure with what to type next.
    """
    told = json.loads(task.secret())
    command, timeout_s = list(told["command"]), float(task.spec["timeout_s"])
    parent = os.getpid()

    def prepare() -> None:
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    environment = {**os.environ, **told["variables"]}
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
            cwd=task.spec["cwd"], process_group=0, preexec_fn=prepare,  # noqa: PLW1509 - one thread
        )  # fmt: skip
    except OSError as error:
        raise Failure("hook-not-started", f"{command[0]}: {error.strerror}", meant.look_at(command[0])) from None
    assert process.stdout is not None
    output = _Tail(process.stdout.fileno())
    until_s = time.monotonic() + timeout_s
    try:
        in_time = _follow(process, output, until_s)
    except BaseException:
        _end(process)
        raise
    if not in_time:
        _end(process)
        output.read()
        said = f"it ran for {timeout_s:g} s and was ended; it printed: {output.text() or 'nothing'}"
        raise Failure("deadline", said, "guard run --hook-timeout 2m -- COMMAND")
    output.read()
    code = process.returncode
    if code != 0:
        how = f"it ended with {code}" if code > 0 else f"it was ended by {signal.Signals(-code).name}"
        raise Failure("hook-failed", f"{how}; it printed: {output.text() or 'nothing'}", "run it by hand")
    return {"exit_code": code, "output": output.text()}


class _Tail:
    """The end of what comes out of a pipe."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._data = b""
        os.set_blocking(fd, False)

    def read(self) -> bool:
        """Take what is there, within bounds: a writer without end must not hold this up. False at the end of it."""
        for _ in range(16):
            try:
                chunk = os.read(self.fd, 65536)
            except BlockingIOError:
                return True
            if not chunk:
                return False
            self._data = (self._data + chunk)[-4 * _MOST_OUTPUT :]
        return True

    def text(self) -> str:
        """As text, its last part."""
        return self._data.decode("utf-8", "backslashreplace").strip()[-_MOST_OUTPUT:]


def _follow(process: subprocess.Popen[bytes], output: _Tail, until_s: float) -> bool:
    """Whether it ended in time. It has ended when its process has, whoever still holds the pipe."""
    pidfd = os.pidfd_open(process.pid)
    try:
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        poller.register(output.fd, select.POLLIN)
        listens = True
        while process.poll() is None:
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                return False
            poller.poll(left_s * 1000 + 1)
            if listens and not output.read():
                poller.unregister(output.fd)
                listens = False
        return True
    finally:
        os.close(pidfd)


def _end(process: subprocess.Popen[bytes]) -> None:
    """TERM to its group, a moment, KILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except OSError:
            return
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            continue
