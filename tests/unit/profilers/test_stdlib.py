"""Python 3.15's own profiler: when it is taken, its command line, its output."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.analysis.folded import FoldedError
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


def test_the_engine_for_a_process_of_this_python_is_py_spy() -> None:
    assert recorder.engine(os.getpid(), recorder.Options()).name == "py-spy record"


def test_the_engine_for_315(monkeypatch: pytest.MonkeyPatch) -> None:
    newer = interpreter.Interpreter("/opt/bin/python3.15", (3, 15), False)
    monkeypatch.setattr(interpreter, "look", lambda pid: newer)
    assert recorder.engine(1, recorder.Options()).name == "profiling.sampling"
    assert recorder.engine(1, recorder.Options(subprocesses=True)).name == "py-spy record"  # a file a process there


def test_command_line() -> None:
    argv = stdlib.attach_argv(
        "/opt/bin/python3.15", 42, "/proc/self/fd/5", rate_hz=250, duration_s=3, gil=False, idle=False, native=True
    )
    assert argv[:4] == ["/opt/bin/python3.15", "-I", "-m", "profiling.sampling"]
    assert argv[4:8] == ["attach", "--collapsed", "--all-threads", "--mode"]
    assert argv[8:] == [
        "cpu", "--sampling-rate", "250", "--duration", "3", "--output", "/proc/self/fd/5", "--native", "42",
    ]  # fmt: skip


@pytest.mark.parametrize(("gil", "idle", "mode"), [(True, False, "gil"), (False, True, "wall"), (True, True, "gil")])
def test_modes(gil: bool, idle: bool, mode: str) -> None:
    argv = stdlib.attach_argv("p", 1, "f", rate_hz=1, duration_s=1, gil=gil, idle=idle, native=False)
    assert argv[argv.index("--mode") + 1] == mode


OUTPUT = """tid:140;app.py:<module>:10;app.py:main:7;json/decoder.py:decode:340 12
tid:141;threading.py:run:982;app.py:main:7;<native> 3
tid:140;app.py:<module>:10;app.py:main:7;json/decoder.py:decode:340 5
"""


def test_output() -> None:
    assert stdlib.parse(OUTPUT.splitlines(), threads=False) == {
        "<module> (app.py:10);main (app.py:7);decode (json/decoder.py:340)": 17,
        "run (threading.py:982);main (app.py:7);<native>": 3,
    }


def test_output_with_threads() -> None:
    found = stdlib.parse(OUTPUT.splitlines(), threads=True)
    assert set(found.values()) == {17, 3}
    assert all(stack.startswith("thread (14") for stack in found)


def test_a_thread_without_frames_is_nothing() -> None:
    assert stdlib.parse(["tid:7 3"], threads=False) == {}


def test_something_else_is_refused() -> None:
    with pytest.raises(FoldedError):
        stdlib.parse(["Captured 5 samples in 1.0 seconds:"], threads=False)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=5))
def test_any_text_is_parsed_or_refused(lines: list[str]) -> None:
    try:
        found = stdlib.parse(lines, threads=False)
    except FoldedError:
        return
    assert all(weight >= 0 for weight in found.values())
