"""Starting the target exactly as its caller would have.

Imported before the target runs, so it imports next to nothing. Everything that guard or CPython changed in this
process (signal mask, ignored SIGPIPE and SIGXFSZ, environment) is put back in the child before exec.
"""

from __future__ import annotations

import _signal
import errno
import os
import select
import time

from supervisor import libc
from supervisor.errors import EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, GuardError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NoReturn

    from supervisor.config import Config
    from supervisor.terminal import Terminal

DEFAULT_PATH = b"/usr/local/bin:/usr/bin:/bin"
_LOOK_MS = 50


class Again:
    """What a start has to put back when it isn't guard's first: signals, directory, descriptors and their limit."""

    __slots__ = ("descriptors", "directory", "group", "ignored", "stdin", "stdout")

    def __init__(self) -> None:
        """As they are now, before guard's handlers are installed and its own descriptors take their place.

        Both descriptors are kept open; guard ends with them. Raises OSError.
        """
        signals = _signal.valid_signals() - {_signal.SIGKILL, _signal.SIGSTOP, _signal.SIGPIPE, _signal.SIGXFSZ}
        self.ignored = frozenset(int(each) for each in signals if _signal.getsignal(each) == _signal.SIG_IGN)
        try:
            self.directory = os.getcwd()
        except OSError:
            self.directory = "/"
        import resource

        self.descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)  # guard raises its own: see `proc_tree`
        self.stdin, self.stdout = _kept(0), _kept(1)
        self.group = 0  # the last life's

    def restore(self) -> None:
        """In the child. Raises OSError."""
        for number in _signal.valid_signals() - {_signal.SIGKILL, _signal.SIGSTOP}:
            try:
                _signal.signal(number, _signal.SIG_IGN if int(number) in self.ignored else _signal.SIG_DFL)
            except (OSError, ValueError):
                continue
        for fd, kept in ((0, self.stdin), (1, self.stdout)):
            if kept >= 0:
                os.dup2(kept, fd)
            else:
                os.close(fd)
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, self.descriptors)
        os.chdir(self.directory)


def _kept(fd: int) -> int:
    """Another descriptor of the same, -1 when it is closed for the target (see `boot.hold_closed_streams`)."""
    import fcntl

    try:
        if not os.get_inheritable(fd):
            return -1
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError:
        return -1


class Target:
    """A started target. `terminal` is the controlling one, or None without job control.

    `forked_bytes`: what guard itself held as it forked, which the kernel counts as the target's largest size, too.
    """

    __slots__ = ("command", "forked_bytes", "pid", "started_s", "terminal")

    def __init__(
        self, pid: int, command: list[str], started_s: float, terminal: Terminal | None, forked_bytes: int = 0
    ) -> None:
        self.forked_bytes = forked_bytes
        self.pid = pid
        self.command = command
        self.started_s = started_s
        self.terminal = terminal


