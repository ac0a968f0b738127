"""`guard oomd-hook`: what systemd-oomd asks before it kills, answered in time whatever happens.

oomd connects to every socket in its hook directory, calls Notify and kills when all have answered, or at its timeout:
systemd's src/oom/oomd-util.c. So this process does nothing that can wait. Each kill has a process of its own
(`prekill`), forked and not started, since a machine that is short of memory loads programs slowly; its end of a pipe
closes when oomd may go on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Collection
from typing import Any, NoReturn

from supervisor import cgroup, errors, pid1, settling
from supervisor.config import Config
from supervisor.log import Log, Stream
from supervisor.oomd import listening, prekill, varlink

_MOST_CONNECTIONS = 64
_MOST_KILLS = 8
_IDLE_S = 30.0
_FINISH_S = 10.0
_EARLIER_S = 0.1  # a kill's process is to be through before it is answered for
_LONGEST_REASON = 200


class Connection:
    """A caller. `waits`: it called Notify, and its answer is due."""

    def __init__(self, end: socket.socket, now_s: float) -> None:
        self.end = end
        self.fd = end.fileno()
        self.since_s = now_s
        self.waits = False
        self.oneway = False
        self.closing = False
        self.data = b""
        self.out = b""


class _Kill:
    """A kill's process. `fd`: its pipe, closed by it when it is through, None once that was seen."""

    def __init__(self, pid: int, fd: int, group: str, due_s: float) -> None:
        self.pid = pid
        self.fd: int | None = fd
        self.group = group
        self.due_s = due_s
        self.waiting: list[Connection] = []


