"""Which TCP sockets a process listens on, and where its network is. Nothing is connected to."""

from __future__ import annotations

import os
import socket

_LISTENING = "0A"  # TCP_LISTEN in the column `st` of /proc/net/tcp
_LOOPBACK = ("127.0.0.1", "::1", "0.0.0.0", "::")


class Listener:
    """A listening TCP socket: `inode`, `host` and `port`."""

    __slots__ = ("host", "inode", "port")

    def __init__(self, inode: int, host: str, port: int) -> None:
        self.inode = inode
        self.host = host
        self.port = port

    @property
    def local(self) -> bool:
        """Whether it is reached on loopback."""
        return self.host in _LOOPBACK

    @property
    def on_loopback(self) -> bool:
        """Whether it is reached from nowhere else."""
        return self.host in ("127.0.0.1", "::1")

    @property
    def address(self) -> str:
        """Where to connect."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)


def listening(pid: int) -> list[Listener]:
    """All listening sockets of the process's network, whoever holds them."""
    found: list[Listener] = []
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{pid}/net/{name}", encoding="ascii", errors="replace") as file:
                found += parse_sockets(file.read())
        except OSError:
            continue
    return found


def parse_sockets(text: str) -> list[Listener]:
    """The listening sockets in the text of /proc/net/tcp or tcp6, proc(5). Pure."""
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        try:
            if words[3] == _LISTENING:
                host, _, port = words[1].rpartition(":")
                found.append(Listener(int(words[9]), _host(host), int(port, 16)))
        except (IndexError, ValueError, OSError):
            continue
    return found


def _host(text: str) -> str:
    """Words of four bytes, each in the machine's own order (little-endian on what is supported)."""
    data = b"".join(bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8))
    return socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data)


def held(pid: int) -> set[int]:
    """Inodes of the sockets that the process holds. Raises OSError."""
    found = set()
    with os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            try:
                target = os.readlink(entry.path)
            except OSError:
                continue
            if target.startswith("socket:["):
                found.add(int(target[8:-1]))
    return found


def own_listeners(pid: int) -> list[Listener]:
    """The listening sockets of a process. Raises OSError."""
    inodes = held(pid)
    return [each for each in listening(pid) if each.inode in inodes]


def other_network(pid: int) -> bool:
    """Whether the process has another network than this one: a container's."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
    except OSError:
        return False
