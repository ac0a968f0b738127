"""Why a command's heap was not counted: the reason that was there before it ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from supervisor.actions import heap_agent
from supervisor.actions.task import Task
from supervisor.launch import with_heap_agent
from supervisor.profilers.failure import Failure

WAITS = "import sys; sys.stdin.read()"


@pytest.mark.parametrize(
    ("command", "reason", "words"),
    [
        ([sys.executable, "-I", "-c", WAITS], "agent-silent", "started with -I, which keeps the agent out"),
        (["cat"], "not-python", "growth names the function or the mapping"),
    ],
)
def test_its_end_is_not_why_where_it_could_not_have_been_counted(
    command: list[str], reason: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = with_heap_agent(dict(os.environb), "census")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment) as process:
        looks = 0

        def look_again(seconds: float) -> bool:
            nonlocal looks
            looks += 1
            if looks == 2 and process.stdin is not None:
                process.stdin.close()
                process.wait()
            return False

        monkeypatch.setattr("supervisor.profilers.runner.pause", look_again)
        spec: dict[str, Any] = {
            "action": "heap-profile", "state": "profiling", "pid": process.pid, "directory": str(tmp_path),
            "name": "001", "run": "r", "patient": True, "duration": None, "profile_mode": "ci", "heap_agent": "census",
        }  # fmt: skip
        with pytest.raises(Failure) as refused:
            heap_agent._find(Task(spec))
    assert refused.value.reason == reason and words in refused.value.said
