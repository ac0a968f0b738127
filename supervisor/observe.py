"""`guard watch`: the same watching for processes that guard did not start."""

from __future__ import annotations

import os
import time

from supervisor import pid1, sample, settling
from supervisor.actions.task import command_line
from supervisor.errors import UsageError

_READER_PATIENCE_S = 5.0


def watch(given: dict[str, list[str]], environ: dict[str, str], pids: list[int]) -> int:
    """Watch these processes and what descends from them until the last has ended or guard is told to end; 0.

    Without pids and with a pipe as stdout: whoever reads that pipe. Raises UsageError.
    """
    if not pids:
        pids = _other_end()
    for pid in pids:
        if not os.path.isdir(f"/proc/{pid}"):
            raise UsageError(f"there is no process {pid}", hint="guard watch PID, with a pid that ps shows")
    config = settling.settle(given, environ, pids[0])
    settling.check_extras(config)
    init = pid1.Init(None, config)
    init.install()
    os.chdir("/")
    from supervisor import loop

    watched = loop.Watch(init, config, command_line(pids[0]) or ["watch"], tuple(pids))
    watched.serve()
    return watched.finish()


def _other_end() -> list[int]:
    """The processes that read the pipe which is stdout. They may still be starting: the shell forks both at once."""
    try:
        status = os.fstat(1)
    except OSError:
        status = None
    if status is None or status.st_mode & 0o170000 != 0o010000:
        raise UsageError("no PID was given, and stdout is no pipe", hint="guard watch PID   or   guard watch | COMMAND")
    deadline = time.monotonic() + _READER_PATIENCE_S
    while time.monotonic() < deadline:
        found = readers(status.st_ino)
        if found:
            return found
        time.sleep(0.05)
    raise UsageError("nobody reads the pipe that is stdout", hint="guard watch PID   or   guard watch | COMMAND")


def readers(inode: int) -> list[int]:
    """Processes that have the read end of this pipe as their stdin, but for this one and shells about to exec."""
    wanted = f"pipe:[{inode}]"
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            if os.readlink(f"/proc/{name}/fd/0") == wanted:
                found.append(int(name))
        except OSError:
            continue
    # A child of one that was found is part of its tree already.
    parents = {pid: process.ppid for pid in found if (process := sample.read_process(pid)) is not None}
    return [pid for pid, parent in parents.items() if parent not in parents]
