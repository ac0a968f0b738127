"""Stacks by the target's own interpreter, where py-spy can't read it: one that is too new, or without a GIL.

From Python 3.14 on its standard library has a reader of other processes of the same version. A few lines of guard's
(`agent/_guard_unwind.py`) are run by it and answer over a pipe, in a fraction of a millisecond; nothing is stopped.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from typing import Any

from supervisor import cgroup, installing
from supervisor.profilers import interpreter, kernel, permission, runner, stdlib
from supervisor.profilers.failure import Failure, gone

ENGINE = "remote-debugging"
SINCE = (3, 14)
SCRIPT = os.path.join(os.path.dirname(stdlib.SCRIPT), "_guard_unwind.py")
DEADLINE_S = 5.0
_TRIES = 3  # what changes while it is read can make no sense
_MOST_BYTES = 32 << 20


class Reader:
    """One process that is read. Raises Failure where that isn't possible."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        found = interpreter.look(pid)
        if found is None or found.version is None or found.version < SINCE:
            raise Failure(
                "python-unsupported",
                f"{found or 'it'} brings no reader of its own",
                installing.package("py-spy", upgrade=True),
            )
        why = stdlib.hindered(pid, found.program)
        if why is not None:
            raise Failure(
                "python-unsupported", f"not by its own interpreter: {why}", installing.package("py-spy", upgrade=True)
            )
        self._hint = f"{found.program} -m asyncio pstree {pid}"
        try:
            self._helper = subprocess.Popen(
                [found.program, "-I", "-S", SCRIPT, str(pid)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
                env=runner.quiet_environment(), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise Failure("profiler-not-started", str(error), f"{found.program} --version") from error

    def threads(self) -> list[dict[str, Any]]:
        """All threads' stacks in py-spy's form, innermost frame first. Raises Failure."""
        said = ""
        for _ in range(_TRIES):
            answer = self._ask()
            if "threads" in answer:
                try:
                    return [self._thread(*thread) for thread in answer["threads"]]
                except (TypeError, ValueError) as error:
                    raise Failure("profiler-garbage", str(answer)[:80], self._hint) from error
            said = f"{answer.get('error')}: {answer.get('said')}"
            if answer.get("error") == "PermissionError":
                raise Failure("ptrace-refused", said, permission.ptrace_hint())
            if not os.path.isdir(f"/proc/{self.pid}"):
                raise gone(self.pid, said)
        raise Failure("profiler-failed", said, self._hint)

    def close(self) -> None:
        """End the helper."""
        _known.pop(self.pid, None)
        for stream in (self._helper.stdin, self._helper.stdout):
            if stream is not None:
                stream.close()
        self._helper.kill()
        self._helper.wait()

    def _ask(self) -> dict[str, Any]:
        assert self._helper.stdin is not None and self._helper.stdout is not None
        try:
            self._helper.stdin.write(b"\n")
            answer = _line(self._helper.stdout.fileno())
            found = json.loads(answer)
        except TimeoutError:
            self.close()
            raise Failure("profiler-hung", "no answer before the deadline", self._hint) from None
        except (OSError, ValueError) as error:
            self.close()
            raise Failure("profiler-crashed", f"exit code {self._helper.returncode}", self._hint) from error
        except BaseException:
            self.close()  # an answer may be under way
            raise
        return found if isinstance(found, dict) else {}

    def _thread(self, tid: int, has_gil: bool, frames: list[tuple[str, int, str]]) -> dict[str, Any]:
        stat = cgroup.read_text(f"/proc/{self.pid}/task/{int(tid)}/stat") or ""
        name, state = kernel.name_and_state(stat) if stat else ("", "")
        return {
            "pid": self.pid, "thread_id": int(tid), "thread_name": name or None, "os_thread_id": int(tid),
            "active": state == "R", "owns_gil": bool(has_gil),
            "frames": [
                {"name": str(function), "filename": str(file), "short_filename": os.path.basename(str(file)),
                 "module": None, "line": int(line), "locals": None}
                for file, line, function in frames
            ],
        }  # fmt: skip


def _line(fd: int) -> bytes:
    """One line within the deadline. Raises TimeoutError, OSError at the end of the stream."""
    found = b""
    until_s = time.monotonic() + DEADLINE_S
    while not found.endswith(b"\n"):
        if not select.select([fd], [], [], max(0.0, until_s - time.monotonic()))[0]:
            raise TimeoutError
        data = os.read(fd, 1 << 16)
        if not data or len(found) > _MOST_BYTES:
            raise OSError("the stream ended")
        found += data
    return found


_known: dict[int, Reader] = {}


def of(pid: int) -> Reader | None:
    """The reader that is at work for a process."""
    return _known.get(pid)


def first(pid: int) -> list[dict[str, Any]]:
    """A process's stacks by a reader that stays at work for it. Raises Failure."""
    reader = Reader(pid)
    try:
        threads = reader.threads()
    except BaseException:
        reader.close()
        raise
    _known[pid] = reader
    return threads
