"""What the kernel tells of every thread of a process, whatever its language: where it waits, and in which call.

Nothing is attached and nobody stops. Sources: proc_pid_stat(5), proc_pid_wchan(5), proc_pid_syscall(5),
proc_pid_stack(5) (root's alone).
"""

from __future__ import annotations

import os
import platform
from typing import Any

from supervisor.cgroup import read_text

MOST_THREADS = 256
STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "waiting for a device",
    "T": "stopped",
    "t": "traced",
    "Z": "dead",
    "X": "dead",
    "I": "idle",
}
# The calls that threads wait in, or that take memory. The numbers are part of the kernel's ABI.
_CALLS = {
    "x86_64": "read 0 write 1 poll 7 mmap 9 munmap 11 brk 12 ioctl 16 pread64 17 pwrite64 18 readv 19 writev 20 "
    "select 23 madvise 28 pause 34 nanosleep 35 sendfile 40 connect 42 accept 43 sendto 44 recvfrom 45 sendmsg 46 "
    "recvmsg 47 wait4 61 semop 65 msgsnd 69 msgrcv 70 fcntl 72 flock 73 fsync 74 fdatasync 75 rt_sigtimedwait 128 "
    "rt_sigsuspend 130 futex 202 io_getevents 208 restart_syscall 219 semtimedop 220 clock_nanosleep 230 "
    "epoll_wait 232 waitid 247 openat 257 pselect6 270 ppoll 271 splice 275 epoll_pwait 281 accept4 288 recvmmsg 299 "
    "getrandom 318 io_uring_enter 426 epoll_pwait2 441 futex_waitv 449",
    "aarch64": "io_getevents 4 epoll_pwait 22 fcntl 25 ioctl 29 flock 32 openat 56 read 63 write 64 readv 65 "
    "writev 66 pread64 67 pwrite64 68 sendfile 71 pselect6 72 ppoll 73 splice 76 fsync 82 fdatasync 83 waitid 95 "
    "futex 98 nanosleep 101 clock_nanosleep 115 restart_syscall 128 rt_sigsuspend 133 rt_sigtimedwait 137 msgrcv 188 "
    "msgsnd 189 semtimedop 192 semop 193 accept 202 connect 203 sendto 206 recvfrom 207 sendmsg 211 recvmsg 212 "
    "brk 214 munmap 215 mmap 222 madvise 233 accept4 242 recvmmsg 243 wait4 260 getrandom 278 io_uring_enter 426 "
    "epoll_pwait2 441 futex_waitv 449",
}


def threads(pid: int) -> list[dict[str, Any]]:
    """Each thread as in `.stacks.json`, with `state`, `wchan` and `syscall`; frames innermost first.

    Raises ProcessLookupError when the process is gone. What may not be read is None.
    """
    try:
        tids = sorted(map(int, os.listdir(f"/proc/{pid}/task")))
    except OSError:
        raise ProcessLookupError(pid) from None
    found = [thread for tid in tids[:MOST_THREADS] if (thread := _thread(pid, tid)) is not None]
    if not found:
        raise ProcessLookupError(pid)
    return found


def _thread(pid: int, tid: int) -> dict[str, Any] | None:
    folder = f"/proc/{pid}/task/{tid}"
    stat = read_text(f"{folder}/stat")
    if stat is None:
        return None
    name, state = name_and_state(stat)
    wchan = waits_in(read_text(f"{folder}/wchan"))
    call = call_name(read_text(f"{folder}/syscall"), platform.machine())
    frames = stack_frames(read_text(f"{folder}/stack"))
    if not frames and wchan:
        frames = [frame(wchan, "[kernel]")]
    if call:
        frames.append(frame(call, "[syscall]"))
    return {
        "pid": pid,
        "thread_id": tid,
        "thread_name": name,
        "os_thread_id": tid,
        "active": state in ("R", "D"),
        "owns_gil": False,
        "state": STATES.get(state, state),
        "wchan": wchan,
        "syscall": call,
        "frames": frames,
    }


def frame(name: str, filename: str, line: int = 0) -> dict[str, Any]:
    """A frame as py-spy writes them."""
    return {"name": name, "filename": filename, "short_filename": None, "module": None, "line": line, "locals": None}


def name_and_state(stat: str) -> tuple[str, str]:
    """The thread's name, which may hold anything, and its state's letter ("" when there is none)."""
    _, _, rest = stat.partition("(")
    name, _, rest = rest.rpartition(")")
    return name, rest.split()[0] if rest.split() else ""


def waits_in(text: str | None) -> str | None:
    """The kernel function that the thread waits in; `0` says that it runs, or that it isn't told."""
    text = (text or "").strip()
    return None if text in ("", "0") else text


def call_name(text: str | None, machine: str) -> str | None:
    """The system call of a waiting thread: `futex`, or `system call 999`. None: it runs, or that isn't told."""
    words = (text or "").split()
    if not words or not words[0].lstrip("-").isdigit() or words[0].startswith("-"):
        return None
    known = _CALLS.get(machine, "").split()
    return next((name for name, number in zip(known[::2], known[1::2], strict=True) if number == words[0]),
                f"system call {words[0]}")  # fmt: skip


def stack_frames(text: str | None) -> list[dict[str, Any]]:
    """The kernel's stack, `[<0>] futex_wait_queue+0x5e/0xb0` a line, innermost first."""
    frames = []
    for line in (text or "").splitlines()[:64]:
        name = line.partition("]")[2].strip().partition("+")[0]
        if name and not name.startswith("0x"):
            frames.append(frame(name, "[kernel]"))
    return frames
