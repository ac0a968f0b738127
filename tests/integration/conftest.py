"""Running the real guard: the checkout's `bin/guard` under this Python, waited for by its events, never by time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.telling import PATIENCE_S, Telling

ROOT = Path(__file__).resolve().parents[2]
GUARD = [sys.executable, "-IS", str(ROOT / "bin" / "guard")]


class Run(Telling):
    """A running guard whose stderr is read as JSON events."""

    def __init__(self, process: subprocess.Popen[bytes], profiles: Path) -> None:
        super().__init__(process)
        self.profiles = profiles

    @property
    def record(self) -> dict[str, Any]:
        """run.json."""
        (path,) = self.profiles.glob("monitored/*/run.json")
        return dict(json.loads(path.read_text()))

    def evidence(self, pattern: str) -> list[Path]:
        """Evidence files of this run."""
        return sorted(self.profiles.glob(f"auto-memory/*/{pattern}"))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Start guard: start(["--interval", "200ms"], ["sleep", "1"], env={...}); ended by pid when the test ends."""
    runs: list[Run] = []

    def begin(options: list[str], command: list[str], *, subcommand: str = "run", **popen: Any) -> Run:
        profiles = tmp_path / f"profiles{len(runs) or ''}"
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("GUARD_", "MEMORY_"))}
        environment |= {"GUARD_PROFILES_DIR": str(profiles), **popen.pop("env", {})}
        popen.setdefault("cwd", tmp_path)
        popen.setdefault("stdin", subprocess.DEVNULL)
        popen.setdefault("stdout", subprocess.PIPE)
        line = [*popen.pop("guard", GUARD), subcommand, *options, *(["--", *command] if command else [])]
        process = subprocess.Popen(line, stderr=subprocess.PIPE, env=environment, **popen)
        runs.append(Run(process, profiles))
        return runs[-1]

    yield begin
    for run in runs:
        if run.process.poll() is None:
            run.process.send_signal(signal.SIGTERM)
            try:
                run.process.wait(15)
            except subprocess.TimeoutExpired:
                run.process.kill()
                run.process.wait()
        for stream in (run.process.stdin, run.process.stdout, run.process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # what was still buffered for its stdin
                    stream.close()


@pytest.fixture
def described(tmp_path: Path) -> Iterator[None]:
    """Holds every `.meta.json` and `.stacks.json` that a test leaves against its schema, whichever engine wrote it."""
    from tests.integration import test_schemas

    yield
    for kind in ("meta", "stacks"):
        for path in sorted(tmp_path.rglob(f"*.{kind}.json")):
            assert test_schemas.faults(kind, json.loads(path.read_text())) == [], path


def guard(*arguments: str | bytes, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run guard to its end, output captured."""
    options.setdefault("timeout", PATIENCE_S)
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([*GUARD, *arguments], capture_output=True, check=False, **options)


@pytest.fixture
def run_guard() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """`guard` as a fixture."""
    return guard
