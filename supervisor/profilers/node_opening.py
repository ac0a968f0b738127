"""Opening the inspector of a running Node: where its socket is, and SIGUSR1 where there is none yet."""

from __future__ import annotations

import json
import os
import signal
import time

from supervisor import libc
from supervisor.profilers import engine, node, sockets
from supervisor.profilers.failure import Failure, gone

_OPEN_S = 10.0
_HASTY_OPEN_S = 1.0
_START_S = 1.0
_LOOK_S = 0.01
_CONNECT_S = 2.0
_MOST_INFO = 65536
_CLONE_NEWNET = 0x40000000  # setns(2)


def opened(pid: int) -> tuple[sockets.Listener, str, bool]:
    """The inspector's socket, its websocket's path, and whether it was open before. Raises Failure.

    Of a process with a network of its own, this one goes there.
    """
    if sockets.other_network(pid):
        _enter_network(pid)
    flags = node.read_flags(pid)
    others: set[int] = set()
    found = _look(pid, flags, others)
    was_open = found is not None
    listener, path = found if found is not None else _open(pid, flags, others)
    return listener, path, was_open


def _enter_network(pid: int) -> None:
    """Go where the process is: only this worker does. Raises Failure."""
    try:
        fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            libc.setns(fd, _CLONE_NEWNET)
        finally:
            os.close(fd)
    except OSError as error:
        said = f"process {pid} has a network of its own, and guard can't go there ({error.strerror})"
        raise Failure("other-network", said, f"run guard inside its container, or nsenter -n -t {pid}") from None


def _look(pid: int, flags: node.Flags, others: set[int]) -> tuple[sockets.Listener, str] | None:
    """The inspector, if it is open. `others`: sockets that are known to be something else.

    It is looked for only where one can be, as a request may disturb a server of the program. Raises Failure.
    """
    try:
        own = sockets.own_listeners(pid)
    except FileNotFoundError:
        raise gone(pid) from None
    except OSError as error:
        hint = "run guard as the target's user, or with --cap-add SYS_PTRACE"
        raise Failure("other-user", f"its sockets can't be seen ({error.strerror})", hint) from None
    for listener in own:
        likely = listener.port in (flags.port, node.PORT) or (flags.port == 0 and listener.on_loopback)
        if likely and listener.inode not in others:
            path = _path(listener)
            if path is not None:
                return listener, path
            others.add(listener.inode)
    return None


def _open(pid: int, flags: node.Flags, others: set[int]) -> tuple[sockets.Listener, str]:
    """Send SIGUSR1 to a Node that takes it for what it means, and wait for its socket. Raises Failure."""
    launch = f"node --inspect={flags.port} SCRIPT opens it from the start"
    if flags.taken:
        said = f"{flags.taken} gives SIGUSR1 another meaning, or none: it wasn't sent"
        raise Failure("inspector-closed", said, launch)
    try:
        held = sockets.held(pid) if flags.port else set()
    except OSError:
        raise gone(pid) from None
    if any(
        each.port == flags.port and each.local and each.inode not in held - others for each in sockets.listening(pid)
    ):
        said = f"port {flags.port}, which its inspector would open, is taken: nothing was sent"
        hint = f"ss -ltnp 'sport = :{flags.port}'; start each Node with a port of its own: node --inspect-port=0 SCRIPT"
        raise Failure("inspector-port-taken", said, hint)
    until_s = time.monotonic() + max(0.0, _START_S - node.age_s(pid))
    while not node.catches(pid) and time.monotonic() < until_s and signal.SIGINT not in signal.sigpending():
        time.sleep(_LOOK_S)  # it is just starting
    # Last, as little as possible before the signal: it ends whoever doesn't handle it.
    if engine.of(pid) != engine.NODE or not node.catches(pid):
        why = "--permission, --disable-sigusr1, or its program took it away"
        said = f"it has no handler for SIGUSR1 ({why}): it wasn't sent"
        raise Failure("inspector-closed", said, launch)
    try:
        os.kill(pid, signal.SIGUSR1)
    except PermissionError as error:
        hint = "run guard as the target's user, or with --cap-add KILL"
        raise Failure("other-user", f"SIGUSR1: {error.strerror}", hint) from None
    except ProcessLookupError:
        raise gone(pid) from None
    until_s = time.monotonic() + _OPEN_S
    while time.monotonic() < until_s:
        found = _look(pid, flags, others)
        if found is not None:
            return found
        if signal.SIGINT in signal.sigpending():
            until_s = min(until_s, time.monotonic() + _HASTY_OPEN_S)
        time.sleep(_LOOK_S)
    said = (
        f"it opened no inspector within {_OPEN_S:g} s of SIGUSR1: its program listens to that signal itself, "
        "or its main thread is busy outside JavaScript"
    )
    raise Failure("inspector-silent", said, launch)


def _path(listener: sockets.Listener) -> str | None:
    """The path of the inspector's websocket; None when this is none of Node's."""
    import http.client

    connection = http.client.HTTPConnection(listener.address, listener.port, timeout=_CONNECT_S)
    try:
        connection.request("GET", "/json/list")
        found = json.loads(connection.getresponse().read(_MOST_INFO))
        address = str(found[0]["webSocketDebuggerUrl"])
        return "/" + address.removeprefix("ws://").partition("/")[2] if found[0].get("type") == "node" else None
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return None
    finally:
        connection.close()
