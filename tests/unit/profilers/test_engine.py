import os
import subprocess
import sys

import pytest

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
