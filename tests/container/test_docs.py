"""docs/containers.md is true: every command on it is run, in its order, with podman as docker."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.container.engine import BUILD_S, ROOT, Engine

PAGE = ROOT / "docs" / "containers.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block, its line on the page, and the file that the text before it names."""

    language: str
    text: str
    line: int
    file: str | None


def blocks() -> list[Block]:
    """All blocks of the page in order."""
    page = PAGE.read_text()
    found = []
    for fence in FENCE.finditer(page):
        paragraph = page[: fence.start()].rstrip().rpartition("\n\n")[2]
        named = re.search(r"Save this as `([\w.]+)`", paragraph)
        line = page.count("\n", 0, fence.start()) + 1
        found.append(Block(fence[1], fence[2], line, named[1] if named else None))
    return found


@pytest.fixture(scope="module")
def place(engine: Engine, bare_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with an app, files that the page had saved, and `docker` on its own PATH."""
    place = tmp_path_factory.mktemp("docs")
    place.chmod(0o755)  # the image's user reads it
    (place / "app.py").write_text("print('app ran')\n")
    for block in blocks():
        if block.file is not None:
            (place / block.file).write_text(block.text)
    shim = place / "bin" / "docker"
    shim.parent.mkdir()
    # Names without a registry are this storage's own; a build may need the network.
    shim.write_text('#!/bin/sh\ncase $1 in build) shift; set -- build --network=host "$@";; esac\nexec podman "$@"\n')
    shim.chmod(0o755)
    engine.must("tag", bare_image, "busybox")
    yield place
    engine("rm", "--force", "--time", "0", "server")
    engine("volume", "rm", "--force", "evidence")
    for name in ("busybox", "app", "other", "guard"):
        engine("untag", f"localhost/{name}", f"localhost/{name}")  # this name only


SHELL = [block for block in blocks() if block.language == "sh"]


@pytest.mark.parametrize("block", SHELL, ids=[f"line-{block.line}" for block in SHELL])
def test_the_commands_work(block: Block, engine: Engine, place: Path) -> None:
    building_guard = re.search(r"build -t guard\b.* \.$", block.text, re.MULTILINE) is not None
    done = subprocess.run(
        ["sh", "-eu", "-c", block.text],
        cwd=ROOT if building_guard else place,
        env={**engine.environment, "PATH": f"{place}/bin:{engine.environment['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BUILD_S,
    )
    said = f"{block.text}\n{done.stdout}{done.stderr}"
    assert done.returncode == 0, said
    assert '"level": "error"' not in done.stderr, said
    if "app.py" in block.text or "--rm app" in block.text:
        assert "app ran" in done.stdout, said
    if "exit 3" in block.text:
        assert done.stdout.splitlines()[-2:] == ["hello from PID 6", "code 3"] or "code 3" in done.stdout, said
    if "ls profiles" in block.text:
        assert re.search(r"^\d{8}T\d{6}Z-true-", done.stdout, re.MULTILINE), said


def test_nothing_else_on_the_page_looks_like_a_command() -> None:
    """Blocks are shell that is run, files that it names, or the manifest."""
    for block in blocks():
        assert block.language in ("sh", "dockerfile", "yaml"), block
        assert (block.language == "dockerfile") == (block.file is not None), block
    assert len(SHELL) >= 10
