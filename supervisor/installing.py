"""What to type to install a package where guard runs: its own interpreter, which is seldom the one on PATH.

Used only when something is missing, so it may import what a start does without.
"""

from __future__ import annotations

import os
import sys

DISTRIBUTION = "guard-supervisor"
BUNDLED = "BUNDLED"  # the file that scripts/bundle.py leaves in the directory it makes


def extra(name: str, *, upgrade: bool = False) -> str:
    """The line that brings one of guard's extras (`heap`, `node`, `otlp`, `reload`, `ship`) to this installation.

    From a checkout it installs that again, since no index may know it. The bundle has no pip: it is built anew.
    """
    root = _root()
    if os.path.exists(os.path.join(sys.prefix, BUNDLED)):
        return f"docker build --build-arg EXTRAS={name} -t guard ., in guard's source: the bundled guard has no pip"
    if os.path.isfile(os.path.join(root, "pyproject.toml")) and os.path.isfile(os.path.join(root, "scripts", "guard")):
        constraints = os.path.join(root, "constraints.txt")
        return _line(["-c", constraints, "-e", f"{root}[{name}]"], upgrade)
    return _line([f"{DISTRIBUTION}[{name}]"], upgrade)


def package(*what: str, upgrade: bool = False) -> str:
    """The line that installs packages beside guard; options of pip's may stand before them."""
    return _line(list(what), upgrade)


def _root() -> str:
    """The directory that holds the package `supervisor`."""
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _line(what: list[str], upgrade: bool) -> str:
    import shlex

    python = sys.executable or "python3"
    command = [python, "-m", "pip", "install"]
    if sys.prefix != sys.base_prefix and not _has_pip():
        command = ["uv", "pip", "install", "--python", python]  # uv's environments come without
    return shlex.join([*command, *(["--upgrade"] if upgrade else []), *what])


def _has_pip() -> bool:
    """Whether the virtual environment of this interpreter has a pip, or pipx's."""
    version = "python{}.{}".format(*sys.version_info)
    packages = os.path.join(sys.prefix, "lib", version, "site-packages")
    return any(os.path.exists(os.path.join(packages, name)) for name in ("pip", "pipx_shared.pth"))