def _own_bytes() -> int:
    """This process's RSS; 0 when it can't be told."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            return int((file.readall() or b"").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def original_environment() -> dict[bytes, bytes]:
    """The environment guard was given. CPython may have added LC_CTYPE to its own since (PEP 538)."""
    try:
        with open("/proc/self/environ", "rb", buffering=0) as file:
            data = file.readall() or b""
    except OSError:
        return dict(os.environb)
    return split_environment(data)


def split_environment(data: bytes) -> dict[bytes, bytes]:
    """NAME=value entries parted by NUL bytes; of a name given twice the first counts, as getenv(3) has it."""
    environment: dict[bytes, bytes] = {}
    for entry in data.split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if equals and name:
            environment.setdefault(name, value)
    return environment


def with_heap_agent(environment: dict[bytes, bytes], mode: str) -> dict[bytes, bytes]:
    """The environment with the agent's directory first in PYTHONPATH, and what it shall do; the rest as it was.

    The token keeps the agents of two runs apart that share a network: their sockets have names there.
    """
    agent = os.path.join(os.path.dirname(os.path.abspath(__file__)), "agent").encode()
    path = environment.get(b"PYTHONPATH", b"")
    token = os.urandom(6).hex().encode()
    return {
        **environment,
        b"PYTHONPATH": agent + b":" + path if path else agent,
        b"_GUARD_AGENT": mode.encode() + b":" + token,
    }


def controlling_terminal(again: Again | None = None) -> Terminal | None:
    """The controlling terminal, or None."""
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    from supervisor.terminal import Terminal

    if again is None:
        return Terminal(fd, shared=_into_pipe(1))
    return Terminal(fd, shared=_into_pipe(again.stdout), before=again.group)


def start(
    command: list[str],
    config: Config,
    environment: dict[bytes, bytes],
    mask: Iterable[int],
    again: Again | None = None,
) -> Target:
    """Fork and exec the target. `again`: this isn't the first start, and signals are blocked for it once more.

    Raises GuardError with code 127 or 126 when the command can't be run.
    """
    if config.heap_agent != "none":
        environment = with_heap_agent(environment, config.heap_agent)
    if not command[0]:
        raise GuardError("the command is empty", hint="guard run -- COMMAND [ARG ...]", code=EXIT_NOT_FOUND)
    terminal = controlling_terminal(again)
    if config.subreaper and os.getpid() != 1:
        libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)
    libc.name_process(b"guard")  # before the fork: a guard as the target looks for this name above itself
    arguments = [os.fsencode(word) for word in command]
    candidates = _candidates(arguments[0], environment)
    ptracer = config.allow_ptrace and yama_scope() == 1
    guard_pid = os.getpid()
    # A caller that ignores SIGCHLD hands that on: the kernel would reap the target, and its status be lost (wait(2)).
    if no_children := _signal.getsignal(_signal.SIGCHLD) == _signal.SIG_IGN:
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    started_s = time.monotonic()
    pid = os.fork()
    if pid == 0:
        failure = (errno.ENOEXEC, "start")
        try:
            if no_children:
                _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)
            if again is not None:
                again.restore()
            failure = _become(candidates, arguments, environment, mask, config, terminal, guard_pid, ptracer)
        except OSError as error:
            failure = (error.errno or 0, "chdir")
        finally:
            os.write(write_end, b"%d %s" % (failure[0], failure[1].encode()))
            os._exit(EXIT_NOT_FOUND)
    os.close(write_end)
    if terminal is not None:
        try:
            os.setpgid(pid, pid)
            if terminal.foreground:
                terminal.give(pid)
        except OSError:
            pass  # the child does the same; whoever comes first wins
    report = _outcome(pid, read_end)
    os.close(read_end)
    if report:
        os.waitpid(pid, 0)
        if terminal is not None and terminal.foreground:
            terminal.give(terminal.group)
        number, _, step = report.decode().partition(" ")
        _explain(command, int(number), step, config, environment)
    return Target(pid, command, started_s, terminal, _own_bytes())


def _outcome(pid: int, read_end: int) -> bytes:
    """What failed in the child, or nothing: it became the target, died, or was stopped (a Ctrl-Z) on its way there."""
    poller = select.poll()
    poller.register(read_end, select.POLLIN)
    while not poller.poll(_LOOK_MS):
        if os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT | os.WNOHANG) is not None:
            return b""
    return os.read(read_end, 256)


def _become(
    candidates: list[bytes],
    arguments: list[bytes],
    environment: dict[bytes, bytes],
    mask: Iterable[int],
    config: Config,
    terminal: Terminal | None,
    guard_pid: int,
    ptracer: bool,
) -> tuple[int, str]:
    """In the child: become the target, or return (errno, step) of what failed."""
    try:
        if config.chdir is not None:
            os.chdir(config.chdir)
    except OSError as error:
        return error.errno or 0, "chdir"
    if terminal is None:
        os.setsid()
    else:
        os.setpgid(0, 0)
        if terminal.foreground:
            terminal.give(os.getpid())  # SIGTTOU is blocked, so that a background group may do it
    if config.parent_death_signal is not None:
        libc.prctl(libc.PR_SET_PDEATHSIG, config.parent_death_signal)
        if os.getppid() != guard_pid:
            os.kill(os.getpid(), config.parent_death_signal)
    if ptracer:
        libc.prctl(libc.PR_SET_PTRACER, guard_pid)
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_DFL)
    if _signal.getsignal(_signal.SIGINT) is not _signal.SIG_IGN:
        # A Ctrl-C that waits here must end the child, not raise KeyboardInterrupt in it and look like a failed exec.
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
    return _exec(candidates, arguments, environment), "exec"


def _exec(candidates: list[bytes], arguments: list[bytes], environment: dict[bytes, bytes]) -> int:
    """What execvpe(3) does, with the caller's environment; returns the errno that tells most."""
    best = errno.ENOENT
    for path in candidates:
        try:
            os.execve(path, arguments, environment)
        except OSError as error:
            number = error.errno or errno.ENOENT
            if number == errno.ENOEXEC:  # a script without a #! line: the shell runs it, as from a shell
                try:
                    os.execve(b"/bin/sh", [b"sh", path, *arguments[1:]], environment)
                except OSError:
                    return number
            if number in (errno.ENOENT, errno.ENOTDIR):
                continue
            best = number
            if number != errno.EACCES:
                return number
    return best


