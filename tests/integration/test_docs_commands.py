"""Commands on the pages are run: every fenced block whose info string is `sh run`, in its page's order.

Each page has a directory of its own with a program in it, one recorded run that reached a state, and `guard` on PATH.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import GUARD, ROOT

pytestmark = pytest.mark.integration

FENCE = re.compile(r"^```sh run\n(.*?)^```$", re.MULTILINE | re.DOTALL)
APP = """\
import time
kept = bytearray(b"m" * 60_000_000)
end = time.monotonic() + 1.5
while time.monotonic() < end:
    sum(range(10_000))
print("app ran")
"""


def runnable(page: Path) -> list[str]:
    """The blocks of a page that say so."""
    return FENCE.findall(page.read_text())


PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if runnable(page)]


def surroundings(place: Path) -> dict[str, str]:
    """`guard` and `python3` are those of these tests; no setting comes from the outside."""
    shim = place / "bin" / "guard"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in GUARD) + ' "$@"\n')
    shim.chmod(0o755)
    (place / "bin" / "python3").symlink_to(sys.executable)
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("GUARD_", "MEMORY_"))}
    return clean | {"PATH": f"{place}/bin:{os.environ['PATH']}"}


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_the_commands_on_the_page_work(page: Path, tmp_path: Path) -> None:
    environment = surroundings(tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    (work / "app.py").write_text(APP)

    def run(script: str) -> str:
        done = subprocess.run(
            ["sh", "-euc", script], cwd=work, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=100,
        )  # fmt: skip
        said = f"{script}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, said
        assert '"level": "error"' not in done.stderr, said
        assert "Traceback" not in said, said
        return done.stdout

    run("guard run --env development --warning 40 --interval 100ms --cooldown 1s -- python3 app.py")
    for script in runnable(page):
        assert run(script).strip(), script


def test_some_pages_have_commands() -> None:
    assert {page.stem for page in PAGES} >= {"troubleshooting", "practices", "kubernetes", "formats"}
