"""`guard watch`: the same watching for processes that were there before."""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
STEPPER = Path(__file__).parent / "stepper.py"
OPTIONS = ["--env", "development", "--warning", "40", "--critical", "80", "--profiling", "4G", "--interval", "200ms"]


class Target:
    """A process of the test's own that does as it is told."""

    def __init__(self, **popen: Any) -> None:
        command = [sys.executable, str(STEPPER)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **popen)
        self.pid = self.process.pid
        assert self.process.stdout.readline() == b"ready\n"

    def tell(self, line: str) -> None:
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()
        assert self.process.stdout.readline().decode().strip() == line.split()[0]

    def end(self) -> int:
        self.process.stdin.close()
        return self.process.wait(20)


@pytest.fixture
def target() -> Iterator[Callable[..., Target]]:
    targets: list[Target] = []

    def begin(**popen: Any) -> Target:
        targets.append(Target(**popen))
        return targets[-1]

    yield begin
    for each in targets:
        each.process.kill()
        each.process.wait()
        each.process.stdin.close()
        each.process.stdout.close()


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_a_pid_is_watched_to_its_end(start: Callable[..., Any], target: Callable[..., Target]) -> None:
    there = target()
    run = start([*OPTIONS, str(there.pid)], [], subcommand="watch")
    assert run.wait_for("run.started")["command"] == [sys.executable, str(STEPPER)]
    there.tell("grow 60")
    assert run.wait_for("state.changed", to="warning")["guilty_pid"] == there.pid
    while not run.evidence("*-warning-growth.folded"):
        there.tell("grow 1")
    there.tell("grow 60")
    run.wait_for("action.finished", action="stacks")
    run.wait_for("action.finished", action="snapshot", state="critical")
    assert there.end() == 0
    assert run.end() == 0
    assert run.record["outcome"] == "exited" and run.record["highest_state"] == "critical"
    (profile,) = run.evidence("*-warning-growth.folded")
    assert "take_memory" in profile.read_text()
    (stacks,) = run.evidence("*-critical-stacks.stacks.json")
    assert json.loads(stacks.read_text())["pid"] == there.pid


def test_its_exit_code_is_not_guards(start: Callable[..., Any], target: Callable[..., Target]) -> None:
    """guard is not its parent and can't know it: 0 whatever the process ended with."""
    there = target()
    run = start([*OPTIONS, str(there.pid)], [], subcommand="watch")
    run.wait_for("run.started")
    there.process.stdin.write(b"exit 7\n")
    there.process.stdin.flush()
    assert there.process.wait(20) == 7
    assert run.end() == 0


def test_a_child_of_the_pid_is_in_the_tree(start: Callable[..., Any]) -> None:
    code = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, {str(STEPPER)!r}]))"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"ready\n"
        (child,) = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        run = start([*OPTIONS, str(parent.pid)], [], subcommand="watch")
        run.wait_for("run.started")
        parent.stdin.write(b"grow 60\n")
        parent.stdin.flush()
        assert run.wait_for("state.changed", to="warning")["guilty_pid"] == int(child)
        parent.stdin.close()
        assert run.end() == 0


def test_several_pids_and_the_last_one_ends_it(start: Callable[..., Any], target: Callable[..., Target]) -> None:
    first, second = target(), target()
    run = start([*OPTIONS, str(first.pid), str(second.pid)], [], subcommand="watch")
    run.wait_for("run.started")
    assert first.end() == 0
    second.tell("grow 60")
    assert run.wait_for("state.changed", to="warning")["guilty_pid"] == second.pid
    assert run.process.poll() is None
    assert second.end() == 0
    assert run.end() == 0


PIPED = """
import runpy, sys
print("ready", flush=True)
kept = [bytearray(b"m" * 1_000_000) for _ in range(60)]
sys.stdin.readline()  # guard writes nothing: this ends when guard does
print("end of input", flush=True)
"""


