"""Heap evidence of real programs: the agent names the type that grew and who holds it, the program never notices."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor import launch
from supervisor.analysis import folded
from supervisor.analysis.block import read_block
from supervisor.profilers import agent, memray, recorder
from supervisor.profilers.failure import Failure
from tests.integration.conftest import GUARD
from tests.telling import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("described")]

DIRECTORY = Path(__file__).parent / "leaks"
OPTIONS = ["--env", "development", "--warning", "40", "--critical", "80", "--profiling", "3G", "--interval", "200ms"]
LEAKS = {
    "dict_cache": ("bytes", "__main__.Renderer.pages"),
    "listener_list": ("bytearray", "__main__.Bus.listeners"),
    "lru_cache_method": ("str", "functools.lru_cache of Catalogue.describe"),
    "numpy_buffers": ("numpy.ndarray", "__main__.frames"),
    "traceback_cycle": ("bytearray", "variables of charge_card"),
}


def armed(mode: str = "census") -> dict[bytes, bytes]:
    """This environment with an agent in it."""
    return launch.with_heap_agent(dict(os.environb), mode)


@pytest.mark.parametrize(("leak", "expected"), LEAKS.items())
def test_the_type_that_leaks_and_its_holder_are_named_first(
    start: Callable[..., Any], leak: str, expected: tuple[str, str]
) -> None:
    run = start([*OPTIONS, "--heap-agent", "census"], [sys.executable, str(DIRECTORY / f"{leak}.py"), "2000"])
    done = run.wait_for("action.finished", action="heap-profile", state="critical")
    assert (done["grew"]["type"], done["grew"]["holder"]) == expected, done
    assert done["grew"]["bytes"] > 5_000_000
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 128 + signal.SIGTERM
    (first,) = run.evidence("*-warning-heap-profile.census.json")
    (profile,) = run.evidence("*-critical-heap-profile.folded")
    assert first.stat().st_mode & 0o777 == profile.stat().st_mode & 0o777 == 0o600
    counts = folded.parse(profile.read_text().splitlines())
    assert folded.by_function(counts)[0].function == expected[0] or expected[0] in profile.read_text().splitlines()[0]
    text = profile.with_suffix(".md").read_text()
    assert f"`{expected[0]}` grew most" in text and f"held by `{expected[1]}`" in text
    assert read_block(text)["data"]["grew"]["type"] == expected[0]
    suspect = run.record["suspect"]
    assert (suspect["grew"]["type"], suspect["grew"]["holder"]) == expected


def test_a_leak_among_the_objects_of_an_ordinary_program(start: Callable[..., Any]) -> None:
    """Its cache is one object of 166,000 in a sample of 20,000."""
    levels = ["--env", "development", "--warning", "90", "--critical", "130", "--profiling", "3G"]
    options = [*levels, "--interval", "200ms", "--heap-agent", "census"]
    run = start(options, [sys.executable, str(DIRECTORY / "ordinary.py"), "2000"])
    done = run.wait_for("action.finished", action="heap-profile", state="critical")
    assert (done["grew"]["type"], done["grew"]["holder"]) == ("bytes", "__main__.PAGES"), done
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 128 + signal.SIGTERM
    (meta,) = (json.loads(path.read_text()) for path in run.evidence("*-critical-heap-profile.meta.json"))
    assert meta["objects"] > 160_000 and meta["doubt"] is None
    begun = run.wait_for("action.started", action="heap-profile", state="critical")["timestamp"]
    assert begun[:-4] <= meta["started"][:-1]  # to the millisecond: a report tells it at its moment
    assert 0.7 * meta["gained_bytes"] < meta["grew"]["bytes"] < 1.3 * meta["gained_bytes"]


@pytest.fixture
def extension(tmp_path: Path) -> dict[str, str]:
    """An environment with the C extension that leaks."""
    headers = Path(sysconfig.get_paths()["include"])
    if shutil.which("gcc") is None or not (headers / "Python.h").exists():
        pytest.skip("needs gcc and Python's headers")
    line = ["gcc", "-shared", "-fPIC", "-O1", f"-I{headers}", str(DIRECTORY / "imagecodec.c")]
    subprocess.run([*line, "-o", str(tmp_path / "imagecodec.so")], check=True)
    return {"PYTHONPATH": str(tmp_path)}


def test_memory_of_c_code_is_said_to_be_unseen(start: Callable[..., Any], extension: dict[str, str]) -> None:
    """No type is blamed for it; the function that calls the extension is."""
    program = str(DIRECTORY / "c_extension.py")
    run = start([*OPTIONS, "--heap-agent", "census"], [sys.executable, program, "250"], env=extension)
    done = run.wait_for("action.finished", action="heap-profile", state="critical")
    assert done["grew"] is None
    assert run.end() == 0
    (page,) = run.evidence("*-critical-heap-profile.md")
    assert "the rest is memory that C code holds" in page.read_text()
    suspect = run.record["suspect"]
    assert "grew" not in suspect
    assert (suspect["function"], suspect["file"]) == ("decode_image", program)


def test_a_python_that_keeps_the_agent_out_is_told(start: Callable[..., Any]) -> None:
    leak = str(DIRECTORY / "dict_cache.py")
    run = start([*OPTIONS, "--heap-agent", "census"], [sys.executable, "-I", leak, "2000"])
    skipped = run.wait_for("action.skipped", action="heap-profile")
    assert skipped["reason"] == "agent-silent" and "-I" in skipped["said"] and skipped["hint"]
    assert run.wait_for("capability.missing", capability="heap agent")["reason"] == skipped["said"]
    run.process.send_signal(signal.SIGTERM)
    run.end()


CHAINED = """
import sys, threading
import sitecustomize
print(sitecustomize.__file__)
print(sys.path)
print(sorted(sys.path_importer_cache))
print(threading.active_count(), [each.name for each in threading.enumerate()])
print(sys.modules.get("json"), sys.modules.get("re"), sys.modules.get("socket"))
"""


def test_the_users_own_sitecustomize_and_path_are_as_without(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('mine')\n")
    (tmp_path / "program.py").write_text(CHAINED)
    said = [
        subprocess.run([sys.executable, str(tmp_path / "program.py")], capture_output=True, text=True, env=environment)
        for environment in (_with(tmp_path), launch.with_heap_agent(_with(tmp_path), "census"))
    ]
    assert said[0].stdout == said[1].stdout and said[0].stdout.startswith("mine\n")
    assert [each.stderr for each in said] == ["", ""]


def _with(place: Path) -> dict[bytes, bytes]:
    return {**os.environb, b"PYTHONPATH": os.fsencode(place)}


def test_without_one_there_is_none(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; print('sitecustomize' in sys.modules)\nimport sitecustomize"],
        capture_output=True, text=True, check=False, env=armed(),
    )  # fmt: skip
    plain = subprocess.run(
        [sys.executable, "-c", "import sys; print('sitecustomize' in sys.modules)\nimport sitecustomize"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (plain.returncode, plain.stdout, plain.stderr)


FORKS = """
import multiprocessing, os, sys, threading
def child(pipe):
    pipe.send(os.getpid())
    pipe.recv()
