"""The agent: a thread of the target that waits on a socket and answers with counts, sizes and names of types.

The socket is an abstract one, `guard-heap-<token>-<pid>`: no file, nothing left behind, and it works on a read-only
disk. Only root and the process's own user are answered. The thread is stopped before each fork and started again after
it, in parent and child, so that no lock of its is copied held and no Python warns of a fork with threads. Everything
it uses is taken here, at the start: gevent and the like replace what they patch later on.
"""

from __future__ import annotations

import _socket
import os
import sys
from _thread import allocate_lock, get_native_id, start_new_thread
from time import monotonic, sleep

import _guard_census as counting
import _guard_chain as chains

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VARIABLE = "_GUARD_AGENT"
_PEER = 12  # struct ucred: pid, uid, gid
_FRAMES = 1  # each one more doubles what tracing costs
_PATIENCE_S = 2.0
_MOST_REQUEST = 1024
_END_S = 0.05  # for a thread that has ended to be gone from /proc


class _Agent:
    """The agent of one process."""

    def __init__(self, mode: str, token: str) -> None:
        self.mode = mode
        self.token = token
        self.trouble = ""
        self.memory = -1
        self.tracker: Any = None
        self.recordings = 0
        self._socket: Any = None
        self._done = allocate_lock()
        self._task = 0
        self._stopping = False
        self._uid = os.geteuid()

    # -- the thread -----------------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Open the socket and start the thread."""
        self._stopping = False
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self._socket.bind(self._name())
        self._socket.listen(4)
        self._done = allocate_lock()
        self._done.acquire()
        start_new_thread(self._serve, (self._socket, self._done))

    def _name(self) -> bytes:
        return b"\0guard-heap-%s-%d" % (self.token.encode(), os.getpid())

    def rest(self) -> None:
        """Before a fork: end the thread."""
        if self._socket is None:
            return
        self._stopping = True
        try:
            self._socket.shutdown(_socket.SHUT_RDWR)
        except OSError:
            pass
        if self._done.acquire(True, _PATIENCE_S) and sys.version_info >= (3, 12):
            path, until = f"/proc/self/task/{self._task}", monotonic() + _END_S
            while os.path.exists(path) and monotonic() < until:  # Python counts what the kernel shows
                pass
        _close_own(self._socket, self._name())
        self._socket = None

    def go_on(self) -> None:
        """After a fork, in the parent and in the child."""
        try:
            self.listen()
        except Exception:
            self._socket = None

    def child(self) -> None:
        """After a fork, in the child: what its parent records is its parent's."""
        self.tracker = None
        if self.memory >= 0:
            os.close(self.memory)
            self.memory = -1
        self.go_on()

    def _serve(self, listener: Any, done: Any) -> None:
        self._task = get_native_id()
        try:
            name = self._name()
            while not self._stopping and listener.getsockname() == name:
                fd, _ = listener._accept()
                connection = _socket.socket(fileno=fd)
                try:
                    connection.settimeout(_PATIENCE_S)
                    self._answer(connection)
                except Exception:  # a peer that left, or a fault of ours: the next one may fare better
                    pass
                finally:
                    connection.close()
        except Exception:  # the listener was closed
            pass
        finally:
            done.release()

    def _answer(self, connection: Any) -> None:
        peer = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _PEER)
        pid, uid = int.from_bytes(peer[:4], sys.byteorder), int.from_bytes(peer[4:8], sys.byteorder)
        # A pid of 0 is one of another pid namespace: a neighbour in a pod shares the network, not the processes.
        if uid not in (0, self._uid, os.geteuid()) or not pid:
            connection.sendall(b'{"error":"not your process"}\n', _socket.MSG_NOSIGNAL)
            return
        line = connection.recv(_MOST_REQUEST).decode("utf-8", "replace").strip()
        try:
            answer = self._do(line)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        connection.settimeout(10.0)
        if line == "recording" and self.memory >= 0:
            handle = self.memory.to_bytes(4, sys.byteorder)
            rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, handle)]
            connection.sendmsg([b"{}\n"], rights, _socket.MSG_NOSIGNAL)
            return
        told = counting.encoded(answer).encode("ascii", "backslashreplace") + b"\n"
        connection.sendall(told, _socket.MSG_NOSIGNAL)  # SIGPIPE may end the program

    def _do(self, line: str) -> dict[str, Any]:
        word, _, rest = line.partition(" ")
        if word == "hello":
            version = ".".join(map(str, sys.version_info[:3]))
            return {"mode": self.mode, "python": version, "trouble": self.trouble, "recordings": self.recordings}
        if word == "census":
            return dict(counting.census(float(rest), self._is_stopping))
        if word == "chain":
            seconds, _, name = rest.partition(" ")
            return dict(chains.chain(name, float(seconds), self._is_stopping))
        if word == "traces":
            return dict(chains.traces(int(rest), self._is_stopping))
        if word == "finish":
            self.finish()
            return {"trouble": self.trouble}
        if word == "again":
            self.again()
            return {"recordings": self.recordings}
        return {"error": "unknown request"}

    def _is_stopping(self) -> bool:
        return self._stopping

    # -- what records from the start ------------------------------------------------------------------------------

    def record(self) -> None:
        """tracemalloc or memray, from here on. What can't be had is said in the answer to `hello`."""
        if self.mode == "memray":
            try:
                import atexit

                self._memray()
                atexit.register(self.finish)
            except Exception as error:
                self.trouble = f"{type(error).__name__}: {error}"
                self.mode = "tracemalloc"
        if self.mode == "tracemalloc":
            import _tracemalloc

            if not _tracemalloc.is_tracing():
                _tracemalloc.start(_FRAMES)

    def _memray(self) -> None:
        """memray writes into memory: there is no file to be left behind, and none to be written on a read-only disk."""
        import memray

        self.memory = os.memfd_create("guard-heap")
        self.tracker = memray.Tracker(
            destination=memray.FileDestination(f"/proc/self/fd/{self.memory}", overwrite=True, compress_on_exit=False),
            file_format=memray.FileFormat.AGGREGATED_ALLOCATIONS,
        )
        self.tracker.__enter__()
        self.recordings += 1

    def finish(self) -> None:
        """End memray's recording: it is whole then. Who wants it has it open."""
        tracker, self.tracker = self.tracker, None
        if tracker is not None:
            tracker.__exit__(None, None, None)

    def again(self) -> None:
        """Record anew: the recording that was finished tells nothing of what comes after it."""
        if self.tracker is None and self.memory >= 0:
            os.close(self.memory)
            self.memory = -1
            self._memray()


def _close_own(listener: Any, name: bytes) -> None:
    """Close a socket, unless the program closed its number (daemons do) and has something else there now."""
    try:
        if listener.getsockname() == name:
            listener.close()
            return
    except OSError:
        pass
    listener.detach()


def arm() -> None:
    """Start the agent as the environment asks. Raises whatever goes wrong."""
    mode, _, token = os.environ.get(VARIABLE, "").partition(":")
    has_gil = getattr(sys, "_is_gil_enabled", None)
    if mode not in ("census", "tracemalloc", "memray") or not token.isalnum() or (has_gil and not has_gil()):
        return
    agent = _Agent(mode, token)
    agent.record()
    agent.listen()
    os.register_at_fork(before=agent.rest, after_in_parent=agent.go_on, after_in_child=agent.child)
    sleep(0)  # so that the thread stands in its wait
