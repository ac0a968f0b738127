"""What the watcher loads: it lives as long as its target, and what one option asks for isn't there for all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEAR = {
    "asyncio",
    "difflib",
    "http",
    "multiprocessing",
    "psutil",
    "rich",
    "ssl",
    "subprocess",
    "typer",
    "urllib.request",
}
ASKED_FOR = {"lives", "reacting", "shipper", "probing", "resources", "metrics.teller", "foreseen", "reload.others"}


def test_the_loop_loads_nothing_dear_and_nothing_that_an_option_has_to_ask_for() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nimport supervisor.loop\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "supervisor.announcing" in loaded
    assert not loaded & (DEAR | {f"supervisor.{name}" for name in ASKED_FOR})
