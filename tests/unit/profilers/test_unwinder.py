"""Stacks by the target's own interpreter: what becomes of a helper that answers badly."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from supervisor.profilers import interpreter, unwinder
from supervisor.profilers.failure import Failure

ANSWER = json.dumps({"threads": [[os.getpid(), True, [["/srv/app.py", 7, "Work.main"], ["~", 0, "<GC>"]]]]})


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The script that is run as the helper, for this process."""
    path = tmp_path / "helper.py"
    found = interpreter.Interpreter(os.readlink("/proc/self/exe"), (3, 16), True)
    monkeypatch.setattr(interpreter, "look", lambda pid: found)
    monkeypatch.setattr(unwinder, "SCRIPT", str(path))
    monkeypatch.setattr(unwinder, "DEADLINE_S", 20.0)
    return path


def test_an_answer_is_in_py_spys_form(helper: Path) -> None:
    helper.write_text(f"import sys\nfor _ in sys.stdin: print('''{ANSWER}''', flush=True)")
    (thread,) = unwinder.first(os.getpid())
    reader = unwinder.of(os.getpid())
    assert reader is not None
    assert reader.threads()[0]["frames"] == thread["frames"]
    reader.close()
    assert unwinder.of(os.getpid()) is None
    assert thread["owns_gil"] and thread["os_thread_id"] == os.getpid()
    assert [(frame["name"], frame["filename"], frame["line"]) for frame in thread["frames"]] == [
        ("Work.main", "/srv/app.py", 7),
        ("<GC>", "~", 0),
    ]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("raise SystemExit(3)", "profiler-crashed"),
        ("input(); print('no JSON', flush=True); input()", "profiler-crashed"),
        ("input(); print('{\"threads\": [7]}', flush=True); input()", "profiler-garbage"),
        ("while input() == '': print('[]', flush=True)", "profiler-failed"),
        ("while input() == '': print('{\"error\": \"OSError\", \"said\": \"torn\"}', flush=True)", "profiler-failed"),
        ("while input() == '': print('{\"error\": \"PermissionError\", \"said\": \"no\"}', flush=True)",
         "ptrace-refused"),
    ],
)  # fmt: skip
def test_failures(helper: Path, script: str, reason: str) -> None:
    helper.write_text(script)
    with pytest.raises(Failure) as failed:
        unwinder.first(os.getpid())
    assert failed.value.reason == reason and failed.value.hint
    assert unwinder.of(os.getpid()) is None


def test_one_that_does_not_answer_is_ended(helper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unwinder, "DEADLINE_S", 0.1)
    helper.write_text("import time\nwhile True: time.sleep(9)")
    with pytest.raises(Failure) as failed:
        unwinder.first(os.getpid())
    assert failed.value.reason == "profiler-hung"


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="this Python has one")
def test_a_python_without_such_a_reader() -> None:
    with pytest.raises(Failure) as failed:
        unwinder.first(os.getpid())
    assert failed.value.reason == "python-unsupported"
