"""`guard init --dockerfile`: the image is built and runs the command under guard."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container import base
from tests.container.engine import BUILD_S, ROOT, Engine

NAME = "guard-tests-init"


@pytest.fixture
def made(engine: Engine, image: str) -> Iterator[str]:
    """The name for the image, which is removed afterwards."""
    yield NAME
    engine("rmi", "--force", NAME)


def init(place: Path, *arguments: str) -> None:
    line = [sys.executable, "-IS", str(ROOT / "bin" / "guard"), "init", "--dockerfile", *arguments]
    subprocess.run(line, cwd=place, check=True, timeout=60, stdout=subprocess.DEVNULL)


def build(engine: Engine, place: Path, image: str) -> subprocess.CompletedProcess[str]:
    arguments = ["--network=host", "--build-arg", f"GUARD_IMAGE={image}", "--tag", NAME]
    return engine(
        "build", *arguments, "--file", str(place / "Dockerfile.guard"), str(place), timeout=BUILD_S
    )  # fmt: skip


def test_the_application_is_copied(engine: Engine, image: str, made: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import os, sys; print(os.getuid(), os.getcwd(), sys.argv[1:])\n")
    init(tmp_path, "--command", "python3 app.py 'a b' $HOME back\\\\slash\\\\")
    (tmp_path / ".env.profiling").write_text("MEMORY_WARNING_THRESHOLD=41%\n")
    built = build(engine, tmp_path, image)
    assert built.returncode == 0, built.stdout + built.stderr
    done = engine("run", "--rm", "--memory=256m", made)
    assert (done.returncode, done.stdout) == (0, "10001 /app ['a b', '$HOME', 'back\\\\slash\\\\']\n"), done.stderr
    (started,) = [json.loads(line) for line in done.stderr.splitlines() if '"run.started"' in line]
    assert started["thresholds"]["warning"]["bytes"] == (256 << 20) * 41 // 100
    assert started["evidence"].startswith("/profiles/")


def test_guard_is_added_to_an_image(engine: Engine, image: str, made: str, tmp_path: Path) -> None:
    init(tmp_path, "--base", base.IMAGE, "--command", "python3 -c 'raise SystemExit(5)'")
    built = build(engine, tmp_path, image)
    assert built.returncode == 0, built.stdout + built.stderr
    done = engine("run", "--rm", made)
    assert done.returncode == 5 and '"run.exited"' in done.stderr, done.stderr


def test_a_setting_that_is_not_accepted_stops_the_build(engine: Engine, image: str, made: str, tmp_path: Path) -> None:
    (tmp_path / ".env.profiling").write_text("MEMORY_WARNING_THRESHOLD=much\n")
    init(tmp_path)
    built = build(engine, tmp_path, image)
    assert built.returncode != 0
    assert "MEMORY_WARNING_THRESHOLD='much' in .env.profiling, line 1: not accepted" in built.stdout + built.stderr
