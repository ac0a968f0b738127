"""Heap evidence of Python 3.14 and 3.15 that nobody prepared: what grew is named, the program never notices."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor import sample
from supervisor.profilers import lent, remote
from supervisor.profilers.failure import Failure
from tests import newer_python
from tests.integration.conftest import GUARD, ROOT
from tests.integration.test_heap import LEAK, LEAKS, OPTIONS
from tests.telling import PATIENCE_S

pytestmark = pytest.mark.integration

DIRECTORY = Path(__file__).parent / "leaks"
PLACES = [Path(path) for path in ("/tmp", "/dev/shm", "/var/tmp")]


@pytest.fixture(params=newer_python.VERSIONS)
def python(request: pytest.FixtureRequest) -> str:
    """A Python that can be visited."""
    return newer_python.program(request.param)


@pytest.fixture
def begin() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a Python, all streams as pipes; it has said its first line."""
    processes = []

    def start(line: list[str], **options: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
        )
        processes.append(process)
        assert process.stdout is not None and process.stdout.readline()
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def left_behind() -> list[Path]:
    """Folders of visits."""
    return [path for place in PLACES for path in place.glob("guard-heap-*")]


@pytest.mark.parametrize(
    ("version", "leak"),
    [("3.14", "dict_cache"), ("3.14", "lru_cache_method"), ("3.15", "listener_list"), ("3.15", "traceback_cycle")],
)
def test_the_type_that_leaks_and_its_holder_are_named_first(start: Callable[..., Any], version: str, leak: str) -> None:
    run = start(OPTIONS, [newer_python.program(version), str(DIRECTORY / f"{leak}.py"), "2000"])
    done = run.wait_for("action.finished", action="heap-profile", state="critical")
    assert (done["grew"]["type"], done["grew"]["holder"]) == LEAKS[leak], done
    assert done["grew"]["bytes"] > 5_000_000 and done["engine"] == remote.ENGINE
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 128 + signal.SIGTERM
    (meta,) = run.evidence("*-critical-heap-profile.meta.json")
    told = json.loads(meta.read_text())
    assert "3.14 or newer" in told["engine_reason"] and "without a heap agent" in told["engine_refused"]


def test_profile_heap_of_a_process(begin: Callable[..., Any], tmp_path: Path) -> None:
    process = begin([newer_python.program("3.14"), "-c", LEAK, "3000"])
    line = ["profile", "--heap", "--duration", "2s", "--json", "--profiles-dir", str(tmp_path)]
    done = subprocess.run([*GUARD, *line, "--pid", str(process.pid)], capture_output=True, check=True)
    result = json.loads(done.stdout)["profiles"]["heap-profile"]
    assert (result["engine"], result["grew"]["type"]) == (remote.ENGINE, "bytearray")
    assert result["grew"]["holder"] == "class __main__.Cart.rows"
    assert process.poll() is None
    told = json.loads(
        subprocess.run([*GUARD, "doctor", "--json", "--pid", str(process.pid)], capture_output=True).stdout
    )
    (row,) = (row for row in told["capabilities"] if row["name"] == "heap: sys.remote_exec")
    assert row["status"] == "works"


WITNESS = """
import gc, os, signal, sys, threading, time

def told():
    return (sorted(sys.modules), sys.path, [signal.getsignal(n) for n in range(1, 65)], gc.isenabled(),
            gc.get_threshold(), signal.pthread_sigmask(signal.SIG_BLOCK, ()), threading.active_count(),
            len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")), sorted(vars(sys)))

def leave(number, frame):
    print("handled", number, flush=True)
    sys.exit(7)

signal.signal(signal.SIGTERM, leave)
kept = [bytearray(1000) for _ in range(5000)]
before = told()
print("ready", flush=True)
os.set_blocking(0, False)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.001)
while len(os.listdir("/proc/self/task")) > 1:
    time.sleep(0.001)
print("same" if told() == before else [pair for pair in zip(before, told()) if pair[0] != pair[1]], flush=True)
while True:
    time.sleep(0.001)
"""


def test_the_program_is_as_it_was(begin: Callable[..., Any], python: str, tmp_path: Path) -> None:
    process = begin([python, "-W", "error", "-c", WITNESS, str(tmp_path / "go")])
    before = left_behind()
    visit = remote.Visit(process.pid)
    assert visit.ask("hello", 10.0)["mode"] == "census"
    found = visit.ask("census 3.0", 20.0)
    assert found["types"][0]["type"] == "bytearray" and 4500 < found["types"][0]["count"] < 5500
    assert visit.ask("chain 1.0 bytearray", 20.0)["holder"] == "__main__.kept"
    assert left_behind() != before  # what follows would be true without a visit
    visit.end()
    assert left_behind() == before
    (tmp_path / "go").touch()
    assert process.stdout.readline() == b"same\n"
    visit = remote.Visit(process.pid)
    process.send_signal(signal.SIGTERM)  # its handler ends it as ever, while the visit goes on
    assert process.wait(PATIENCE_S) == 7
    with pytest.raises(Failure) as caught:
        for _ in range(3):  # what it still answered on its way out
            visit.ask("census 1.0", 10.0)
    assert caught.value.reason == "target-gone"
    visit.end()
    assert process.communicate()[:2] == (b"handled 15\n", b"")
    assert left_behind() == before


