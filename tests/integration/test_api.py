"""supervisor.api in a program of its own: events, answers, exit codes, and nothing taken of that program."""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor import embedding
from supervisor.api import Event, GuardError, Refused, Run, UsageError, start
from tests.integration.conftest import ROOT

pytestmark = pytest.mark.integration

EXAMPLE = re.compile(r"^```python run\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A directory of its own, no settings from outside; afterwards descriptors, threads and handlers are as before."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tmp").mkdir()
    for name in list(os.environ):
        if name.startswith(("GUARD_", "MEMORY_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    before = (os.listdir("/proc/self/fd"), threading.active_count(), list(map(signal.getsignal, range(1, 32))))
    yield
    gc.collect()
    assert before == (os.listdir("/proc/self/fd"), threading.active_count(), list(map(signal.getsignal, range(1, 32))))
    assert os.listdir(tmp_path / "tmp") == []


def python(code: str, **options: Any) -> Run:
    return start([sys.executable, "-c", code], **options)


def until(run: Run, name: str) -> Event:
    return next(event for event in run.events() if event.name == name)


def test_its_path_is_known_at_once() -> None:
    with start(["sleep", "99"]) as run:
        assert run.path is not None and os.path.isfile(os.path.join(run.path, "run.json"))
    assert run.path is not None  # also when it is over


def test_events_in_order_and_the_code() -> None:
    with python("raise SystemExit(7)", stop_timeout=3) as run:
        events = list(run.events())
        assert run.wait() == run.returncode == 7
    names = [event.name for event in events]
    assert names.index("run.started") < names.index("run.exited") == len(names) - 1
    started = next(event for event in events if event.name == "run.started")
    assert started.fields["pid"] == run.pid and started.fields["evidence"] == run.path
    assert started.at_s is not None and run.lost == 0
    with pytest.raises(AttributeError):
        started.name = "other"  # type: ignore[misc]
    with pytest.raises(Refused, match="has ended"):
        run.state()


def test_it_is_asked_what_guard_ctl_asks() -> None:
    with python("while True: sum(range(10_000))", restart="always", env=os.environ | {"A": "b"}) as run:
        first, path = run.pid, run.path
        state = run.state()
        assert (state.state, state.pid, state.life) == ("ok", first, 1)
        assert state.headroom_bytes is not None and state.limit_bytes is not None
        found = run.profile(0.3, pid=first)
        assert found.action == "cpu-profile" and all(map(os.path.isfile, found.paths))
        assert run.stacks().paths[0].endswith(".stacks.json")
        assert run.snapshot().paths[0].endswith(".snapshot.json")
        with pytest.raises(Refused, match="none of the tree"):
            run.stacks(pid=os.getpid())
        run.restart()
        assert run.pid != first and run.path != path and run.state().life == 2
        assert Path(f"/proc/{run.pid}/environ").read_bytes().split(b"\0").count(b"A=b") == 1
    assert run.returncode == 143
    assert not os.path.exists(f"/proc/{run.pid}")


def test_a_block_that_raises_leaves_nothing_running() -> None:
    with pytest.raises(ZeroDivisionError), start(["sleep", "99"]) as run:
        raise ZeroDivisionError
    assert run.returncode == 143


def test_errors_are_guards() -> None:
    with pytest.raises(GuardError, match="no-such-program") as caught:
        start(["no-such-program"])
    assert caught.value.code == 127 and caught.value.hint
    for settings in ({"warnin": 5}, {"warning": "soup"}, {"log_file": "x"}, {"warning": "80%", "critical": "10%"}):
        with pytest.raises(UsageError) as usage:
            start(["sleep", "9"], **settings)
        assert usage.value.code == 2 and (usage.value.why or usage.value.hint)
    with pytest.raises(FileNotFoundError):
        start(["true"], cwd="no-such-directory")


def test_nothing_of_it_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with start(["sh", "-c", "echo out; echo err >&2; kill -KILL $$"]) as run:
        assert run.wait() == 137
    with pytest.raises(GuardError):
        start(["no-such-program"])
    assert capfd.readouterr() == ("out\n", "err\n")


def test_a_timeout() -> None:
    with start(["sleep", "99"]) as run:
        with pytest.raises(TimeoutError):
            run.wait(0.05)
        assert run.returncode is None
        run.send_signal(signal.SIGUSR1)
        assert run.wait(60) == 128 + signal.SIGUSR1


OTHERS = """
import os
from supervisor.api import start
other = os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", "exit 5")
with start(["sh", "-c", "sleep 0.1; exit 9"]) as run:
    assert os.waitpid(other, 0)[1] == 5 << 8
    assert os.wait() == (run.guard_pid, 9 << 8)
    assert run.wait() == 9
print("all of them")
"""


def test_the_programs_other_children_are_its_own() -> None:
    """Its child's status is there for who waits for it; and who reaps everything doesn't cost the exit code."""
    done = subprocess.run([sys.executable, "-c", OTHERS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "all of them\n", done.stderr


def test_ignored_children_keep_their_code() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with start(["sh", "-c", "exit 9"]) as run:
            assert run.wait() == 9
        with pytest.raises(GuardError, match="no-such-program"):
            start(["no-such-program"])
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_guard_that_is_killed_is_told_from_its_command() -> None:
    with start(["sleep", "99"]) as run:
        until(run, "run.started")
        os.kill(run.guard_pid, signal.SIGKILL)
        assert run.wait() == 137
        os.kill(run.pid, signal.SIGKILL)  # nobody's any more


def test_without_a_place_for_evidence_it_is_ended_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environment = os.environ | {"TMPDIR": str(tmp_path / "file")}
    with start(["sleep", "99"], profiles_dir=tmp_path / "file" / "x", env=environment) as run:
        with pytest.raises(Refused, match="can't be asked"):
            run.state()
        assert run.path is None
        assert run.stop() == 143


def test_settings_as_on_the_command_line() -> None:
    options = embedding.options(
        {"reload_dir": ["a", Path("b")], "subreaper": False, "keep_group": True, "reload": False, "quiet": False,
         "stop_timeout": 3, "warning": None}
    )  # fmt: skip
    assert options == ["--reload-dir=a", "--reload-dir=b", "--no-subreaper", "--keep-group", "--stop-timeout=3"]


def test_a_line_that_a_full_pipe_cut_off_costs_no_other() -> None:
    channel = embedding.Channel()
    line = b'{"timestamp": "2026-11-24T11:16:44Z", "level": "info", "event": "run.started"}\n'
    with open(channel.path, "wb", buffering=0) as pipe:
        pipe.write(line[:30] + line + b"nonsense\n" + line[:-5])
        assert [event.name for event in channel.take()] == ["run.started"]
        pipe.write(line[-5:])
        assert [event.level for event in channel.take()] == ["info"]
    channel.close()


def test_the_example_on_its_page_runs(tmp_path: Path) -> None:
    (code,) = EXAMPLE.findall((ROOT / "docs" / "embedding.md").read_text())
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-X", "dev", "-W", "error", "-c", code], cwd=tmp_path, env=environment,
                          capture_output=True, text=True, timeout=100)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "warning warning" in done.stdout and ".stacks.json" in done.stdout and done.stderr == ""
    assert f"exit code 3 evidence in {tmp_path}/profiles/monitored/" in done.stdout and "\n127 " in done.stdout


def test_it_is_typed(tmp_path: Path) -> None:
    """A program beside an installed guard is checked with its types: a namespace package has its py.typed inside."""
    venv.create(tmp_path / "venv", symlinks=True)
    (place,) = tmp_path.glob("venv/lib/python*/site-packages")
    shutil.copytree(ROOT / "supervisor", place / "supervisor", ignore=shutil.ignore_patterns("__pycache__"))
    program = tmp_path / "program.py"
    program.write_text("from supervisor.api import start\nwith start(['true']) as run:\n    reveal_type(run.wait())\n")
    line = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(program)]
    line += ["--python-executable", str(tmp_path / "venv" / "bin" / "python")]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and 'type is "int"' in done.stdout.replace("builtins.", ""), done.stdout
