"""Python 3.15's own profiler: when it is taken, its command line, its output."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.actions import ways
from supervisor.analysis import folded
from supervisor.profilers import interpreter, recorder, stdlib


@pytest.mark.parametrize(
    ("program", "libraries", "version", "free_threaded"),
    [
        ("/usr/bin/python3.11", [], (3, 11), False),
        ("/opt/python/bin/python3.15", [], (3, 15), False),
        ("/opt/python/bin/python3.14t", [], (3, 14), True),
        ("/usr/bin/python3.13 (deleted)", [], (3, 13), False),
        ("/usr/bin/python3", ["libpython3.12.so.1.0"], (3, 12), False),
        ("/usr/sbin/uwsgi", ["libpython3.13t.so.1.0"], (3, 13), True),
        ("/usr/bin/python3", [], None, False),
        ("/usr/bin/pypy3.10", [], None, False),
    ],
)
def test_interpreters(program: str, libraries: list[str], version: tuple[int, int] | None, free_threaded: bool) -> None:
    found = interpreter.told_by(program, libraries)
    assert found is not None
    assert (found.version, found.free_threaded) == (version, free_threaded)


@pytest.mark.parametrize("program", ["/bin/sh", "/usr/bin/node", "/srv/my-python-app", ""])
def test_what_is_no_python(program: str) -> None:
    assert interpreter.told_by(program, []) is None


@given(st.text(), st.lists(st.text(), max_size=3))
def test_any_name_is_taken(program: str, libraries: list[str]) -> None:
    interpreter.told_by(program, libraries)


def test_this_process_is_known() -> None:
    found = interpreter.look(os.getpid())
    assert found is not None
    assert interpreter.look(2**22 + 1) is None


@pytest.mark.parametrize(("version", "taken"), [((3, 14), False), ((3, 15), True), ((4, 0), True), (None, False)])
def test_it_is_the_engine_from_315_on(version: tuple[int, int] | None, taken: bool) -> None:
    assert stdlib.reads(interpreter.Interpreter("/usr/bin/python3", version, False)) is taken


def chosen(options: recorder.Options | None = None, room_bytes: int | None = None) -> tuple[recorder.Engine, list[str]]:
    """The engine for this process, and what is told of the one before it."""
    told: list[str] = []
    return ways.samplers(recorder.Subject(os.getpid(), options, room_bytes), told.append).next(), told


def test_the_engine_for_a_process_of_this_python_is_py_spy() -> None:
    engine, told = chosen()
    assert (engine.name, told) == ("py-spy record", [])


def test_the_engine_for_315(monkeypatch: pytest.MonkeyPatch) -> None:
    newer = interpreter.Interpreter(os.readlink("/proc/self/exe"), (3, 15), False)
    monkeypatch.setattr(interpreter, "look", lambda pid: newer)
    engine, told = chosen()
    assert (engine.name, told) == ("profiling.sampling", [])
    assert [way.nonblocking for way in engine.ways(False)] == [True, True]


@pytest.mark.parametrize(
    ("options", "room", "why"),
    [
        ({"subprocesses": True}, None, "it writes one file a process"),
        ({"native": True}, None, "it has no frames of machine code"),
        ({}, 8 << 20, "headroom of 8.39 MB"),
    ],
)
def test_what_it_does_not_do_is_py_spys(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, bool], room: int | None, why: str
) -> None:
    newer = interpreter.Interpreter(os.readlink("/proc/self/exe"), (3, 15), False)
    monkeypatch.setattr(interpreter, "look", lambda pid: newer)
    engine, told = chosen(recorder.Options(**options), room)
    assert engine.name == "py-spy record"
    assert len(told) == 1 and told[0].startswith(f"not by profiling.sampling: {why}")


def test_an_interpreter_that_was_replaced_is_not_run(tmp_path: Path) -> None:
    other = tmp_path / "python3.15"
    other.touch()
    assert "replaced or deleted" in str(stdlib.hindered(os.getpid(), str(other)))
    gone = f"{os.readlink('/proc/self/exe')} (deleted)"
    assert "replaced or deleted" in str(stdlib.hindered(os.getpid(), gone))
    assert stdlib.hindered(2**22 + 1, str(other)) == "the target's interpreter: No such file or directory"


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's process takes root")
def test_another_users_interpreter_is_not_run(tmp_path: Path) -> None:
    """Its user would have guard do what he likes, unless nobody but root can write it."""
    script = "import os, sys; os.setresuid(65534, 65534, 65534); print(flush=True); sys.stdin.read()"
    other = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with other:
        assert other.stdout is not None and other.stdout.readline()
        program = os.readlink(f"/proc/{other.pid}/exe")
        copy = tmp_path / "python3.15"
        shutil.copy(program, copy)
        os.chown(copy, 65534, -1)
        other.communicate()
        reader = subprocess.Popen([copy, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with reader:
            assert reader.stdout is not None
            reader.stdout.readline()
            assert "another user's" in str(stdlib.hindered(reader.pid, str(copy)))
            os.chown(copy, 0, -1)
            os.chmod(copy, 0o775)
            assert "another user's" in str(stdlib.hindered(reader.pid, str(copy)))
            reader.communicate()


def test_command_line() -> None:
    argv = stdlib.attach_argv(
        "/opt/bin/python3.15", 42, "/proc/self/fd/5", rate_hz=250, duration_s=3, gil=False, idle=False
    )
    assert argv[0] == "/opt/bin/python3.15" and "-I" in argv and "-S" in argv
    script = argv.index(stdlib.SCRIPT)
    assert os.path.isfile(stdlib.SCRIPT)
    assert argv[script + 1 :] == [
        "attach", "--collapsed", "--all-threads", "--mode", "cpu", "--sampling-rate", "250", "--duration", "3",
        "--output", "/proc/self/fd/5", "42",
    ]  # fmt: skip


@pytest.mark.parametrize(("gil", "idle", "mode"), [(True, False, "gil"), (False, True, "wall"), (True, True, "gil")])
def test_modes(gil: bool, idle: bool, mode: str) -> None:
    argv = stdlib.attach_argv("p", 1, "f", rate_hz=1, duration_s=1, gil=gil, idle=idle)
    assert argv[argv.index("--mode") + 1] == mode


STACK = (
    '[["/srv/app.py", 10, "<module>"], ["/srv/app.py", 7, "main"], ["/usr/lib/python3.15/json/decoder.py", 340, "f"]]'
)
OUTPUT = f"""
[140, 12, {STACK}]
[141, 3, [["/srv/app.py", 7, "main"], ["~", 0, "<GC>"]]]
[141, 5, {STACK}]
{{"ticks": 17, "failed": 2, "seconds": 1.5}}
"""


def test_output() -> None:
    found = stdlib.parse(OUTPUT, threads=False)
    assert found.counts == {
        "<module> (/srv/app.py:10);main (/srv/app.py:7);f (/usr/lib/python3.15/json/decoder.py:340)": 17,
        "main (/srv/app.py:7);<GC>": 3,
    }
    assert (found.ticks, found.failed, found.seconds) == (17, 2, 1.5)


def test_output_with_threads() -> None:
    found = stdlib.parse(OUTPUT, threads=True).counts
    assert {stack.split(";")[0] for stack in found} == {"thread (140)", "thread (141)"}
    assert all(folded.is_marker(stack.split(";")[0]) for stack in found)


def test_one_that_was_ended_before_its_first_sample_wrote_nothing() -> None:
    found = stdlib.parse("\n", threads=False)
    assert (found.counts, found.ticks, found.seconds) == ({}, 0, None)


@pytest.mark.parametrize(
    "line", ["Captured 5 samples", "7", "[1]", "[1, 2, 3]", "[1, 2, [[1]]]", "{}", "[1, -2, []]", '{"ticks": "x"}']
)
def test_something_else_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        stdlib.parse(line, threads=False)


@given(st.text() | st.recursive(st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        found = stdlib.parse(text, threads=True)
    except ValueError:
        return
    assert all(weight > 0 for weight in found.counts.values())


@pytest.mark.parametrize(
    ("stderr", "code", "failed", "hung", "reason"),
    [
        ("Tachyon was unable to access process memory.\n\n... insufficient privileges, Permission Error", 1, 0, False,
         "ptrace-refused"),
        ("RuntimeError: Failed to find the PyRuntime section", 1, 0, False, "profiler-failed"),
        ("", 0, 40, False, "profiler-failed"),
        ("", -9, 0, False, "profiler-killed"),
        ("", 1, 0, True, "profiler-hung"),
        ("Tachyon cannot find the process: Process with PID '7' does not exist.", 1, 0, False, "target-gone"),
    ],
)  # fmt: skip
def test_failures(stderr: str, code: int, failed: int, hung: bool, reason: str) -> None:
    found = stdlib.explain(stderr, code, failed, hung=hung, pid=os.getpid(), hint="try")
    assert found.reason == reason
    assert found.said and found.hint
