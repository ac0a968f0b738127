"""However a Node ends while guard listens to it, it ends as it would alone: its code, at once, never by a fault."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supervisor.profilers import sockets
from tests.integration.driving import until

pytestmark = [
    pytest.mark.usefixtures("described"),
    pytest.mark.integration,
    pytest.mark.skipif(not shutil.which("node"), reason="needs node"),
]

QUIET = ["--env", "development", "--warning", "30", "--critical", "4G", "--profiling", "5G", "--interval", "200ms"]
# Ends when it is told to, by a file: an event of guard's may come at any moment of its life.
PROGRAM = """
const fs = require('fs')
const held = []
const timer = setInterval(() => {
  for (let i = 0; i < 50; i++) held.push(new Array(200).fill(i))
  if (!fs.existsSync(process.argv[2])) return
  clearInterval(timer)
  END
}, 10)
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("", 0),
        ("process.exitCode = 3", 3),
        ("process.exit(4)", 4),
        ("throw new Error('meant')", 1),
        ("Promise.reject(new Error('meant'))", 1),
        ("process.kill(process.pid, 'SIGKILL')", 137),
        ("process.abort()", 134),
    ],
)
def test_a_node_ends_as_it_would_alone(start: Callable[..., Any], tmp_path: Path, end: str, code: int) -> None:
    program, told = tmp_path / "app.js", tmp_path / "told"
    program.write_text(PROGRAM.replace("END", end))
    run = start(QUIET, ["node", "--inspect-port=0", str(program), str(told)])
    run.wait_for("action.started", action="growth")
    until(lambda: run.evidence("*-growth.folded"), "a first reading")
    told.touch()
    assert run.end() == code, run.noise
    finished = run.wait_for("action.finished", action="growth")
    assert finished["engine"] == ("inspector" if finished["suspect"].get("function") else "mappings")
    assert finished["samples"] > 0


def test_a_node_that_ends_while_guard_comes_in(start: Callable[..., Any], tmp_path: Path) -> None:
    """At any moment of opening, reading, closing: told by the inspector's own socket."""
    program, told = tmp_path / "app.js", tmp_path / "told"
    program.write_text(PROGRAM.replace("END", "process.exitCode = 5"))
    run = start(QUIET, ["node", "--inspect-port=0", str(program), str(told)])
    pid = run.wait_for("action.started", action="growth")["pid"]
    until(lambda: sockets.own_listeners(pid), "the inspector opens")
    told.touch()
    assert run.end() == 5, run.noise


def test_a_stopped_node_is_not_waited_for(start: Callable[..., Any], tmp_path: Path) -> None:
    program, told = tmp_path / "app.js", tmp_path / "told"
    program.write_text(PROGRAM.replace("END", "process.exitCode = 6"))
    run = start(QUIET, ["node", "--inspect-port=0", str(program), str(told)])
    pid = run.wait_for("action.started", action="growth")["pid"]
    until(lambda: run.evidence("*-growth.folded"), "a first reading")
    os.kill(pid, signal.SIGSTOP)
    told.touch()
    os.kill(pid, signal.SIGCONT)
    assert run.end() == 6, run.noise