if __name__ == "__main__":
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    print(os.getpid(), flush=True)
    for how in ("fork", "spawn"):
        context = multiprocessing.get_context(how)
        ours, theirs = context.Pipe()
        process = context.Process(target=child, args=(theirs,))
        process.start()
        print(ours.recv(), flush=True)
        sys.stdin.readline()
        ours.send(None)
        process.join()
        assert process.exitcode == 0
    threads = [threading.Thread(target=lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0))]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
"""


def test_children_that_are_forked_or_spawned_have_agents_of_their_own(tmp_path: Path) -> None:
    """Python warns of a fork beside threads (an error here): the agent's is not there then."""
    program = tmp_path / "forks.py"
    program.write_text(FORKS)
    process = subprocess.Popen(
        [sys.executable, "-W", "error", str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=armed()
    )
    assert process.stdin is not None and process.stdout is not None
    parent = int(process.stdout.readline())
    for _ in range(2):
        child = int(process.stdout.readline())
        for pid in (parent, child):
            assert agent.ask(pid, "hello", 5.0)["mode"] == "census"
        assert agent.ask(child, "census 2.0", 10.0)["objects"] > 1000
        process.stdin.write(b"\n")
        process.stdin.flush()
    assert process.communicate(timeout=PATIENCE_S)[0] == b""
    assert process.returncode == 0


def test_a_main_thread_in_c_code_is_no_hindrance() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"],
                               stdout=subprocess.PIPE, env=armed())  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    assert agent.ask(process.pid, "census 2.0", 10.0)["types"]
    process.kill()
    process.communicate()
    with pytest.raises(Failure):
        agent.ask(process.pid, "hello", 1.0)


PIPED = "import signal, sys; signal.signal(signal.SIGPIPE, signal.SIG_DFL); print(flush=True); sys.stdin.read()"


def test_who_hangs_up_is_no_broken_pipe_of_the_programs() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PIPED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=armed()
    )
    assert process.stdout is not None and process.stdout.readline()
    (name,) = agent.addresses(process.pid)
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(name)
        link.sendall(b"census 1.0\n")
    assert agent.ask(process.pid, "hello", 10.0)["mode"] == "census"
    process.communicate()
    assert process.returncode == 0


LEAK = """
import sys, time
class Cart:
    rows = []
def add_row():
    Cart.rows.append(bytearray(100_000))
print(flush=True)
for _ in range(int(sys.argv[1])):
    add_row()
    time.sleep(0.01)
"""


