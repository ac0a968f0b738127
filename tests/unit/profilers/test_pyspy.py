"""What py-spy's failures mean: what it can't read apart from what it may not."""

from __future__ import annotations

import os

import pytest

from supervisor.profilers import interpreter, pyspy

NO_VERSION = "Error: Failed to find python version from target process"
DENIED = "Permission Denied: Try running again with elevated permissions by going 'sudo env ...'"


def _interpreter(version: tuple[int, int] | None, free_threaded: bool = False) -> interpreter.Interpreter:
    return interpreter.Interpreter("/opt/bin/python3", version, free_threaded)


@pytest.mark.parametrize(
    ("said", "found", "reason"),
    [
        (NO_VERSION, None, "not-python"),
        (NO_VERSION, _interpreter((3, 99)), "python-unsupported"),
        (NO_VERSION, _interpreter((3, 13), True), "python-free-threaded"),
        (NO_VERSION, _interpreter((3, 11)), "python-static"),
        (NO_VERSION, _interpreter(None), "python-static"),
        (DENIED, _interpreter((3, 15)), "ptrace-refused"),
        (DENIED, None, "ptrace-refused"),
        (
            "Error: Failed to get process executable name. Caused by: Permission denied (os error 13)",
            None,
            "ptrace-refused",
        ),
        ("Error: Failed to get process executable name. Caused by: No such file", None, "target-gone"),
        ("Error: EPERM: Operation not permitted", _interpreter((3, 11)), "ptrace-refused"),
        ("Error: Unsupported version of Python: 2.6.0", None, "python-unsupported"),
        ("unexpected waitpid result PtraceEvent(Pid(7), SIGSTOP, 1)", _interpreter((3, 11)), "target-stopped"),
        ("Error: something else", _interpreter((3, 11)), "profiler-failed"),
    ],
)
def test_reasons(
    said: str, found: interpreter.Interpreter | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreter, "look", lambda pid: found)
    failure = pyspy.explain(said, 1, hung=False, pid=os.getpid())
    assert failure.reason == reason
    assert failure.hint
    assert failure.said


def test_a_newer_python_is_told_of_its_own_profiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "look", lambda pid: _interpreter((3, 16)))
    assert "-m profiling.sampling attach" in pyspy.explain(NO_VERSION, 1, hung=False, pid=os.getpid()).hint


def test_the_command_line_keeps_whole_paths_and_rounds_time_up() -> None:
    argv = pyspy.record_argv(
        "py-spy", 7, "out", rate_hz=100, duration_s=2.1, nonblocking=True, extra=["--gil", "--idle"]
    )
    assert "--full-filenames" in argv
    assert argv[argv.index("--duration") + 1] == "3"
    assert argv[-3:] == ["--nonblocking", "--gil", "--idle"]
