"""What the modules cost the worker that imports them, a process beside a target that is short of memory."""

import subprocess
import sys
from pathlib import Path

import pytest

import supervisor.analysis

MODULES = sorted(path.stem for path in Path(supervisor.analysis.__path__[0]).glob("*.py") if path.stem != "__init__")
HEAVY = {"re", "dataclasses", "typing", "enum", "inspect", "logging", "json", "functools", "collections"}


def loaded(code: str) -> set[str]:
    root = Path(supervisor.analysis.__path__[0]).parents[1]
    before = f"import sys; sys.path.insert(0, {str(root)!r}); before = set(sys.modules)\n"
    command = [sys.executable, "-I", "-S", "-c", f"{before}{code}\nprint(*set(sys.modules) - before)"]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_nothing_heavy(module: str) -> None:
    found = loaded(f"import supervisor.analysis.{module}")
    assert f"supervisor.analysis.{module}" in found
    assert not found & HEAVY


def test_drawing_imports_nothing_heavy_either() -> None:
    code = "from supervisor.analysis import folded, flamegraph\n"
    code += "flamegraph.render(folded.parse(['a (b.py:1) 3']), title='t', unit='samples')"
    assert not loaded(code) & HEAVY
