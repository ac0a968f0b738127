"""The line to type for a missing package names guard's own interpreter, and works from any directory."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor import installing

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A virtual environment's site-packages with guard in it, in a directory with a space in its name."""
    packages = tmp_path / "my venv" / "lib" / "python{}.{}".format(*sys.version_info) / "site-packages"
    (packages / "pip").mkdir(parents=True)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "my venv"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "my venv" / "bin" / "python"))
    monkeypatch.setattr(installing, "__file__", str(packages / "supervisor" / "installing.py"))
    return packages


def test_installed_it_names_its_own_interpreter(installed: Path) -> None:
    python = f"{installed.parents[2]}/bin/python"
    assert shlex.split(installing.extra("node")) == [python, "-m", "pip", "install", "guard-supervisor[node]"]
    assert installing.extra("node").startswith(f"'{python}' ")
    assert shlex.split(installing.package("py-spy", upgrade=True))[-2:] == ["--upgrade", "py-spy"]


def test_an_environment_without_pip_is_uvs_or_pipxs(installed: Path) -> None:
    (installed / "pip").rmdir()
    assert shlex.split(installing.extra("ship"))[:4] == ["uv", "pip", "install", "--python"]
    (installed / "pipx_shared.pth").touch()
    assert shlex.split(installing.extra("ship"))[1:4] == ["-m", "pip", "install"]


def test_the_bundle_is_built_anew(installed: Path) -> None:
    (installed.parents[2] / installing.BUNDLED).touch()
    assert installing.extra("ship").startswith("docker build --build-arg EXTRAS=ship ")
    assert "ARG EXTRAS" in (ROOT / "Dockerfile").read_text()
    assert f'"{installing.BUNDLED}"' in (ROOT / "scripts" / "bundle.py").read_text()


def test_of_a_checkout_it_installs_the_checkout() -> None:
    words = shlex.split(installing.extra("heap"))
    assert words[1:4] == ["-m", "pip", "install"] and words[-1] == f"{ROOT}[heap]"
    assert os.path.isfile(words[words.index("-c") + 1])
    # The interpreter is one that has a pip, wherever it is called from.
    done = subprocess.run([*words[:3], "--version"], cwd="/", capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_no_other_place_says_pip_install() -> None:
    """It would name whatever pip is on PATH."""
    told = [
        (path.name, line.strip())
        for path in (ROOT / "supervisor").rglob("*.py")
        if path.parent.name != "scaffold" and path.name != "installing.py"
        for line in path.read_text().splitlines()
        if "pip install " in line
    ]
    # Of the target's Python, which is not guard's.
    assert {name for name, _ in told} <= {"memray.py"} and len(told) <= 2, told