class Hook:
    """The service, on sockets that listen."""

    def __init__(
        self, init: pid1.Init, config: Config, listeners: list[socket.socket], deadline_s: float, growth_s: float,
        given: dict[str, list[str]], environ: dict[str, str],
    ) -> None:  # fmt: skip
        self._init = init
        self._config = config
        self._listeners = {listener.fileno(): listener for listener in listeners}
        self._deadline_s = deadline_s
        self._growth_s = growth_s
        self._given, self._environ = given, environ
        self._connections: dict[int, Connection] = {}
        self._kills: dict[int, _Kill] = {}  # by pid
        self._log = _log(config)
        for fd in self._listeners:
            init.poller.register(fd, _READ)

    def emit(self, level: str, name: str, /, **fields: Any) -> None:
        """Log one event."""
        self._log.emit(level, name, fields)

    def serve(self) -> None:
        """Answer until told to end; then let oomd go on, and kills that are under way keep what they have."""
        self.emit("info", "prekill.listening", path=str(next(iter(self._listeners.values())).getsockname()),
                  patience_s=self._deadline_s, evidence=self._config.profiles_dir)  # fmt: skip
        self._init.parts.append(self)
        while not self._init.stopped_from_outside:
            self._step(None)
        self.end()
        for kill in self._kills.values():
            self._through(kill)
            _signal(kill.pid, signal.SIGTERM)
        until_s = time.monotonic() + _FINISH_S
        while self._kills and time.monotonic() < until_s:
            self._step(until_s - time.monotonic())

    def end(self) -> None:
        """Listen no more."""
        for fd, listener in self._listeners.items():
            self._init.poller.unregister(fd)
            listener.close()
        self._listeners.clear()

    def look(self, now_s: float, ready: Collection[int]) -> float:
        """Serve who can be served, do what is due; seconds until something is due again."""
        for fd in ready:
            self._serve_one(fd)
        due: list[float] = []
        for kill in self._kills.values():
            if kill.waiting and now_s >= kill.due_s:
                self.emit("warning", "prekill.answered", cgroup=kill.group, reason="its process is late",
                          elapsed_s=self._deadline_s)  # fmt: skip
                self._through(kill)
            due += [kill.due_s] if kill.waiting else []
        for connection in list(self._connections.values()):
            if connection.waits:
                continue
            if now_s >= connection.since_s + _IDLE_S:
                self._close(connection)
            else:
                due.append(connection.since_s + _IDLE_S)
        return max(0.0, min(due) - now_s) if due else float("inf")

    def _step(self, timeout_s: float | None) -> None:
        self._init.pump(timeout_s)
        for entry in self._init.take_backlog():
            if isinstance(entry, pid1.Ended) and (kill := self._kills.pop(entry.pid, None)) is not None:
                self._through(kill)
                if entry.status:
                    self.emit("error", "prekill.failed", cgroup=kill.group, reason="its process failed",
                              hint="report it with the lines above", code=pid1.exit_code(entry.status))  # fmt: skip

    def _serve_one(self, fd: int) -> None:
        if fd in self._listeners:
            self._accept(self._listeners[fd])
        elif fd in self._connections:
            self._serve(self._connections[fd])
        else:
            for kill in self._kills.values():
                if kill.fd == fd and _is_through(fd):
                    self._through(kill)

    # -- callers --------------------------------------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        try:
            end, _ = listener.accept()
        except OSError:
            return
        end.setblocking(False)
        connection = Connection(end, time.monotonic())
        caller = listening.peer(end)
        if len(self._connections) >= _MOST_CONNECTIONS:
            end.close()
            return
        self._connections[connection.fd] = connection
        self._init.poller.register(connection.fd, _READ)
        if not listening.may_call(caller):
            refused = varlink.Refused("PermissionDenied", f"user {caller} is neither root nor {listening.OOMD_USER}")
            self._refuse(connection, refused, close=True)

    def _serve(self, connection: Connection) -> None:
        """Read and write what can be."""
        if connection.out:
            self._write(connection)
        try:
            data = connection.end.recv(varlink.MOST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if connection.closing:  # what it still says is of no interest
            if not data:
                self._close(connection)
            return
        connection.data += data
        self._calls(connection)
        if not data and not connection.closing and connection.fd in self._connections:
            self._ended(connection)

    def _ended(self, connection: Connection) -> None:
        """It says no more; who only closed its sending side still gets its answer."""
        connection.closing = True
        if connection.waits:
            self._init.poller.unregister(connection.fd)
        elif not connection.out:
            self._close(connection)

    def _calls(self, connection: Connection) -> None:
        """Answer calls in their order: one at a time, as varlink has it."""
        while not connection.waits and not connection.closing and varlink.END in connection.data:
            message, _, connection.data = connection.data.partition(varlink.END)
            connection.since_s = time.monotonic()
            try:
                call = varlink.parse(message)
                connection.oneway = call.oneway
                found = varlink.answer(call)
                if found is None:
                    self._notify(connection, varlink.cgroup_of(call))
                else:
                    self._send(connection, found)
            except varlink.Refused as refused:
                self._refuse(connection, refused, close=False)
        if len(connection.data) >= varlink.MOST_BYTES and not connection.closing:
            too_long = varlink.Refused("InvalidParameter", "the message is too long", parameter="message")
            self._refuse(connection, too_long, close=True)

    def _refuse(self, connection: Connection, refused: varlink.Refused, *, close: bool) -> None:
        self.emit("warning", "prekill.refused", reason=str(refused), said=refused.error,
                  hint="varlinkctl introspect " + listening.SOCKET)  # fmt: skip
        connection.closing = connection.closing or close
        self._send(connection, varlink.refusal(refused))

    def _send(self, connection: Connection, data: bytes) -> None:
        if not connection.oneway:
            connection.out += data
            self._write(connection)
        elif connection.closing:
            self._close(connection)

    def _write(self, connection: Connection) -> None:
        try:
            sent = connection.end.send(connection.out, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(connection)
            return
        connection.out = connection.out[sent:]
        if connection.out:
            self._init.poller.register(connection.fd, _READ | _WRITE)
        elif connection.closing:
            with contextlib.suppress(OSError):
                connection.end.shutdown(socket.SHUT_WR)
            self._close(connection)
        else:
            self._init.poller.register(connection.fd, _READ)

    def _close(self, connection: Connection) -> None:
        if self._connections.pop(connection.fd, None) is None:
            return
        with contextlib.suppress(KeyError):
            self._init.poller.unregister(connection.fd)
        connection.end.close()

    # -- kills ----------------------------------------------------------------------------------------------------

    def _notify(self, connection: Connection, group: str) -> None:
        """oomd is about to kill: begin, and answer later. What can't be begun is answered at once."""
        known = next((kill for kill in self._kills.values() if kill.group == group and kill.fd is not None), None)
        if known is None:
            directory = cgroup.named(group)
            if directory is None:
                self._skip(connection, group, "there is no such group", "systemd-cgls")
                return
            if len(self._kills) >= _MOST_KILLS:
                self._skip(connection, group, f"{_MOST_KILLS} kills are under way", "journalctl -u systemd-oomd")
                return
            try:
                known = self._fork(group, directory)
            except OSError as error:
                self._skip(connection, group, f"no process can be started: {error.strerror}", "dmesg | tail")
                return
        connection.waits = True
        known.waiting.append(connection)

    def _skip(self, connection: Connection, group: str, reason: str, hint: str) -> None:
        """Nothing can be done for this one, and that is no reason for oomd to wait."""
        self.emit("warning", "prekill.failed", cgroup=group, reason=reason, hint=hint)
        self._send(connection, varlink.reply({}))

    def _through(self, kill: _Kill) -> None:
        """Let oomd go on with it."""
        if kill.fd is not None:
            self._init.poller.unregister(kill.fd)
            os.close(kill.fd)
            kill.fd = None
        waiting, kill.waiting = kill.waiting, []
        for connection in waiting:
            connection.waits = False
            if connection.fd in self._connections:
                self._send(connection, varlink.reply({}))
                self._calls(connection)

    def _fork(self, group: str, directory: str) -> _Kill:
        """Begin a kill's process. Raises OSError."""
        now_s = time.monotonic()
        due_s = now_s + self._deadline_s
        asked = prekill.Asked(group, directory, due_s - _EARLIER_S, self._growth_s, self._given, self._environ)
        read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # Blocked until the child has handlers of its own: those it inherits would write to this process's pipe.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                self._become(asked, read_end, write_end)
        except OSError:
            os.close(read_end)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(write_end)
        kill = self._kills[pid] = _Kill(pid, read_end, group, due_s)
        self._init.poller.register(read_end, _READ)
        return kill

    def _become(self, asked: prekill.Asked, read_end: int, write_end: int) -> NoReturn:
        """In the child: nothing of the service's stays open, one kill is followed, and this never returns."""
        code = 1
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            ends = [kill.fd for kill in self._kills.values() if kill.fd is not None]
            for fd in (read_end, *ends, *self._listeners, *self._connections, *self._init.descriptors):
                os.close(fd)

            def answer(reason: str) -> None:
                with contextlib.suppress(OSError):
                    os.write(write_end, reason.encode()[:_LONGEST_REASON])
                os.close(write_end)

            prekill.take(asked, self._config, answer)
            code = 0
        except BaseException:
            errors.tell_fault()
        finally:
            os._exit(code)


_READ, _WRITE = 1, 4  # POLLIN, POLLOUT


def _log(config: Config) -> Log:
    json_lines = config.log_format == "json" or (config.log_format == "auto" and not os.isatty(2))
    return Log(Stream(2), json_lines=json_lines, level="error" if config.quiet else config.log_level, files=[])


def _is_through(fd: int) -> bool:
    """Whether the other end of a kill's pipe is closed, or has its reason to be so at once."""
    try:
        return len(os.read(fd, _LONGEST_REASON)) >= 0
    except BlockingIOError:
        return False
    except OSError:
        return True


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def directory(given: str | None, environ: dict[str, str]) -> str:
    """Where evidence goes: as given, as the settings say, else the service's state directory or the log directory."""
    if given is not None:
        return os.path.abspath(given)
    if named := environ.get("GUARD_PROFILES_DIR"):
        return os.path.abspath(named)
    state = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    # Resolved: of a dynamic user it is a link that systemd made, and guard follows none.
    return os.path.realpath(state) if state else "/var/log/guard"


def serve(path: str, profiles_dir: str | None, deadline_s: float, growth_s: float, environ: dict[str, str]) -> None:
    """Be the hook until told to end. Raises GuardError before it listens."""
    given = {"profiles-dir": [directory(profiles_dir, environ)]}
    config = settling.settle(given, environ)
    if config.env_file:  # each kill's settings are read anew, from another directory
        given["env-file"] = [config.env_file]
    listeners = listening.inherited(environ)
    own = not listeners
    listeners = listeners or [listening.listen(path)]
    try:
        init = pid1.Init(None, config)
        init.install()
        os.chdir("/")
        Hook(init, config, listeners, deadline_s, growth_s, given, environ).serve()
    finally:
        if own:
            with contextlib.suppress(OSError):
                os.unlink(path)
