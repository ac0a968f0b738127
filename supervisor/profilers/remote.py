"""A visit to a running Python 3.14+ that wasn't prepared: its main thread runs a script that guard leaves for it.

This is `sys.remote_exec`, done by guard itself: that function wants a Python of the target's minor version, and what it
has asked for it can't take back. Here the call is taken back when the main thread doesn't come by, and the script,
should it run after all, finds nobody at its socket, removes what is left and ends (`agent/_guard_visit.py`).

The script and the socket lie in a folder of the target's own, 0700, in its root: /tmp, /dev/shm or /var/tmp.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from typing import Any

from supervisor import files, sample
from supervisor.profilers import agent, interpreter, permission, runner, runtime
from supervisor.profilers.failure import Failure, gone

ENGINE = "sys.remote_exec, census"
NEEDS_BYTES = 12 << 20  # a thread, the script compiled, and what it counts with (measured: 3 MiB)
PATIENCE_S = 10.0  # until the main thread runs Python code
_LOOK_S = 0.1
_LATE_S = 0.3  # what had been taken up just before it was taken back has been read by then
_SOURCES = ("_guard_census", "_guard_chain")
_PLACES = (("tmp",), ("dev", "shm"), ("var", "tmp"))
_SCRIPT = """\
import _thread
_start = _thread.start_new_thread
if type(_start) is not type(len):  # gevent's: what it has replaced is a thread
    import _frozen_importlib
    _spec = _frozen_importlib.BuiltinImporter.find_spec("_thread")
    _start = _frozen_importlib.module_from_spec(_spec)
    _spec.loader.exec_module(_start)
    _start = _start.start_new_thread
try:
    _start(exec, ({body!r}, {{"__builtins__": __builtins__, "__name__": "guard"}}))
except RuntimeError:  # no thread could be started
    pass
"""


class Facts:
    """What decides whether a process can be visited. `found`: why its runtime is of no use, where it isn't."""

    __slots__ = ("enabled", "found", "python", "stopped", "version")

    def __init__(
        self,
        *,
        python: str,
        version: tuple[int, int] | None,
        enabled: bool,
        found: Failure | None,
        stopped: bool,
    ) -> None:
        self.python = python
        self.version = version
        self.enabled = enabled
        self.found = found
        self.stopped = stopped


def look(pid: int) -> Facts:
    """The facts of a process. Nothing is written."""
    known = interpreter.look(pid)
    version = known.version if known is not None else None
    enabled, found = False, None
    if known is not None and (version is None or version >= interpreter.REMOTE_EXEC):
        try:
            there = runtime.open_runtime(pid)
            version, enabled = there.version, there.enabled
            there.close()
        except Failure as failure:
            found = failure
    process = sample.read_process(pid)
    stopped = process is not None and process.state == "T"  # growth's tracer stops it for moments: t
    return Facts(python=str(known) if known is not None else "", version=version, enabled=enabled, found=found,
                 stopped=stopped)  # fmt: skip


def refusal(facts: Facts) -> tuple[str, str, str] | None:
    """Why it can't be visited: reason, words, what to type; None when nothing speaks against it. Pure."""
    if not facts.python:
        return "not-python", "it is no Python that guard knows", agent.RUN_HINT
    unknown = facts.version is None and facts.found is not None and facts.found.reason == "runtime-unknown"
    if unknown or (facts.version is not None and facts.version < interpreter.REMOTE_EXEC):
        return "python-too-old", f"{facts.python} runs no script for others: that came with 3.14", agent.RUN_HINT
    if facts.stopped:
        return "target-stopped", "it is stopped", "kill -CONT, and once more"
    if facts.found is not None:
        hint = permission.ptrace_hint() if facts.found.reason == "ptrace-refused" else facts.found.hint
        return facts.found.reason, facts.found.said, hint
    if not facts.enabled:
        said = "remote debugging is off in it (PYTHON_DISABLE_REMOTE_DEBUG, -X disable-remote-debug or its build)"
        return "remote-debug-off", said, agent.RUN_HINT
    return None


