"""What the kernel still knows of a run: OOM kills in its log and in the cgroup's counters, this boot, who is alive.

Sources: cgroups(7), admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst, ABI/testing/dev-kmsg, and mm/oom_kill.c for
the `oom-kill:` line.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import Literal

from supervisor import cgroup, sample
from supervisor.evidence import Run
from supervisor.store import boot_id

_MOST_MESSAGES = 200_000
_START_SLACK_S = 3.0
_TOGETHER_S = 1.0
# `here`: this boot of this machine; `rebooted`: this machine, an earlier boot; `elsewhere`: another machine.
Where = Literal["here", "rebooted", "elsewhere", "unknown"]


@dataclass(frozen=True, slots=True)
class OomKill:
    """An OOM kill from the kernel's log. `pid` is the initial namespace's. `group` is the cgroup whose limit was
    reached (None: it isn't told, or with `machine` the whole machine's memory was); `task_group` the victim's own.
    """

    at_s: float
    pid: int
    name: str
    group: str | None
    task_group: str | None
    rss_bytes: int | None = None
    machine: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What the kernel says now. None: it could not be asked (`log_refused` says why), or the run wasn't `here`."""

    where: Where
    log: tuple[OomKill, ...] | None = None
    log_refused: str = ""
    oom_kills: int | None = None
    guard_lives: bool | None = None
    target_lives: bool | None = None


def ask(run: Run) -> Facts:
    """Ask this machine's kernel about a run. Never raises; of a run of elsewhere the kernel knows nothing."""
    where = place_of(run)
    if where in ("rebooted", "elsewhere"):
        return Facts(where)
    try:
        log: tuple[OomKill, ...] | None = tuple(oom_kills(read_log(), _log_origin()))
        refused = ""
    except OSError as error:
        log, refused = None, os.strerror(error.errno or 0)
    record = run.record
    same_host = record.host == os.uname().nodename  # in another container the same pid is somebody else
    return Facts(
        where=where,
        log=log,
        log_refused=refused,
        oom_kills=_counted(run.record.cgroup),
        guard_lives=_lives(record.guard_pid, record.started_s) if same_host else None,
        target_lives=_lives(record.pid, record.started_s) if same_host and record.pid is not None else None,
    )


def place_of(run: Run) -> Where:
    """Where a run was, seen from here."""
    if run.record.boot_id is None:
        return "unknown"
    if run.record.boot_id == boot_id():
        return "here"
    return "rebooted" if run.record.host == os.uname().nodename else "elsewhere"


def _counted(directory: str | None) -> int | None:
    """OOM kills that a group counts which still is. The path comes from a file, so it is only taken below /sys."""
    if directory is None or os.path.realpath(directory) != directory or not directory.startswith("/sys/fs/cgroup/"):
        return None
    version = 1 if os.path.exists(f"{directory}/memory.oom_control") else 2
    return cgroup.read_memory(cgroup.Place([directory], version, [], version)).oom_kills


def _lives(pid: int | None, started_s: float | None) -> bool | None:
    """Whether this pid is still the run's: a process that began when the run did."""
    if pid is None or started_s is None or pid <= 0:
        return None
    process = sample.read_process(pid)
    if process is None or process.state in ("Z", "X"):
        return False
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - process.start_ticks / os.sysconf("SC_CLK_TCK")
    return abs(time.time() - age_s - started_s) <= _START_SLACK_S


# -- the kernel's log -------------------------------------------------------------------------------------------------


def _log_origin() -> float:
    """Wall-clock time of the log's zero: it counts as CLOCK_MONOTONIC does, without time spent suspended."""
    return time.time() - time.monotonic()


def read_log(path: str = "/dev/kmsg") -> list[str]:
    """The kernel's messages as `/dev/kmsg` gives them, one a record. Raises OSError where it may not be read."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    messages: list[str] = []
    try:
        while len(messages) < _MOST_MESSAGES:
            try:
                data = os.read(fd, 8192)
            except BlockingIOError:
                break
            except BrokenPipeError:  # the ring moved on under the reader
                continue
            if not data:
                break
            messages.append(data.decode("utf-8", "replace"))
    finally:
        os.close(fd)
    return messages


def oom_kills(messages: list[str], origin_s: float) -> list[OomKill]:
    """The OOM kills among kernel messages, oldest first. Pure.

    `oom-kill:constraint=...,oom_memcg=/a,task_memcg=/a/b,task=NAME,pid=1,uid=0` names group and victim; the line
    `... Killed process 1 (NAME) ... anon-rss:1kB, file-rss:1kB, shmem-rss:1kB` that follows its size.
    """
    found: list[OomKill] = []
    for message in messages:
        head, _, body = message.partition(";")
        body = body.partition("\n")[0]
        at_s = origin_s + _stamp(head)
        if body.startswith("oom-kill:constraint="):
            kill = _constraint(body, at_s)
            if kill is not None:
                found.append(kill)
        elif "Killed process " in body and "-rss:" in body:
            pid, name = _victim(body)
            size = sum(_kilobytes(body, f"{kind}-rss:") for kind in ("anon", "file", "shmem"))
            last = found[-1] if found else None
            if last is not None and last.pid == pid and last.rss_bytes is None:
                found[-1] = replace(last, rss_bytes=size)
            elif pid and body.startswith(("Memory cgroup out of memory", "Out of memory")):
                # Not the first of its group: memory.oom.group takes all that are in it, each with this line alone.
                with_last = last is not None and at_s - last.at_s < _TOGETHER_S
                group, own = (last.group, last.task_group) if last is not None and with_last else (None, None)
                found.append(OomKill(at_s, pid, name, group, own, size, body.startswith("Out of memory")))
    return found


def _stamp(head: str) -> float:
    """Seconds of a record's head `6,1234,56789012,-`."""
    parts = head.split(",")
    return int(parts[2]) / 1e6 if len(parts) > 2 and parts[2].isascii() and parts[2].isdigit() else 0.0


def _constraint(body: str, at_s: float) -> OomKill | None:
    # The victim chose its name and may have put commas and `pid=` into it: what the kernel wrote stands at the ends.
    before, _, rest = body.partition(",task=")
    name, _, tail = rest.rpartition(",pid=")
    pid = tail.partition(",")[0]
    if not (pid.isascii() and pid.isdigit()) or len(pid) > 9:
        return None
    fields = dict(part.partition("=")[::2] for part in before.split(","))
    group = fields.get("oom_memcg")
    return OomKill(at_s, int(pid), name, group, fields.get("task_memcg"), machine=group is None)


def _victim(body: str) -> tuple[int, str]:
    rest = body.partition("Killed process ")[2]
    pid, _, name = rest.partition(" ")
    if not (pid.isascii() and pid.isdigit()) or len(pid) > 9:
        return 0, ""
    return int(pid), name.partition(" total-vm:")[0].strip().removeprefix("(").removesuffix(")")


def _kilobytes(body: str, name: str) -> int:
    digits = body.rpartition(name)[2].partition("kB")[0]
    return int(digits) * 1024 if digits.isascii() and digits.isdigit() and len(digits) < 15 else 0