def test_profile_heap_of_a_command_and_of_a_process(tmp_path: Path) -> None:
    line = ["profile", "--heap", "--heap-agent", "tracemalloc", "--json", "--profiles-dir", str(tmp_path)]
    done = subprocess.run([*GUARD, *line, "--", sys.executable, "-c", LEAK, "300"], capture_output=True, check=True)
    told = json.loads(done.stderr.splitlines()[-1])
    assert list(told["profiles"]) == ["heap-profile"]
    result = told["profiles"]["heap-profile"]
    assert result["engine"] == "agent, tracemalloc" and result["grew"]["holder"] == "class __main__.Cart.rows"
    assert (result["top"][0]["file"], result["top"][0]["line"]) == ("<string>", 6)
    process = subprocess.Popen([sys.executable, "-c", LEAK, "3000"], env=armed(), stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.readline()
        line = ["profile", "--heap", "--duration", "2s", "--json", "--profiles-dir", str(tmp_path)]
        done = subprocess.run([*GUARD, *line, "--pid", str(process.pid)], capture_output=True, check=True)
        result = json.loads(done.stdout)["profiles"]["heap-profile"]
        assert result["engine"] == "agent, census" and result["grew"]["type"] == "bytearray"
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


def test_a_whole_life_by_memray(tmp_path: Path) -> None:
    pytest.importorskip("memray")
    line = ["profile", "--heap", "--json", "--profiles-dir", str(tmp_path)]
    place = tmp_path / "temporary"
    place.mkdir()
    command = [*GUARD, *line, "--", sys.executable, "-c", LEAK, "120"]
    done = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "TMPDIR": str(place)})
    told = json.loads(done.stderr.splitlines()[-1])
    result = told["profiles"]["heap-profile"]
    assert result["engine"] == "agent, memray"
    assert (result["top"][0]["function"], result["top"][0]["line"]) == ("add_row", 6)
    (kept,) = (path for path in told["files"] if path.endswith(".memray"))
    assert os.stat(kept).st_size > 1000 and os.stat(kept).st_mode & 0o777 == 0o600
    assert not list(place.iterdir())


TWICE = """
import sys
kept = []
def before():
    kept.append(bytearray(3_000_000))
def after():
    kept.append(bytearray(2_000_000))
before()
print(flush=True)
for line in sys.stdin:
    after()
    print(flush=True)
"""


def test_after_a_memray_recording_another_one_begins(tmp_path: Path) -> None:
    pytest.importorskip("memray")
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", TWICE], stdin=pipe, stdout=pipe, env=armed("memray")) as process:
        assert process.stdin is not None and process.stdout is not None and process.stdout.readline()
        tops = []
        for _ in range(2):
            line = ["profile", "--heap", "--duration", "300ms", "--json", "--profiles-dir", str(tmp_path)]
            done = subprocess.run([*GUARD, *line, "--pid", str(process.pid)], capture_output=True, check=True)
            told = json.loads(done.stdout)
            tops.append(told["profiles"]["heap-profile"]["top"][0]["function"])
            process.stdin.write(b"more\n")
            process.stdin.flush()
            assert process.stdout.readline()
        assert tops == ["before", "after"]
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0
    (page,) = [each for each in told["files"] if each.endswith(".md")]
    assert "what was allocated before isn't in it" in Path(page).read_text()


WAITING = """
import sys
print("ready", flush=True)
sys.stdin.read(1)
kept = [bytearray(100_000) for _ in range(200)]
print("lives", flush=True)
"""


@pytest.fixture
def waiting() -> Iterator[subprocess.Popen[bytes]]:
    """A Python without an agent that allocates nothing until it is told."""
    process = subprocess.Popen([sys.executable, "-c", WAITING], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    yield process
    process.kill()
    process.communicate()


needs_gdb = pytest.mark.skipif(not shutil.which("gdb"), reason="gdb is absent")


@needs_gdb
def test_memray_is_attached_to_a_running_python(tmp_path: Path) -> None:
    pytest.importorskip("memray")
    process = subprocess.Popen([sys.executable, "-c", LEAK, "6000"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.readline()
        if memray.refusal(memray.look(process.pid)) is not None:
            pytest.skip("memray can't be attached here")
        line = ["profile", "--heap", "--duration", "2s", "--json", "--profiles-dir", str(tmp_path)]
        done = subprocess.run([*GUARD, *line, "--pid", str(process.pid)], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)["profiles"]["heap-profile"]
        assert result["engine"] == "memray attach" and result["top"][0]["function"] == "add_row"
        assert process.poll() is None and not recorder.tracer(process.pid)
        assert [path for path in tmp_path.rglob(".*") if path.suffix == ".memray"] == []
    finally:
        process.kill()
        process.communicate()


@needs_gdb
def test_a_process_that_can_not_be_entered_is_let_go_and_lives(
    waiting: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A debugger that is killed leaves breakpoints, of which the process dies at its next allocation."""
    pytest.importorskip("memray")
    monkeypatch.setattr(memray, "_START_S", 5.0)
    with pytest.raises(Failure) as caught:
        memray.attach(waiting.pid, str(tmp_path / "none.memray"), 1.0)
    assert caught.value.reason == "attach-hung"
    assert not recorder.tracer(waiting.pid)
    assert waiting.communicate(b"x", timeout=PATIENCE_S)[0] == b"lives\n"
    assert waiting.returncode == 0
