"""`guard run`: settings, start of the target, then a plain init or the watching loop.

What is imported at the top is what a start needs; the rest comes after the target runs.
"""

from __future__ import annotations

import os

from supervisor import errors, launch, life, pid1, settling
from supervisor.errors import GuardError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NoReturn


def execute(given: dict[str, list[str]], command: list[str], mask: Iterable[int], environ: bytes | None) -> NoReturn:
    """`guard run`, from settings to exit: does not return."""
    try:
        code = run(given, command, mask, environ)
    except GuardError as error:
        errors.fail(error)
    os._exit(code)


def run(given: dict[str, list[str]], command: list[str], mask: Iterable[int], environ: bytes | None) -> int:
    """Run and watch the command; its exit code. Raises GuardError only before the target started."""
    environment = launch.original_environment() if environ is None else launch.split_environment(environ)
    config = settling.settle(given, settling.text_environment(environment))
    settling.check_extras(config)
    if config.restart != "no" or config.restart_at is not None or config.reload:
        from supervisor import lives

        return lives.run_all(command, config, environment, mask)
    target = launch.start(command, config, environment, mask)
    init = pid1.Init(target, config)
    init.install()
    errors.tell(started=target.pid)
    launch.let_go(init.descriptors)
    return life.follow(init, config)