def test_the_other_end_of_a_pipe(tmp_path: Path) -> None:
    """`guard watch | app`: the app is found, its stdin stays open and empty, and it outlives guard's end."""
    app, profiles, errors = tmp_path / "app.py", tmp_path / "profiles", tmp_path / "errors"
    app.write_text(PIPED)
    guard = [sys.executable, "-IS", str(ROOT / "bin" / "guard"), "watch", *OPTIONS, "--profiles-dir", str(profiles)]
    line = f"{shlex.join(guard)} 2>{shlex.quote(str(errors))} | {shlex.join([sys.executable, str(app)])}"
    with subprocess.Popen(["sh", "-c", line], stdout=subprocess.PIPE, start_new_session=True) as shell:
        assert shell.stdout.readline() == b"ready\n"
        started = events_until(errors, shell, "run.started")
        changed = events_until(errors, shell, "state.changed")
        assert changed["to"] == "warning" and changed["guilty_name"] == os.path.basename(sys.executable)
        os.kill(started["guard_pid"], signal.SIGTERM)
        assert shell.stdout.readline() == b"end of input\n"
        assert shell.wait(20) == 0
    assert not status_of_group(shell.pid)


def events_until(path: Path, process: subprocess.Popen[bytes], name: str) -> dict[str, Any]:
    """The first event of this name in a growing file."""
    while True:
        alive = process.poll() is None
        for line in path.read_text().splitlines() if path.exists() else ():
            if line.endswith("}") and (event := json.loads(line))["event"] == name:
                return dict(event)
        assert alive, path.read_text()


def status_of_group(group: int) -> list[int]:
    """Living processes of a process group."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getpgid(int(name)) == group:
                found.append(int(name))
        except OSError:
            continue
    return found


def test_a_pid_that_does_not_exist(run_guard: Callable[..., Any], tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    done = run_guard("watch", str(gone.pid), cwd=tmp_path)
    assert done.returncode == 2
    assert f"no process {gone.pid}".encode() in done.stderr
    assert not list(tmp_path.iterdir())


def test_nothing_to_watch(run_guard: Callable[..., Any], tmp_path: Path) -> None:
    with open(os.devnull, "wb") as null:
        done = subprocess.run(
            [sys.executable, "-IS", str(ROOT / "bin" / "guard"), "watch"],
            cwd=tmp_path, stdout=null, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=30,
        )  # fmt: skip
    assert done.returncode == 2
    assert b"guard watch PID" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_watching_only(
    start: Callable[..., Any], target: Callable[..., Target], number: signal.Signals
) -> None:
    """In the middle of growth attribution: what there is gets written, and the process runs on untraced."""
    there = target()
    run = start([*OPTIONS, str(there.pid)], [], subcommand="watch")
    run.wait_for("run.started")
    there.tell("grow 60")
    run.wait_for("action.started", action="growth")
    while not run.evidence("*-warning-growth.folded"):
        there.tell("grow 1")
    run.process.send_signal(number)
    assert run.end() == 0
    assert run.record["outcome"] == "stopped"
    assert run.record["pids"] == run.wait_for("run.started")["pids"] == [there.pid]
    named = [(event["event"], event["signal"]) for event in run.events if event["event"].startswith("signal.")]
    assert named == [("signal.kept", number.name)]
    assert run.evidence("*-warning-growth.md")
    assert status(there.pid)["TracerPid"] == "0"
    there.tell("grow 1")
    assert there.end() == 0


def test_guards_own_kill_leaves_the_process_running(start: Callable[..., Any], target: Callable[..., Target]) -> None:
    """SIGKILL of guard in the middle of growth attribution: its worker ends too, and nothing stays stopped."""
    there = target()
    run = start([*OPTIONS, str(there.pid)], [], subcommand="watch")
    run.wait_for("run.started")
    there.tell("grow 60")
    run.wait_for("action.started", action="growth")
    while not run.evidence("*-warning-growth.folded"):
        there.tell("grow 1")
    workers = Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children").read_text().split()
    assert workers
    run.process.kill()
    run.process.wait()
    for worker in map(int, workers):  # nobody here is its parent: a pidfd tells its end
        try:
            fd = os.pidfd_open(worker)
        except ProcessLookupError:
            continue
        try:
            assert select.select([fd], [], [], 20)[0], f"worker {worker} outlives guard"
        finally:
            os.close(fd)
    there.tell("grow 1")
    assert status(there.pid)["TracerPid"] == "0"
    assert status(there.pid)["State"][0] in "RS"
    assert there.end() == 0
