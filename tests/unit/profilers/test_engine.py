import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.actions import stacks
from supervisor.profilers import engine
from supervisor.profilers.engine import Facts


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("/usr/bin/python3.11", "python"),
        ("/opt/python3.13t", "python"),
        ("/opt/pypy/bin/pypy3.10", "python"),
        ("/usr/bin/node", "node"),
        ("/usr/bin/nodejs (deleted)", "node"),
        ("/usr/local/bin/node-22.1", "node"),
        ("/app/node_modules/bun/bin/bun.exe", "bun"),
        ("/usr/local/bin/bun", "bun"),
        ("/usr/local/bin/bun-profile", "bun"),
        ("/usr/bin/nodeinfo", "other"),
        ("/usr/bin/bundle", "other"),
        ("/usr/bin/ruby3.1", "ruby"),
        ("/opt/rbenv/versions/3.3.0/bin/ruby", "ruby"),
        ("/usr/bin/rubyist", "other"),
        ("", "other"),
    ],
)
def test_the_program_tells(program: str, expected: str) -> None:
    assert engine.choose(Facts(program)) == expected


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Facts("/usr/sbin/uwsgi", ("uwsgi",), ("libpython3.11.so.1.0",)), "python"),
        (Facts("/opt/app/editor", (), ("libnode.so.108",)), "node"),
        (Facts("/usr/lib/jvm/java-17/bin/java", (), ("libjvm.so",)), "java"),
        (Facts("/usr/bin/java"), "other"),
        (Facts("/usr/bin/dotnet", ("dotnet", "app.dll"), ("libcoreclr.so",)), "dotnet"),
        (Facts("/usr/bin/dotnet"), "other"),
        (Facts("/srv/api", go=True), "go"),
        (Facts("/srv/api", (), ("libpython3.11.so.1.0",), go=True), "python"),
        (Facts("/usr/bin/node", (), ("libpython3.11.so.1.0",)), "node"),
        (Facts("", ("/usr/bin/bun", "run", "app.ts")), "bun"),
        (Facts("/bin/sh", ("node", "app.js")), "other"),
        (Facts("/opt/app/editor", (), ("libpythonish.so",)), "python"),
        (Facts("/opt/app/server", holds_python=True), "python"),
        (Facts("/usr/bin/node", holds_python=True), "node"),
    ],
)
def test_libraries_and_command_tell_where_the_program_does_not(facts: Facts, expected: str) -> None:
    assert engine.choose(facts) == expected


def test_running_processes_are_told() -> None:
    assert engine.of(os.getpid()) == "python"
    child = subprocess.Popen(["sleep", "60"])
    try:
        assert engine.of(child.pid) == "other"
    finally:
        child.kill()
        child.wait()
    assert engine.of(child.pid) == "other"  # gone


def test_a_launcher_named_like_its_interpreter_is_told_by_what_runs() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        assert engine.of(child.pid) == "python"
    finally:
        child.communicate(b"\n")


STATIC = "#include <Python.h>\nint main(int count, char **words) { return Py_BytesMain(count, words); }\n"
LIBRARY = "/usr/lib/x86_64-linux-gnu/libpython3.11.a"


@pytest.mark.skipif(not (os.path.exists(LIBRARY) and shutil.which("gcc")), reason="no libpython3.11.a, or no gcc")
@pytest.mark.parametrize("strip", [False, True])
def test_a_program_that_python_is_linked_into(tmp_path: Path, strip: bool) -> None:
    """Static, under a name of its own, stripped: py-spy reads it, so nobody should take it for machine code."""
    source, program = tmp_path / "main.c", tmp_path / "server"
    source.write_text(STATIC)
    line = ["gcc", "-static", "-w", "-I/usr/include/python3.11", str(source), "-o", str(program), LIBRARY]
    line += ["-lexpat", "-lz", "-lm", *(["-s"] if strip else [])]
    subprocess.run(line, check=True, capture_output=True)
    script = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen([program, "-S", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stdout.readline() == b"\n"
        assert engine.of(running.pid) == "python"
        (thread,) = stacks.dump(running.pid, nonblocking=False)
        running.communicate()
    assert [frame["name"] for frame in thread["frames"]] == ["<module>"]
