"""Every fault of the table, one after the other: the target runs on, its code is guard's, a name for what was wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.faults.needs import missing
from tests.integration.faults.rows import ROWS
from tests.integration.faults.scene import ROOT, Scene
from tests.integration.faults.table import Row

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("fault", ROWS, ids=lambda fault: fault.id)
def test_fault(fault: Row, tmp_path: Path) -> None:
    if fault.play is None:
        pytest.skip(fault.cannot)
    for need in fault.needs:
        if reason := missing(need):
            pytest.skip(reason)
    scene = Scene(tmp_path)
    with scene.undo:
        fault.play(scene)
        scene.finish()
        if fault.told == "run.json":
            record = scene.record()
            assert {name: record.get(name) for name in fault.fields} == dict(fault.fields)
        else:
            scene.wait_for(fault.told, **fault.fields)


def test_the_page_is_the_table() -> None:
    line = [sys.executable, "scripts/faults_page.py", "--check"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