def _candidates(name: bytes, environment: dict[bytes, bytes]) -> list[bytes]:
    if b"/" in name or not name:
        return [name]
    path = environment.get(b"PATH", DEFAULT_PATH)
    return [os.path.join(folder or b".", name) for folder in path.split(b":")]


def _explain(command: list[str], number: int, step: str, config: Config, environment: dict[bytes, bytes]) -> NoReturn:
    from supervisor import meant

    name, why = command[0], os.strerror(number)
    if step == "chdir" and config.chdir is None:
        raise GuardError("the directory guard was started in", why=why, hint="start it in one that lasts")
    if step == "chdir":
        raise GuardError(f"--chdir {config.chdir}", why=why, hint="name a directory that exists")
    path = os.fsdecode(environment.get(b"PATH", DEFAULT_PATH))
    likely = meant.instead_of(command, path, config.chdir or ".")
    if number in (errno.ENOENT, errno.ENOTDIR):
        where = why if "/" in name else "not found on PATH"
        if "/" in name and os.path.exists(name):
            where = "the interpreter that its first line names was not found"
        hint = likely or meant.look_at(name)
        raise GuardError(f"{name}: {where}", hint=hint, code=EXIT_NOT_FOUND)
    if number == errno.EACCES and os.path.isdir(name):
        raise GuardError(f"{name} is a directory", hint="name a program in it", code=EXIT_NOT_EXECUTABLE)
    hint = meant.executable(name) if number == errno.EACCES and "/" in name else meant.look_at(name)
    if number == errno.EACCES and likely:
        hint = likely
    raise GuardError(f"{name} can't be executed", why=why, hint=hint, code=EXIT_NOT_EXECUTABLE)


def _into_pipe(stdout: int) -> bool:
    """Whether the target's stdout is a pipe: in `guard run -- app | less` the pager needs the terminal, not the target.

    The target gets it when it asks (it then stops with SIGTTIN, see `pid1`).
    """
    try:
        return os.fstat(stdout).st_mode & 0o170000 == 0o010000
    except OSError:
        return False


def yama_scope() -> int:
    """Yama's ptrace_scope; 0 without Yama."""
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope", "rb", buffering=0) as file:
            return int(file.readall() or b"0")
    except (OSError, ValueError):
        return 0


def let_go(keep: Iterable[int], *, inherited: bool = True) -> None:
    """After the start: hold no directory, no pipe and no inherited descriptor that is the target's alone.

    Whoever waits for the end of a pipe must see it when the target closes it, not when guard ends. `inherited` False:
    what guard was given besides stdin and stdout stays open, for the next target.
    """
    try:
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    for fd in (0, 1):
        os.dup2(null, fd)
    os.close(null)
    kept = {0, 1, 2, *keep}
    if not inherited:
        return
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []:
        if int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:
                pass
