"""`guard report` on a real run."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration
OUTSIDE = {key: value for key, value in os.environ.items() if not key.startswith(("GUARD_", "MEMORY_", "BROWSER"))}


@pytest.fixture
def guard_in(tmp_path: Path, run_guard: Any) -> Any:
    """guard with one profiles directory: guard_in("report", "--json")."""

    def call(*arguments: str, code: int = 0, **more: str) -> str:
        environment = OUTSIDE | {"GUARD_PROFILES_DIR": str(tmp_path / "profiles"), "TMPDIR": str(tmp_path), **more}
        done = run_guard(*arguments, env=environment, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        return str((done.stdout or done.stderr).decode())

    return call


HOLD = "import time; held = bytearray(60_000_000); time.sleep(1.2)"


def test_a_run_becomes_a_page(guard_in: Any, tmp_path: Path) -> None:
    levels = ("--warning", "30MB", "--critical", "40MB", "--profiling", "2GB", "--interval", "100ms")
    guard_in("run", "--quiet", *levels, "--", sys.executable, "-c", HOLD)
    found = json.loads(guard_in("report", "--json"))
    path = Path(found["path"])
    assert path.parent == tmp_path / "profiles" / "monitored" / found["run"] and path.name == "report.html"
    assert path.stat().st_mode & 0o777 == 0o600 and path.stat().st_size == found["bytes"]
    text = path.read_text()
    for words in (
        "exited with code 0",
        "state.changed",
        "critical 40 MB",
        "Snapshot: processes",
        "bytearray(60_000_000)",
    ):
        assert words in text
    if Path("/proc/pressure/memory").exists():
        assert "Memory pressure: tasks waited at most" in text
    # The page is no evidence, and no piece of it is in the next one.
    assert json.loads(guard_in("runs", "--json"))["runs"][0]["run"] == found["run"]
    assert guard_in("report", found["run"]).strip() == str(path) and path.read_text() == text


def test_it_opens_the_browser(guard_in: Any, tmp_path: Path) -> None:
    guard_in("run", "--quiet", "--", "true")
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    guard_in("report", "--output", "a b.html", "--open", BROWSER=str(browser))
    assert (tmp_path / "opened").read_text().strip() == (tmp_path / "a b.html").as_uri()
    said = guard_in("report", "--open", code=1, BROWSER=str(tmp_path / "absent"), PATH="")
    assert "report.html" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing",), "no run in"),
        (("--output", "absent/x.html"), "can't be written"),
        (("--output", "."), "names no file"),
        (("--output", ""), "names no file"),
    ],
)
def test_bad_input_is_explained(guard_in: Any, arguments: tuple[str, ...], words: str) -> None:
    guard_in("run", "--quiet", "--", "true")
    assert words in guard_in("report", *arguments, code=2)


def test_without_a_run_it_says_so(guard_in: Any) -> None:
    assert "there is no run" in guard_in("report", code=2)
