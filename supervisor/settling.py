"""Settings settled: all sources read into one `Config`, and what can't be is refused before anything starts.

Imported before the target starts, so nothing heavy stands at the top.
"""

from __future__ import annotations

import os

from supervisor import config as configs
from supervisor import envfile, facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervisor.config import Config

PROCESS_NAME = b"guard"


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
