"""PyPI's supervisor has the same import name: both live in one environment, and each survives the other's removal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]
ROOT = Path(__file__).resolve().parents[2]


def test_both_wheels_live_in_one_environment(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)

    def pip(*arguments: str) -> None:
        done = subprocess.run([str(venv / "bin" / "pip"), *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def guard_runs() -> None:
        done = subprocess.run([str(venv / "bin" / "guard"), "run", "--", "sh", "-c", "exit 7"], cwd=tmp_path)
        assert done.returncode == 7
        guard = str(venv / "bin" / "guard")
        made = subprocess.run([guard, "init", "--stdout"], cwd=tmp_path, capture_output=True, text=True)
        assert made.stdout == (ROOT / ".env.profiling").read_text(), made.stderr

    def supervisord_runs() -> None:
        done = subprocess.run([str(venv / "bin" / "supervisord"), "--version"], capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.strip(), done.stderr

    pip("install", "-c", str(ROOT / "constraints.txt"), str(ROOT), "supervisor", "setuptools<81")
    guard_runs()
    supervisord_runs()
    pip("uninstall", "-y", "supervisor")
    guard_runs()
    pip("install", "supervisor")
    guard_runs()
    pip("uninstall", "-y", "guard-supervisor")
    supervisord_runs()
    assert not (venv / "bin" / "guard").exists()
