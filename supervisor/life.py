"""One life of the target, followed to its end: by the watching loop, or by a plain init where there is none.

What is imported at the top is what a start needs; the rest comes after the target runs.
"""

from __future__ import annotations

from supervisor import errors, pid1

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervisor.config import Config
    from supervisor.lives import Lives


def follow(init: pid1.Init, config: Config, lives: Lives | None = None) -> int:
    """Watch the target until it ends, as far as guard is able to; the exit code. `lives`: it may be started again."""
    if not config.watch:
        return pid1.serve(init)
    try:
        return watch(init, config, lives)
    except Exception:  # no fault of guard's may take the target its init or change its exit code
        errors.tell_fault()
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
