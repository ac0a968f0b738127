"""Real Pythons 3.14 and 3.15: CPU profile, stacks, and who took the memory.

With GUARD_TEST_FREE_THREADED=/path/to/python3.13t also a build without a GIL, which Debian has no package of.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from supervisor.actions import stacks, ways
from supervisor.analysis import folded
from supervisor.profilers import interpreter, pace, recorder, unwinder
from supervisor.profilers.failure import Failure
from tests import newer_python
from tests.integration.conftest import guard
from tests.integration.test_growth import DIRECTORY, QUIET, first_own, is_of
from tests.integration.test_profile import Profiling

pytestmark = pytest.mark.integration

FREE_THREADED = "GUARD_TEST_FREE_THREADED"
BUSY = """
import json, sys, threading, time
def add_numbers():
    return sum(number * number for number in range(3000))
class Work:
    def go_on(self):
        while True:
            add_numbers()
def wait_for_nothing():
    threading.Event().wait()
threading.Thread(target=wait_for_nothing, name="waits", daemon=True).start()
threading.Thread(target=lambda: (sys.stdin.read(), __import__("os")._exit(0)), daemon=True).start()
print("busy", flush=True)
Work().go_on()
"""


@contextmanager
def busy(program: str, tmp_path: Path, **popen: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A Python that calculates until its stdin ends."""
    script = tmp_path / "busy.py"
    script.write_text(BUSY)
    with subprocess.Popen([program, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **popen) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"busy\n"
            yield process
        finally:
            process.kill()


def profile(pid: int, tmp_path: Path, *options: str, env: dict[str, str] | None = None) -> tuple[dict[str, Any], Path]:
    """`guard profile --pid`: its meta and its folded stacks."""
    env = {**os.environ, "GUARD_PROFILES_DIR": str(tmp_path / "profiles"), "GUARD_ENV": "development", **(env or {})}
    done = guard("profile", "--cpu", "--pid", str(pid), *options, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (meta,) = tmp_path.glob("profiles/*/*/*-cpu-profile.meta.json")
    return json.loads(meta.read_text()), meta.with_name(meta.name.replace(".meta.json", ".folded"))


@pytest.mark.parametrize("version", newer_python.VERSIONS)
def test_the_leaking_function_is_named(start: Callable[..., Any], version: str) -> None:
    """guard's main promise."""
    program = newer_python.program(version)
    run = start(QUIET, [program, str(DIRECTORY / "dict_cache.py"), "80"])
    assert run.end() == 0
    (growth,) = run.evidence("*-warning-growth.folded")
    leak = first_own(growth)
    assert leak.file is not None and leak.file.endswith("dict_cache.py")
    assert is_of(leak.function, "render_page")
    assert run.record["suspect"]["function"] == leak.function
    assert run.wait_for("action.finished", action="growth")["enough"]


@pytest.mark.parametrize("version", newer_python.VERSIONS)
def test_a_cpu_profile(tmp_path: Path, version: str) -> None:
    """Of 3.15 by its own profiler, which doesn't stop it; whole paths, exact counts, whatever the locale is."""
    program = newer_python.program(version)
    with busy(program, tmp_path) as process:
        meta, path = profile(
            process.pid, tmp_path, "--duration", "2s", "--overhead-budget", "50%", env={"LC_ALL": "xx_XX.UTF-8"}
        )
    assert meta["engine"] == ("py-spy record" if version == "3.14" else "profiling.sampling")
    assert meta["samples"] > 0 and meta["profiled_pid"] == process.pid
    counts = folded.parse(path.read_text().splitlines())
    expected = [(name, str(tmp_path / "busy.py")) for name in ("<module>", "Work.go_on", "add_numbers")]
    assert expected in [[folded.split_frame(frame)[:2] for frame in stack.split(";")[:3]] for stack in counts]
    if version == "3.15":
        assert not any("wait_for_nothing" in stack for stack in counts)
        assert meta["nonblocking"] and meta["stopped_share"] == 0 and not meta["rate_reason"].startswith("not by")
        assert meta["achieved_rate_hz"] is not None  # the profiler itself told how many samples there were


@pytest.mark.parametrize(
    ("option", "engine"),
    [("gil", "profiling.sampling"), ("idle", "profiling.sampling"), ("threads", "profiling.sampling"),
     ("native", "py-spy record"), ("subprocesses", "py-spy record")],
)  # fmt: skip
def test_options_of_315(tmp_path: Path, option: str, engine: str) -> None:
    program = newer_python.program("3.15")
    with busy(program, tmp_path) as process:
        options = recorder.Options(**{option: True})
        chosen = ways.samplers(recorder.Subject(process.pid, options), print).next()
        assert chosen.name == engine
        plan = pace.Plan(chosen.ways(False)[0], 50, 3, "")
        meter = recorder.Meter(plan, pace.Pace(50, None, 2.0, (plan.way,)))
        piece = chosen.record(process.pid, plan, 0.6, meter)
    stacks = ";".join(piece.counts)
    assert "add_numbers" in stacks
    if (
        engine == "profiling.sampling"
    ):  # py-spy, which doesn't stop it, may take a thread for busy that is about to wait
        assert ("wait_for_nothing" in stacks) == (option == "idle")
    assert (f"thread ({process.pid})" in stacks) == (option == "threads")


def test_a_target_that_ends_midway(tmp_path: Path) -> None:
    program = newer_python.program("3.15")
    with busy(program, tmp_path) as process:
        chosen = ways.samplers(recorder.Subject(process.pid), print).next()
        plan = pace.Plan(chosen.ways(False)[0], 50, 3, "")

        class Ender(recorder.Meter):
            def __call__(self, pid: int) -> bool:
                if self.begun is not None and self.begun() and process.poll() is None and self.seconds > 0.3:
                    process.kill()
                return super().__call__(pid)

        piece = chosen.record(process.pid, plan, 30, Ender(plan, pace.Pace(50, None, 2.0, (plan.way,))))
    assert piece.counts and piece.seconds < 20


def test_where_its_own_profiler_fails_py_spy_is_taken(tmp_path: Path) -> None:
    """An interpreter without the rest of its standard library: the profiler isn't there."""
    source = Path(newer_python.program("3.15"))
    home = tmp_path / "usr"
    (home / "bin").mkdir(parents=True)
    (home / "lib").mkdir()
    program = home / "bin" / "python3.15"
    shutil.copy(source, program)
    library = source.parents[1] / "lib" / "python3.15"
    (home / "lib" / "python3.15").mkdir()
    for entry in library.iterdir():
        if entry.name != "profiling":
            (home / "lib" / "python3.15" / entry.name).symlink_to(entry)
    with busy(str(program), tmp_path) as process:
        meta, path = profile(process.pid, tmp_path, "--duration", "1s")
        assert meta["engine"] == "py-spy record"
        assert "profiling.sampling gave nothing (profiler-failed: ModuleNotFoundError" in meta["rate_reason"]
        assert "add_numbers" in path.read_text()
        os.unlink(program)
        told: list[str] = []
        assert ways.samplers(recorder.Subject(process.pid), told.append).next().name == "py-spy record"
        assert told == [
            "not by profiling.sampling: the target's interpreter was replaced or deleted since it started "
            "(profiling.sampling-missing)"
        ]


@pytest.mark.parametrize("version", newer_python.VERSIONS)
def test_stacks(start: Callable[..., Any], version: str) -> None:
    program = newer_python.program(version)
    critical = [
        "--env",
        "development",
        "--warning",
        "1M",
        "--critical",
        "2M",
        "--profiling",
        "5G",
        "--interval",
        "100ms",
    ]
    run = start(critical, [program, "-c", BUSY], stdin=subprocess.PIPE)
    run.wait_for("action.finished", action="stacks")
    run.process.stdin.close()
    assert run.end() == 0
    (path,) = run.evidence("*-stacks.stacks.json")
    document = json.loads(path.read_text())
    assert document["engine"] == "py-spy"
    names = {thread["thread_name"]: [frame["name"] for frame in thread["frames"]] for thread in document["threads"]}
    # What runs is read without stopping it, so the outermost frames may be missing; what waits is whole.
    assert any(name == "Work.go_on" or "add_numbers" in name for name in names["MainThread"]), names
    assert "wait_for_nothing" in names["waits"]


@pytest.mark.skipif(FREE_THREADED not in os.environ, reason=f"{FREE_THREADED} names no interpreter")
def test_free_threaded(start: Callable[..., Any], tmp_path: Path) -> None:
    """It can't be read, which is told apart from not being allowed to; where its memory lies is told all the same."""
    program = os.environ[FREE_THREADED]
    with busy(program, tmp_path) as process:
        found = interpreter.look(process.pid)
        assert found is not None and found.free_threaded
        done = guard("profile", "--cpu", "--pid", str(process.pid), "--duration", "2s", cwd=tmp_path)
    said = done.stderr.decode()
    assert done.returncode != 0
    assert "python-free-threaded" in said and "ptrace-refused" not in said
    run = start(QUIET, [program, str(DIRECTORY / "dict_cache.py"), "80"])
    assert run.end() == 0
    assert run.wait_for("action.finished", action="growth")["enough"]
    assert "mapping" in run.record["suspect"]
    assert run.record["peak_bytes"] > 80_000_000


def test_sigint_keeps_what_there_is(tmp_path: Path) -> None:
    program = newer_python.program("3.15")
    with busy(program, tmp_path) as process:
        running = Profiling(tmp_path, ["--cpu", "--pid", str(process.pid), "--duration", "60s"])
        path = running.wait_for_slice(1)
        running.process.send_signal(signal.SIGINT)
        code, _, _ = running.end(close=False)
        assert code in (0, 130)
        assert process.poll() is None
    meta = json.loads(path.with_name(path.name.replace(".folded", ".meta.json")).read_text())
    assert meta["engine"] == "profiling.sampling" and meta["samples"] > 0


WHERE = """
import ctypes, sys
address = ctypes.addressof(ctypes.c_uint32.in_dll(ctypes.pythonapi, "Py_Version"))
for line in open("/proc/self/maps"):
    span, _, offset, *_ = line.split()
    first, last = (int(part, 16) for part in span.split("-"))
    if first <= address < last:
        print(address - first + int(offset, 16))
"""


@pytest.fixture(params=newer_python.VERSIONS)
def unknown(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A Python that says to be 3.99, which no py-spy knows."""
    source = Path(newer_python.program(request.param))
    where = int(subprocess.run([source, "-c", WHERE], capture_output=True, check=True).stdout)
    program = tmp_path / "usr" / "bin" / "python3.99"
    program.parent.mkdir(parents=True)
    (tmp_path / "usr" / "lib").symlink_to(source.parents[1] / "lib")
    binary = bytearray(source.read_bytes())
    assert binary[where + 3] == 3 and binary[where + 2] == int(request.param[2:])
    binary[where + 2] = 99
    program.write_bytes(binary)
    program.chmod(0o755)
    return str(program)


def test_what_py_spy_cannot_read_its_own_interpreter_can(
    unknown: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """3.14's reader ends a stack where C called Python; 3.15's doesn't."""
    cut = request.node.callspec.params["unknown"] == "3.14"
    with busy(unknown, tmp_path) as process:
        with pytest.raises(Failure) as refused:
            stacks._by_py_spy(process.pid, nonblocking=True)
        assert refused.value.reason == "python-unsupported" and "3.99" in refused.value.said
        try:
            for _ in range(50):  # a stack that changes while it is read can lack its end
                threads = stacks.dump(process.pid, nonblocking=False)
                frames = {thread["os_thread_id"]: [frame["name"] for frame in thread["frames"]] for thread in threads}
                if cut or frames[process.pid][-2:] == ["Work.go_on", "<module>"]:
                    break
            assert stacks.reader(process.pid) == "remote-debugging"
        finally:
            reader = unwinder.of(process.pid)
            assert reader is not None
            reader.close()
    assert len(frames) == 3
    assert cut or frames[process.pid][-2:] == ["Work.go_on", "<module>"]
    assert frames[process.pid][0] in ("add_numbers", "add_numbers.<locals>.<genexpr>", "Work.go_on")
    assert sum("wait_for_nothing" in names for names in frames.values()) == 1


@pytest.mark.parametrize("unknown", ["3.14"], indirect=True)
def test_growth_of_what_py_spy_cannot_read(start: Callable[..., Any], unknown: str) -> None:
    run = start(QUIET, [unknown, str(DIRECTORY / "listener_list.py"), "80"])
    assert run.end() == 0
    (growth,) = run.evidence("*-warning-growth.folded")
    assert is_of(first_own(growth).function, "subscribe")
    assert run.wait_for("action.finished", action="growth")["enough"]
    assert is_of(run.record["suspect"]["function"], "subscribe")
    meta = json.loads(growth.with_name(growth.name.replace(".folded", ".meta.json")).read_text())
    assert meta["engine"].startswith("remote-debugging, ")
