"""Between bin/guard and boot: shuts out the user's Python settings, completes what a start with -IS left out.

It runs before the target does, so it uses what the interpreter has in itself (`posix`, not `os`).
"""

from __future__ import annotations

import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

DEPENDENCIES = ("psutil", "structlog", "typer")
HARMLESS = (b"PYTHONUNBUFFERED", b"PYTHONDONTWRITEBYTECODE")


def enter(script: str, mask: set[int], libraries: Sequence[str]) -> NoReturn:
    """Run the command. `libraries`: where installed packages may be, none where `site` has seen to that."""
    if not sys.flags.isolated and _swayed():
        _isolate(script, mask)
    if libraries:
        _complete_path(libraries)
    mask, environ = _handed_over(mask)

    from supervisor.boot import main

    main(mask, environ)


def _swayed() -> bool:
    """Whether something of the user's can have changed this interpreter, or still can.

    Not worth a second start: PYTHON_VERSION and the like (the official images set it), what is harmless here,
    and a sitecustomize beside the standard library, which is the distribution's own.
    """
    for name in posix.environ:
        if name.startswith(b"PYTHON") and not name.startswith(b"PYTHON_") and name not in HARMLESS:
            return True
    if "usercustomize" in sys.modules:
        return True
    if "sitecustomize" in sys.modules:
        import os

        origin = getattr(sys.modules["sitecustomize"], "__file__", None) or ""
        if os.path.dirname(origin) != os.path.dirname(os.__file__):
            return True
    site = sys.modules.get("site")
    return bool(site and site.ENABLE_USER_SITE and _exists(site.getusersitepackages()))


def _isolate(script: str, mask: set[int]) -> None:
    """Start this process anew with -IS, signals still blocked and the environment as it came."""
    try:
        with open("/proc/self/environ", "rb") as file:
            given = [entry for entry in file.read().split(b"\0") if entry.startswith(b"LC_CTYPE=")]
    except OSError:
        given = None
    if given:  # in the C locale Python sets LC_CTYPE in its own environment: PEP 538
        posix.putenv(b"LC_CTYPE", given[0].partition(b"=")[2])
    elif given is not None:
        posix.unsetenv(b"LC_CTYPE")
    flag = "--guard-mask=" + ",".join(map(str, sorted(mask)))
    try:
        posix.execv(sys.executable, [sys.executable, "-IS", script, flag, *sys.argv[1:]])
    except OSError:
        pass  # not isolated is better than not started


def _complete_path(libraries: Sequence[str]) -> None:
    """What `site` would have added, without it (3 ms) where guard and all it depends on are at hand."""
    sys.path += filter(_exists, libraries)  # with `site`, too: pip's --prefix is a place it doesn't know
    if not sys.flags.no_site:
        return
    if not all(any(_exists(f"{library}/{name}") for library in libraries) for name in DEPENDENCIES):
        import site

        sys.modules["sitecustomize"] = sys.modules["usercustomize"] = None  # type: ignore[assignment]
        site.main()


def _handed_over(mask: set[int]) -> tuple[set[int], bytes | None]:
    """The signal mask and environment of guard's caller, from the flags that guard's own starters put first.

    --guard-mask comes from `_isolate`: after its exec the mask is everything. --guard-environ comes from
    scripts/guard: a shell drops what it has no name for from the environment, so it saved that to a file.
    --guard-errors comes from `api`, which waits on that descriptor for how the start went.
    """
    environ = None
    while len(sys.argv) > 1:
        flag, _, value = sys.argv[1].partition("=")
        if flag == "--guard-mask":
            mask = {int(number) for number in value.split(",") if number}
        elif flag == "--guard-environ":
            environ = _take(value)
        elif flag == "--guard-errors":
            from supervisor import errors

            errors.teller = int(value)
            posix.set_inheritable(errors.teller, False)
        else:
            break
        del sys.argv[1]
    return mask, environ


def _take(path: str) -> bytes | None:
    """What the file holds, which is gone then; None if it isn't a private file of ours."""
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW | posix.O_NONBLOCK)
    except OSError:
        return None
    try:
        about = posix.fstat(fd)
        if about.st_mode != 0o100600 or about.st_uid != posix.geteuid():
            return None
        posix.unlink(path)
        content = b""
        while piece := posix.read(fd, about.st_size + 1):
            content += piece
        return content
    except OSError:
        return None
    finally:
        posix.close(fd)


def _exists(path: str) -> bool:
    try:
        posix.stat(path)
    except OSError:
        return False
    return True