REPLACED = """
import _thread, threading, time
from concurrent import interpreters
kept = [bytearray(1000) for _ in range(5000)]
other = interpreters.create()
sleep = time.sleep
def no(*_):
    print("called", flush=True)
_thread.start_new_thread = _thread.allocate_lock = time.sleep = no  # as gevent does it
print("ready", flush=True)
while True:
    sleep(0.001)
"""


def test_what_was_replaced_is_not_used_and_the_main_interpreter_is_meant(
    begin: Callable[..., Any], python: str
) -> None:
    process = begin([python, "-c", REPLACED])
    visit = remote.Visit(process.pid)
    try:
        assert visit.others == 1
        assert visit.ask("census 3.0", 20.0)["types"][0]["type"] == "bytearray"
        assert visit.ask("chain 1.0 bytearray", 20.0)["holder"] == "__main__.kept"
    finally:
        visit.end()
    process.kill()
    assert process.communicate() == (b"", b"")


def test_a_process_that_only_the_watcher_may_open(begin: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Under Yama 1 it opens the memory of a forked worker, and lends the descriptor."""
    process = begin([newer_python.program("3.15"), "-c", LEAK, "3000"])
    memory_fd = sample.open_memory(process.pid, write=True)
    monkeypatch.setattr(sample, "open_memory", lambda pid, write=False: None)
    assert remote.refusal(remote.look(process.pid))[0] == "ptrace-refused"
    monkeypatch.setattr(lent, "_known", {})
    lent.keep(process.pid, memory_fd)
    visit = remote.Visit(process.pid)
    assert visit.ask("hello", 10.0)["mode"] == "census"
    visit.end()
    os.close(memory_fd)


BLOCKED = """
import sys
print("ready", flush=True)
sys.stdin.readline()
print("lives", flush=True)
"""


def test_one_that_never_comes_by_is_left_as_it_was(begin: Callable[..., Any], python: str) -> None:
    process = begin([python, "-c", BLOCKED])
    before = left_behind()
    with pytest.raises(Failure) as caught:
        remote.Visit(process.pid, 0.5)
    assert caught.value.reason == "main-thread-blocked"
    assert left_behind() == before
    assert process.communicate(b"\n", timeout=PATIENCE_S) == (b"lives\n", b"")
    assert process.returncode == 0


def test_a_script_that_comes_too_late_clears_up(begin: Callable[..., Any], python: str) -> None:
    """guard was killed before the main thread came by."""
    process = begin([python, "-c", BLOCKED.replace('print("lives"', 'sys.stdin.readline()\nprint("lives"')])
    before = set(left_behind())
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom supervisor.profilers import remote\n"
    visitor = subprocess.Popen([sys.executable, "-c", f"{code}remote.Visit({process.pid}, 60.0)"])
    until_s = time.monotonic() + PATIENCE_S
    while not [path for path in set(left_behind()) - before if (path / "guard").exists()]:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    time.sleep(0.2)  # for what it writes into the process; were it less, nothing would be left to clear up
    visitor.kill()
    visitor.wait()
    process.stdin.write(b"\n")
    process.stdin.flush()
    while set(left_behind()) - before:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    assert process.communicate(b"\n", timeout=PATIENCE_S) == (b"lives\n", b"")


def test_a_visit_whose_guard_is_killed_ends(begin: Callable[..., Any]) -> None:
    process = begin([newer_python.program("3.14"), "-c", LEAK, "3000"])
    before = set(left_behind())
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom supervisor.profilers import remote\n"
    code += f"visit = remote.Visit({process.pid})\nprint(visit.ask('hello', 30.0), flush=True)\ninput()"
    visitor = begin([sys.executable, "-c", code])
    threads = Path(f"/proc/{process.pid}/task")
    assert set(left_behind()) - before and len(list(threads.iterdir())) == 2
    visitor.kill()
    until_s = time.monotonic() + PATIENCE_S
    while set(left_behind()) - before or len(list(threads.iterdir())) > 1:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    assert process.poll() is None


@pytest.mark.parametrize("how", ["environment", "option"])
def test_remote_debugging_that_is_off_is_respected(begin: Callable[..., Any], how: str, tmp_path: Path) -> None:
    python = newer_python.program("3.14")
    off = ["-X", "disable-remote-debug"] if how == "option" else []
    environment = {**os.environ, **({"PYTHON_DISABLE_REMOTE_DEBUG": "1"} if how == "environment" else {})}
    process = begin([python, *off, "-c", LEAK, "3000"], env=environment)
    found = remote.refusal(remote.look(process.pid))
    assert found is not None and found[0] == "remote-debug-off"
    if how == "option":
        done = subprocess.run(
            [*GUARD, "profile", "--heap", "--pid", str(process.pid), "--duration", "1s",
             "--profiles-dir", str(tmp_path)], capture_output=True, env={**os.environ, "PATH": "/nowhere"},
        )  # fmt: skip
        assert done.returncode != 0 and b"remote debugging is off in it" in done.stderr
    assert process.poll() is None
