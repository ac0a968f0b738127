"""What is started by its path knows guard's own only once it has put that on `sys.path`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SUPERVISOR = Path(__file__).resolve().parents[2] / "supervisor"
BY_PATH = [path for path in sorted(SUPERVISOR.rglob("*.py")) if 'if __name__ == "__main__"' in path.read_text()]


@pytest.mark.parametrize("path", BY_PATH, ids=lambda path: path.stem)
def test_its_imports_are_the_standard_librarys(path: Path) -> None:
    code = f"import runpy; runpy.run_path({str(path)!r}, run_name='started')"
    done = subprocess.run([sys.executable, "-ISc", code], capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr
