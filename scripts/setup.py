"""Makes or updates .venv for scripts/guard and scripts/test; does nothing where it is right already.

Prints on stderr only. Two at once don't disturb each other: the second waits, and finds it done.
"""

import argparse
import compileall
import contextlib
import fcntl
import hashlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
MADE_FROM = ("pyproject.toml", "constraints.txt", "bin/guard", "scripts/setup.py")
SHEBANG_LIMIT = 127  # bytes, Linux before 5.1: execve(2)
VERSION = ".".join(map(str, sys.version_info[:3]))


class SetupError(Exception):
    """What failed, why, and what to type next."""

    def __init__(self, what: str, why: str, then: str) -> None:
        super().__init__(f"{what}\n{why.rstrip()}\nnext: {then}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dev", action="store_true", help="also install what the tests need")
    options = parser.parse_args()
    try:
        set_up(dev=options.dev)
    except SetupError as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"could not set up {VENV}\n{error}\nnext: mend that, then {again(options.dev)}")
        return 1
    except KeyboardInterrupt:
        say(f"set-up interrupted; it starts over with {again(options.dev)}")
        return 130
    return 0


def say(text: str) -> None:
    print(f"guard: {text}", file=sys.stderr, flush=True)


def again(dev: bool) -> str:
    return f"python3 {shlex.quote(os.path.relpath(__file__))}" + (" --dev" if dev else "")


def set_up(dev: bool) -> None:
    stamp = fingerprint()
    if ready(stamp, dev):
        touch(dev)
        return
    with lock():
        if ready(stamp, dev):
            return
        # Who had the tests' packages keeps them when something else changes.
        dev = dev or stamp_file(dev=True).exists()
        first = not PYTHON.exists()
        say("setting up .venv (first time, about a minute)…" if first else "updating .venv…")
        for flavour in (False, True):
            stamp_file(flavour).unlink(missing_ok=True)
        remove_left_environments()
        if not usable():
            make_venv(dev)
        install(dev)
        isolate(VENV / "bin" / "guard")
        compileall.compile_dir(ROOT / "supervisor", quiet=2)
        for flavour in (True, False) if dev else (False,):
            write_atomically(stamp_file(flavour), stamp.encode(), 0o644)
        say(".venv is ready.")


def fingerprint() -> str:
    """The stamp of a right .venv: its place, which scripts/guard looks at, and a hash of what made it."""
    digest = hashlib.sha256()
    for part in (VERSION.encode(), os.fsencode(VENV), *((ROOT / name).read_bytes() for name in MADE_FROM)):
        digest.update(b"%d:" % len(part) + part)
    return f"{VENV}\n{digest.hexdigest()}\n"


def stamp_file(dev: bool) -> Path:
    return VENV / (".ready-dev" if dev else ".ready")


def ready(stamp: str, dev: bool) -> bool:
    try:
        return stamp_file(dev).read_bytes() == stamp.encode() and os.access(PYTHON, os.X_OK)
    except OSError:
        return False


def touch(dev: bool) -> None:
    """Tells scripts/guard, which only compares times, that nothing it is made from has changed."""
    with contextlib.suppress(OSError):  # a read-only checkout works, a little slower
        for flavour in (False, True) if dev else (False,):
            os.utime(stamp_file(flavour))
        remove_left_environments()


def remove_left_environments() -> None:
    """Removes what a scripts/guard saved that was killed before guard took it."""
    for path in VENV.glob("environ.*"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - 60:
                path.unlink()


@contextlib.contextmanager
def lock() -> Iterator[None]:
    fd = os.open(ROOT / ".venv.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up of .venv…")
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def usable() -> bool:
    """Whether .venv was made here, and has pip and a working Python of this version."""
    try:
        made_here = f" {VENV}\n" in (VENV / "pyvenv.cfg").read_text()  # the end of the command that made it
        answer = run([PYTHON, "-I", "-c", "import pip, sys; print(sys.version)"])
    except OSError:
        return False
    return made_here and answer.returncode == 0 and answer.stdout == f"{sys.version}\n"


def make_venv(dev: bool) -> None:
    # The base: with --clear, .venv's own python would take itself away.
    base = getattr(sys, "_base_executable", sys.executable)
    made = run([base, "-I", "-m", "venv", "--clear", VENV])
    if made.returncode != 0:
        then = again(dev)
        if "ensurepip" in made.stdout:
            then = f"apt-get install python3-venv, then {then}"
        raise SetupError(f"could not create {VENV} with {base}", made.stdout, then)


def install(dev: bool) -> None:
    what = ".[dev]" if dev else "."
    done = run([PYTHON, "-I", "-m", "pip", "install", "--no-input", "-c", "constraints.txt", "-e", what])
    if done.returncode != 0:
        then = f"check the network, the disk and pip's settings ({PYTHON} -m pip config list), then {again(dev)}"
        raise SetupError(f"pip could not install {what} into {VENV}", done.stdout, then)


def run(command: list[str | Path]) -> subprocess.CompletedProcess[str]:
    """Runs it in the checkout with no input; stdout holds all it printed."""
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )


def environment() -> dict[str, str]:
    """This one, less what would lead Python or pip to another place than .venv."""
    strays = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIRE_VIRTUALENV")
    kept = {name: value for name, value in os.environ.items() if name not in strays}
    # -c doesn't reach the environment that pip builds in; these do, the second one since pip 25.3.
    return kept | {"PIP_CONSTRAINT": "constraints.txt", "PIP_BUILD_CONSTRAINT": "constraints.txt"}


def isolate(command: Path) -> None:
    """Makes the installed command start as `python -IS`, out of reach of PYTHON* and sitecustomize."""
    line, newline, rest = command.read_bytes().partition(b"\n")
    if line != b"#!" + os.fsencode(PYTHON):
        return
    isolated = line + b" -IS" + newline
    if len(isolated) <= SHEBANG_LIMIT and len(isolated.split()) == 2:
        write_atomically(command, isolated + rest, 0o755)
    else:  # the kernel cuts the line at a space, and at its end
        command.unlink()
        command.symlink_to("../../scripts/guard")


def write_atomically(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.chmod(mode)
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
