"""Who of a command's processes matters to a profile: what a shell, `npm start` or a wrapper started, not these."""

from __future__ import annotations

import os
import time

from supervisor.proc_tree import ProcTree
from supervisor.profilers import engine

# Programs that start another one and wait for it, or become it.
_LAUNCHERS = frozenset(
    (
        *(
            "sh",
            "ash",
            "bash",
            "dash",
            "fish",
            "ksh",
            "mksh",
            "zsh",
            "busybox",
            "env",
            "nice",
            "ionice",
            "nohup",
            "setsid",
        ),
        *("timeout", "time", "stdbuf", "xargs", "flock", "taskset", "chrt", "script", "unshare", "nsenter", "setpriv"),
        *(
            "su",
            "sudo",
            "doas",
            "runuser",
            "gosu",
            "su-exec",
            "tini",
            "dumb-init",
            "catatonit",
            "make",
            "gmake",
            "ninja",
        ),
        *("uv", "uvx", "cargo", "go", "coreutils"),
    )
)
# Scripts of Node that do.
_NODE_LAUNCHERS = frozenset(
    ("npx", "nodemon", "tsx", "ts-node-dev", "cross-env", "cross-env-shell", "dotenv", "env-cmd", "concurrently",
     "npm-run-all", "run-s", "run-p", "pm2-runtime", "corepack")
)  # fmt: skip
_PACKAGE_MANAGERS = frozenset(("npm", "pnpm", "yarn", "yarnpkg"))
_THEIR_OWN_WORK = frozenset(
    ("install", "i", "ci", "add", "remove", "rm", "uninstall", "update", "up", "upgrade", "audit", "pack", "publish",
     "ls", "list", "outdated", "dedupe", "prune", "rebuild", "cache", "view", "info", "link", "import", "fetch", "why")
)  # fmt: skip
# A launcher that took so much processor time itself is what works here: a script that computes.
_BUSY_S = 0.5
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Candidate:
    """A process of the command's: its engine, whether it only `launches`, and the processor time that it took."""

    __slots__ = ("cpu_s", "engine", "launches", "pid")

    def __init__(self, pid: int, engine: str, *, launches: bool = False, cpu_s: float = 0.0) -> None:
        self.pid = pid
        self.engine = engine
        self.launches = launches
        self.cpu_s = cpu_s


def launches(facts: engine.Facts) -> bool:
    """Whether a process starts another one, which is meant. Pure."""
    words = list(facts.command)
    if engine.choose(facts) != engine.NODE:
        return os.path.basename(facts.program or (words[0] if words else "")) in _LAUNCHERS
    # `node /usr/bin/npm start`; npm writes its title over that: `npm`, then `npm start` as one word.
    if words and engine.choose(engine.Facts(words[0])) == engine.NODE:
        words = [word for word in words[1:] if not word.startswith("-")]
    elif words:
        words = [*words[0].split(), *words[1:]]
    if not words:
        return False
    name = _script(words[0])
    if name in _PACKAGE_MANAGERS:
        verb = next((word for word in words[1:] if word and not word.startswith("-")), "")
        return verb not in _THEIR_OWN_WORK
    return name in _NODE_LAUNCHERS


def _script(path: str) -> str:
    """`npm` of `…/npm/bin/npm-cli.js`."""
    name = os.path.basename(path)
    for end in (".js", ".cjs", ".mjs"):
        name = name.removesuffix(end)
    return name.removesuffix("-cli")


def choose(found: list[Candidate], *, machine_code: bool = False) -> Candidate | None:
    """Who matters; `found` has parents before their children. Pure.

    The first Python or Node that isn't a launcher; with `machine_code` and without one of these the program that took
    most processor time, and a launcher only where that is much.
    """
    for each in found:
        if each.engine in (engine.PYTHON, engine.NODE) and not each.launches:
            return each
    programs = [each for each in found if each.engine in engine.MACHINE_CODE and machine_code]
    able = [each for each in programs if not each.launches or each.cpu_s >= _BUSY_S]
    return max(able, key=lambda each: each.cpu_s, default=None)


def look(tree: ProcTree, pid: int) -> list[Candidate]:
    """The process and all below it, as they are now."""
    found = []
    for process in tree.read((pid,), (), time.monotonic()):
        facts = engine.look(process.pid)
        if facts.program or facts.command:  # a zombie has neither
            cpu_s = process.cpu_ticks / _TICKS_PER_S
            found.append(Candidate(process.pid, engine.choose(facts), launches=launches(facts), cpu_s=cpu_s))
    return found