class Visit:
    """A thread in the process that answers as an agent does, as long as this is held; `others`: subinterpreters.

    Raises Failure, with nothing left behind but what `end` leaves.
    """

    def __init__(self, pid: int, patience_s: float = PATIENCE_S) -> None:
        self.pid = pid
        self._runtime = runtime.open_runtime(pid)
        self._folder: _Folder | None = None
        self._link: socket.socket | None = None
        self.others = self._runtime.others
        try:
            self._folder = _Folder(pid)
            self._link = self._begin(patience_s)
        except BaseException:
            self.end()
            raise

    def _begin(self, patience_s: float) -> socket.socket:
        assert self._folder is not None
        self._runtime.leave(f"{self._folder.path}/{_Folder.SCRIPT}")
        until_s = time.monotonic() + patience_s
        taken_s = 0.0
        interrupted = False
        while not interrupted:
            interrupted = runner.pause(_LOOK_S, self._folder.listener.fileno())
            link = self._folder.accept(self.pid)
            if link is not None:
                return link
            process = sample.read_process(self.pid)
            if process is None or process.state in ("Z", "X"):
                raise gone(self.pid)
            now_s = time.monotonic()
            if self._runtime.pending():
                if now_s >= until_s or process.state == "T":
                    break
                continue
            taken_s = taken_s or now_s
            if now_s >= max(until_s, taken_s + patience_s / 2):
                said = "it took up the script and doesn't answer: no thread could be started, or an audit hook objects"
                raise Failure("visit-silent", said, agent.RUN_HINT)
        if interrupted:
            raise Failure("interrupted", "it was ended before the process had come to the script", agent.RUN_HINT)
        said = f"its main thread ran no Python code for {patience_s:g} s: it waits, or is in C code"
        raise Failure("main-thread-blocked", said, agent.RUN_HINT)

    def ask(self, request: str, timeout_s: float) -> dict[str, Any]:
        """As `agent.ask`. Raises Failure."""
        assert self._link is not None
        self._link.settimeout(timeout_s)
        return agent.exchange(self._link, self.pid, request)

    def end(self) -> None:
        """Hang up: the thread ends. What wasn't taken up is taken back, and nothing stays on the disk.

        But where the script was taken up and nobody called, its folder stays: the process may still be about to open
        it by its path, under which somebody else could put another one. The script itself removes it when it runs.
        """
        on_its_way = False
        try:
            if self._runtime.take_back():
                runner.pause(_LATE_S)  # it may have been on its way to the file
            else:
                on_its_way = self._runtime.left and self._link is None
        except Failure:
            pass  # the process is gone
        self._runtime.close()
        if self._link is not None:
            self._link.close()
        if self._folder is not None:
            if on_its_way:
                self._folder.close()
            else:
                self._folder.remove()


class _Folder:
    """A folder with the script and a listening socket, in the target's root and its user's. Raises Failure."""

    SCRIPT = "visit.py"
    SOCKET = "guard"

    def __init__(self, pid: int) -> None:
        self._name = f"guard-heap-{secrets.token_hex(8)}"
        self._above = self._fd = -1
        self.path = ""
        uid, gid = _user(pid)
        troubles = []
        for parts in _PLACES:
            try:
                self._make(pid, parts, uid, gid)
                return
            except OSError as error:
                self.remove()
                troubles.append(f"/{'/'.join(parts)}: {os.strerror(error.errno or 0)}")
        said = f"no place for a script that it could read ({'; '.join(troubles)})"
        raise Failure("no-place", said, agent.RUN_HINT)

    def _make(self, pid: int, parts: tuple[str, ...], uid: int, gid: int) -> None:
        root = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._above = files.open_below(root, parts)
        finally:
            os.close(root)
        os.mkdir(self._name, 0o700, dir_fd=self._above)
        self._fd = files.open_below(self._above, (self._name,))
        self.path = "/" + "/".join((*parts, self._name))
        files.put(self._fd, self.SCRIPT, script(self.path).encode())
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(f"/proc/self/fd/{self._fd}/{self.SOCKET}")
        self.listener.listen(1)
        self.listener.setblocking(False)
        os.chmod(self.SOCKET, 0o600, dir_fd=self._fd)
        if os.geteuid() != uid:
            for name in (self.SCRIPT, self.SOCKET):
                os.chown(name, uid, gid, dir_fd=self._fd, follow_symlinks=False)
            os.fchown(self._fd, uid, gid)

    def accept(self, pid: int) -> socket.socket | None:
        """The process's own call, and nobody else's."""
        try:
            link, _ = self.listener.accept()
        except OSError:
            return None
        if agent.peer(link) == pid:
            return link
        link.close()
        return None

    def remove(self) -> None:
        """Close and remove all of it; what is gone already is no matter."""
        if self._fd >= 0:
            for name in (self.SCRIPT, self.SOCKET):
                _try(os.unlink, name, dir_fd=self._fd)
            _try(os.rmdir, self._name, dir_fd=self._above)
        self.close()

    def close(self) -> None:
        """Let go of it, and listen no more."""
        for fd in (self._fd, self._above):
            if fd >= 0:
                os.close(fd)
        self._above = self._fd = -1
        listener = getattr(self, "listener", None)
        if listener is not None:
            listener.close()


def _try(call: Any, name: str, *, dir_fd: int) -> None:
    try:
        call(name, dir_fd=dir_fd)
    except OSError:
        pass


def _user(pid: int) -> tuple[int, int]:
    """The effective user and group of a process, as seen from here. Raises Failure."""
    found = {}
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(("Uid:", "Gid:")):
                    found[line[:3]] = int(line.split()[2])
        return found["Uid"], found["Gid"]
    except (OSError, KeyError) as error:
        raise gone(pid) from error


def script(place: str) -> str:
    """What the process runs: it starts a thread, which reads the rest of the text."""
    folder = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "agent")
    texts = {}
    for name in (*_SOURCES, "_guard_visit"):
        with open(os.path.join(folder, f"{name}.py"), encoding="utf-8") as file:
            texts[name] = file.read().replace("from __future__ import annotations\n", "\n")  # that is a module, too
    body = texts.pop("_guard_visit") + f"\nvisit({place!r}, {texts!r})\n"
    return _SCRIPT.format(body=body)
