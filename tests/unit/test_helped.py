"""How a helper begins: its spec, its name, and what it does without who started it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from supervisor import helper

LINE = [sys.executable, "-IS", helper._HELPED]
SHOWN = {"address": "127.0.0.1", "port": None, "socket": None, "otlp": None}


def run(module: str, spec: dict[str, Any], fed: str = "") -> subprocess.CompletedProcess[str]:
    given = json.dumps(spec | {"path": [path for path in sys.path if path]})
    return subprocess.run([*LINE, module], input=f"{given}\n{fed}", capture_output=True, text=True, timeout=60)


def test_one_whose_starter_is_gone_does_nothing() -> None:
    spec = {"url": "tcp://127.0.0.1:1", "timeout_s": 1.0, "interval_s": 0.1, "parent": 1 if os.getpid() != 1 else 2}
    done = run("probe", spec)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_but_for_the_one_that_has_a_last_word(tmp_path: Path) -> None:
    path = tmp_path / "run.prom"
    done = run("metrics.exporter", SHOWN | {"file": str(path), "parent": 1 if os.getpid() != 1 else 2}, '{"up": 1}\n')
    assert done.returncode == 0 and json.loads(done.stdout) == {"serving": "file", "place": str(path)}
    assert path.exists()


def test_nothing_to_read_is_nothing_to_do() -> None:
    done = subprocess.run([*LINE, "probe"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_is_named_after_its_part() -> None:
    given = json.dumps(SHOWN | {"file": None, "port": 0, "parent": os.getpid(), "path": sys.path})
    with subprocess.Popen([*LINE, "metrics.exporter"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{given}\n".encode())
        process.stdin.flush()
        assert b"serving" in process.stdout.readline()
        assert Path(f"/proc/{process.pid}/comm").read_text() == "guard-metrics\n"
