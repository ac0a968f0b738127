"""`guard run`: settings, start of the target, then a plain init or the watching loop.

What is imported at the top is what a start needs; the rest comes after the target runs.
"""

from __future__ import annotations

import os

from supervisor import config as configs
from supervisor import envfile, errors, facts, launch, pid1
from supervisor.errors import GuardError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NoReturn

    from supervisor.config import Config
    from supervisor.lives import Lives


def execute(given: dict[str, list[str]], command: list[str], mask: Iterable[int], environ: bytes | None) -> NoReturn:
    """`guard run`, from settings to exit: does not return."""
    try:
        code = run(given, command, mask, environ)
    except GuardError as error:
        fail(error)
    os._exit(code)


def fail(error: GuardError) -> NoReturn:
    """Print an explained failure on stderr and exit with its code."""
    if errors.tell(what=error.what, why=error.why, hint=error.hint, code=error.code):
        os._exit(error.code)
    text = "\n".join(error.lines()) + "\n"
    try:
        os.write(2, text.encode("utf-8", "backslashreplace"))
    except OSError:
        pass
    os._exit(error.code)


def run(given: dict[str, list[str]], command: list[str], mask: Iterable[int], environ: bytes | None) -> int:
    """Run and watch the command; its exit code. Raises GuardError only before the target started."""
    environment = launch.original_environment() if environ is None else launch.split_environment(environ)
    config = settle(given, text_environment(environment))
    check_extras(config)
    if config.restart != "no" or config.restart_at is not None or config.reload:
        from supervisor import lives

        return lives.run_all(command, config, environment, mask)
    target = launch.start(command, config, environment, mask)
    init = pid1.Init(target, config)
    init.install()
    errors.tell(started=target.pid)
    launch.let_go(init.descriptors)
    return follow(init, config)


def follow(init: pid1.Init, config: Config, lives: Lives | None = None) -> int:
    """Watch the target until it ends, as far as guard is able to; the exit code. `lives`: it may be started again."""
    if not config.watch:
        return pid1.serve(init)
    try:
        return watch(init, config, lives)
    except Exception:  # no fault of guard's may take the target its init or change its exit code
        tell_fault()
        return pid1.serve(init)


def watch(init: pid1.Init, config: Config, lives: Lives | None = None) -> int:
    """Import the watcher and watch; the exit code."""
    # The target gets the processor first. The watcher's imports take some 60 ms: signals are answered between them.
    init.pump(0.005)
    for name in ("typing", "dataclasses", "json", "logging", "datetime", "supervisor.log", "supervisor.loop"):
        __import__(name)
        init.pump(0)
    from supervisor import loop

    return loop.watch_target(init, config, lives)


def tell_fault() -> None:
    """The fault's traceback on stderr, as far as anybody reads it."""
    try:
        import traceback

        tell("guard: a fault of guard's own; the target runs on unwatched\n" + traceback.format_exc())
    except Exception:
        pass


def tell(text: str) -> None:
    """Lines on stderr without a log, as far as anybody reads them."""
    try:
        from supervisor.log import Stream

        Stream(2).write(text.rstrip("\n").encode("utf-8", "backslashreplace")[:4096] + b"\n")
    except Exception:
        pass


def text_environment(environment: dict[bytes, bytes]) -> dict[str, str]:
    """The environment as text, undecodable bytes kept as surrogates."""
    return {os.fsdecode(name): os.fsdecode(value) for name, value in environment.items()}


def settle(given: dict[str, list[str]], environ: dict[str, str], pid: int | str = "self", mode: str = "") -> Config:
    """Read all sources into a Config whose paths are absolute; `mode` as in `config.resolve`. Raises UsageError."""
    path = given.get("env-file", [environ.get("GUARD_ENV_FILE", "")])[-1]
    name = path or ".env.profiling"
    entries = envfile.read(name, explicit=bool(path))
    # GUARD_ENV may stand in the file as well; foreign names (NODE_ENV, ...) are only taken from the environment.
    nested = any(key.startswith("GUARD_") for key in environ) and guard_above(os.getppid())
    config = configs.resolve(
        given, environ, entries, facts.gather(environ, pid), nested=nested, file_name=name, mode=mode,
        file_is_named=bool(path),
    )  # fmt: skip
    config.directory = os.path.abspath(".")
    config.profiles_dir = os.path.abspath(config.profiles_dir)
    config.env_file = os.path.abspath(name) if entries is not None else ""
    if config.ship is not None:
        from supervisor.shipping import target

        config.ship = target.settled(config.ship)
    if config.log_file is not None:
        config.log_file = os.path.abspath(config.log_file)
    if config.metrics_file is not None:
        config.metrics_file = os.path.abspath(config.metrics_file)
    if config.metrics_socket is not None:
        config.metrics_socket = os.path.abspath(config.metrics_socket)
    return config


def check_extras(config: Config) -> None:
    """Refuse what takes a package that isn't installed, before the target starts. Raises UsageError."""
    if config.ship is not None:
        from supervisor.shipping import target

        target.check_extra(config.ship)
    if config.otlp is not None:
        from supervisor import metrics

        metrics.check()


def guard_above(pid: int) -> bool:
    """Whether a guard is among the ancestors, from `pid` up. The mark is the name guard gives its process."""
    for _ in range(64):
        if pid <= 1 and pid != 1:
            return False
        try:
            with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
                stat = file.readall() or b""
        except OSError:
            return False
        name = stat[stat.find(b"(") + 1 : stat.rfind(b")")]
        if name == PROCESS_NAME:
            return True
        pid = int(stat[stat.rfind(b")") + 2 :].split()[1])
        if pid == 0:
            return False
    return False


PROCESS_NAME = b"guard"
