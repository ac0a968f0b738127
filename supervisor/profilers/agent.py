"""Asking the heap agent of a process (see `supervisor/agent`), and why there is none to ask."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from typing import Any

from supervisor import sample
from supervisor.profilers import engine
from supervisor.profilers.failure import Failure, gone

VARIABLE = b"_GUARD_AGENT"
RUN_HINT = "guard run --heap-agent census -- COMMAND"
_MOST_ANSWER = 16 << 20
_PATIENCE_S = 1.0  # for one that is between two threads, as at a fork
_RETRY_S = 0.05
_SEPARATE = "IES"  # options of Python that keep PYTHONPATH or sitecustomize out


def ask(pid: int, request: str, timeout_s: float) -> dict[str, Any]:
    """The agent's answer. Raises Failure: `agent-silent`, `agent-refused`, `agent-failed`."""
    with _connect(pid, timeout_s) as link:
        answer = exchange(link, pid, request)
    if answer.get("error") == "not your process":
        said = "the agent answers root and its process's own user only"
        raise Failure("agent-refused", said, f"run guard as the user of process {pid}")
    return answer


def is_own(file: str | None) -> bool:
    """Whether a frame's file is guard's own in the target: the agent's, not the target's."""
    name = os.path.basename(file or "")
    return name.startswith("_guard_") and name.endswith(".py")


def exchange(link: socket.socket, pid: int, request: str) -> dict[str, Any]:
    """A request and its answer, a line each. Raises Failure: `agent-failed`, `target-gone`."""
    data = b""
    try:
        link.sendall(request.encode() + b"\n")
        while not data.endswith(b"\n") and (chunk := link.recv(65536)):
            data += chunk
            if len(data) > _MOST_ANSWER:
                break
        answer = json.loads(data)
    except (OSError, ValueError) as error:
        if _ended(pid):
            raise _gone(pid) from error
        said = f"the agent's answer to {request.split()[0]} was cut off after {len(data)} bytes: {error}"
        raise Failure("agent-failed", said, f"guard doctor --pid {pid}") from error
    if not isinstance(answer, dict):
        raise Failure("agent-failed", "the agent's answer makes no sense", f"guard doctor --pid {pid}")
    return answer


def peer(link: socket.socket) -> int:
    """Whose the other end of a socket is: a pid, 0 for one that isn't seen from here."""
    return int(struct.unpack("iII", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])


def recording(pid: int, timeout_s: float = 2.0) -> int | None:
    """A descriptor of what memray records in the process, None where it doesn't. Raises Failure."""
    with _connect(pid, timeout_s) as link:
        try:
            link.sendall(b"recording\n")
            _, handles, _, _ = socket.recv_fds(link, 64, 1)
        except OSError as error:
            raise Failure("agent-failed", str(error), f"guard doctor --pid {pid}") from error
    return handles[0] if handles else None


def _connect(pid: int, timeout_s: float) -> socket.socket:
    until_s = time.monotonic() + _PATIENCE_S
    while True:
        for name in addresses(pid):
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            link.settimeout(timeout_s)
            try:
                link.connect(name)
                if peer(link) == pid:  # any process may take any such name
                    return link
            except OSError:
                pass
            link.close()
        if time.monotonic() >= until_s or sample.read_process(pid) is None or not armed(pid):
            raise silence(pid)
        time.sleep(_RETRY_S)


def addresses(pid: int) -> list[bytes]:
    """Abstract sockets that may be the agent's of a process, as the kernel lists them (/proc/net/unix)."""
    inner = inner_pid(pid)
    end = b"-%d" % inner
    try:
        with open("/proc/net/unix", "rb") as file:
            names = {line.split()[-1] for line in file if b"@guard-heap-" in line}
    except OSError:
        return []
    return [b"\0" + name[1:] for name in sorted(names) if name.endswith(end)]


def inner_pid(pid: int) -> int:
    """The pid that the process itself sees: it may be in a pid namespace below guard's."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("NSpid:"):
                    return int(line.split()[-1])
    except (OSError, ValueError):
        pass
    return pid


def armed(pid: int) -> bool | None:
    """Whether the process was started with an agent in its environment; None where that can't be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return any(entry.startswith(VARIABLE + b"=") for entry in file.read().split(b"\0"))
    except OSError:
        return None


def silence(pid: int) -> Failure:
    """Why no agent answers."""
    if _ended(pid):
        return _gone(pid)
    facts = engine.look(pid)
    which = engine.choose(facts)
    if which != engine.PYTHON:
        return no_heap(pid, which)
    return why_silent(list(facts.command), armed(pid))


def no_heap(pid: int, which: str) -> Failure:
    """That guard has no way into the heap of a program of this engine, and what it tells instead. Pure."""
    if which in (engine.NODE, engine.BUN, engine.GO, engine.DOTNET, engine.JAVA):
        return Failure("not-python", f"process {pid} is no Python", f"guard profile --heap --pid {pid}")
    what = "a Ruby" if which == engine.RUBY else "no Python, Node, Bun, Go, .NET or Java"
    said = f"process {pid} is {what}, so guard can't read its heap; growth names the function or the mapping"
    return Failure("not-python", said, f"guard run -- COMMAND, or guard watch {pid}, for its growth")


def _ended(pid: int) -> bool:
    """Whether the process has ended; its parent may not have asked for it yet."""
    process = sample.read_process(pid)
    return process is None or process.state in ("Z", "X")


def _gone(pid: int) -> Failure:
    return gone(pid, f"process {pid} ended before its heap could be counted")


def why_silent(command: list[str], is_armed: bool | None) -> Failure:
    """The same, from the command line and the environment. Pure."""
    if not is_armed:
        return Failure("agent-silent", "it was started without a heap agent", RUN_HINT)
    found = separate(command)
    if found:
        said = f"{os.path.basename(command[0])} was started with {found}, which keeps the agent out"
        return Failure("agent-silent", said, f"start it without {found}")
    said = "it was started with a heap agent, which doesn't answer: an old or free-threaded Python, or it still starts"
    return Failure("agent-silent", said, "run it with CPython 3.8 or newer, with a GIL; once more when it is up")


def separate(command: list[str]) -> str:
    """The option of a Python command line that keeps an agent out (-I, -E, -S), or "". Pure."""
    words = iter(command[1:])
    for word in words:
        if not word.startswith("-") or word in ("-", "--"):
            return ""
        if word.startswith("--"):
            continue
        for number, letter in enumerate(word[1:], 1):
            if letter in _SEPARATE:
                return f"-{letter}"
            if letter in "cm":
                return ""
            if letter in "XW":
                if number == len(word) - 1:
                    next(words, None)
                break
    return ""
