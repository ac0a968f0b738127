"""Commands that bring a reloader of their own: two of them restart each other's processes. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence


def own_reloader(command: Sequence[str], environ: Mapping[str, str]) -> tuple[str, str] | None:
    """(whose reloader, what to do about it), or None: from the command line and FLASK_DEBUG alone."""
    words = list(command)
    program = os.path.basename(words[0]) if words else ""
    arguments = words[1:]
    if program.startswith(("python", "pypy")):
        while arguments[:1] and arguments[0].startswith("-") and arguments[0] not in ("-m", "-c"):
            arguments = arguments[1:]
        if arguments[:1] == ["-m"]:
            arguments = arguments[1:]
        elif arguments[:1] == ["-c"]:
            return None
        program, arguments = (os.path.basename(arguments[0]), arguments[1:]) if arguments else ("", [])
    given = set(arguments)
    if program in ("uvicorn", "hypercorn", "gunicorn", "granian", "daphne") and "--reload" in given:
        return program, f"take --reload from {program}'s line, or from guard's"
    if program in ("fastapi", "litestar") and ("dev" in given or "--reload" in given) and "--no-reload" not in given:
        return program, f"{program} run, without its reloader"
    if program == "flask" and "run" in given and "--no-reload" not in given and "--no-debug" not in given:
        debug = environ.get("FLASK_DEBUG", "").lower() not in ("", "0", "false", "no")
        if "--debug" in given or "--reload" in given or debug:
            return "flask", "flask run --no-reload"
    if program in ("manage.py", "django", "django-admin") and "runserver" in given and "--noreload" not in given:
        return "django", "manage.py runserver --noreload"
    if program in ("node", "bun", "deno", "tsx") and given & {"--watch", "--hot", "watch"}:
        return program, f"take --watch from {program}'s line, or --reload from guard's"
    if program in ("nodemon", "watchmedo", "watchfiles", "watchexec", "entr", "air", "pm2-dev", "hupper"):
        return program, f"name the command that {program} starts to guard"
    return None
