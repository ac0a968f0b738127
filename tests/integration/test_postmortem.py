"""`guard postmortem` on runs that really ended that way."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.stepping import SMALL, begin, grow_until_attributed, order, tell

pytestmark = pytest.mark.integration
MEMORY = Path("/sys/fs/cgroup/memory")
LEAK = "import time\nkept = []\nwhile True:\n    kept.append(b'm' * 1_000_000)\n    time.sleep(0.02)\n"


def examine(run_guard: Callable[..., Any], run: Any, *more: str) -> dict[str, Any]:
    done = run_guard("postmortem", "--json", "--profiles-dir", str(run.profiles), *more)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def screen(run_guard: Callable[..., Any], run: Any, *more: str) -> str:
    done = run_guard("postmortem", "--profiles-dir", str(run.profiles), *more)
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    return str(done.stdout.decode())


def ended(document: dict[str, Any]) -> tuple[str, str]:
    return document["ended"]["cause"], document["ended"]["certainty"]


@pytest.fixture
def group() -> Iterator[Path]:
    """A memory cgroup of 60 MB of this test's own (v1); skips where none can be made."""
    place = MEMORY / f"guard-postmortem-{os.getpid()}-{time.monotonic_ns()}"
    try:
        place.mkdir()
        (place / "memory.limit_in_bytes").write_text("60000000")
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    yield place
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for pid in (place / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        try:
            place.rmdir()
            return
        except OSError:
            time.sleep(0.05)


def inside(place: Path) -> Callable[[], None]:
    """Moves the process that calls it into a group: for the moment between fork and exec."""
    path = bytes(place / "cgroup.procs")

    def move() -> None:
        fd = os.open(path, os.O_WRONLY)
        os.write(fd, b"0")
        os.close(fd)

    return move


# -- ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "cause", "words"),
    [
        ("raise SystemExit(3)", "exit", "exited with code 3"),
        ("import os; os.kill(os.getpid(), 11)", "signal", "ended by SIGSEGV, a fault of its own"),
        ("import os; os.kill(os.getpid(), 9)", "signal", "killed by SIGKILL, which guard didn't send"),
    ],
)
def test_it_ended_by_itself(start: Any, run_guard: Any, code: str, cause: str, words: str) -> None:
    run = start([], [sys.executable, "-c", code])
    run.end()
    found = examine(run_guard, run)
    assert ended(found) == (cause, "certain") and words in found["ended"]["words"]
    assert found["schema_version"] == 1 and found["next"]["type"]
    assert words in screen(run_guard, run).replace("\n         ", " ")


def test_it_was_told_to_end(start: Any, run_guard: Any) -> None:
    run = start([], ["sleep", "60"])
    run.wait_for("run.started")
    run.process.send_signal(signal.SIGTERM)
    run.end()
    found = examine(run_guard, run)
    assert found["ended"]["certainty"] == "certain" and "SIGTERM" in found["ended"]["words"]


def test_oom_kill_in_a_cgroup(start: Any, run_guard: Any, group: Path) -> None:
    run = start(["--interval", "100ms"], [sys.executable, "-c", LEAK], preexec_fn=inside(group))
    assert run.end() == 137
    found = examine(run_guard, run)
    assert ended(found) == ("oom-kill", "certain"), found["ended"]
    assert found["ended"]["cgroup"].endswith(group.name) and found["ended"]["victim_pid"]
    assert any("1 OOM kill" in reason for reason in found["ended"]["why"])
    growth = found["memory"]["growth"]
    assert 5e6 < growth["rate_bytes_per_s"] < 60e6
    assert found["holders"]["processes"][0]["pid"] == run.record["pid"]
    assert found["holders"]["processes"][0]["share"] > 0.9
    assert found["limit"]["oom_killed"] == 1 and found["limit"]["limits_bytes"] > 60_000_000
    if growth["to_the_end"]:  # the last samples may be of a process that stood still to be read
        assert "no limit is right" in found["limit"]["caution"]
    shown = screen(run_guard, run)
    assert "certain: OOM-killed" in shown and "resources:" in shown and len(shown.splitlines()) < 45


def test_a_shells_child_is_oom_killed(start: Any, run_guard: Any, group: Path) -> None:
    run = start(["--interval", "100ms"], ["sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, LEAK],
                preexec_fn=inside(group))  # fmt: skip
    assert run.end() == 137
    cause, certainty = ended(examine(run_guard, run))
    assert cause == "oom-kill" and certainty in ("certain", "likely")


def test_guard_itself_is_oom_killed(start: Any, run_guard: Any, group: Path) -> None:
    """The kernel picks guard, since its target asks to be spared: nobody writes an end record."""
    code = "open('/proc/self/oom_score_adj', 'w').write('0')\nimport sys\nsys.stdin.readline()\n" + LEAK

    def first() -> None:
        inside(group)()
        Path("/proc/self/oom_score_adj").write_text("1000")

    run = start(["--interval", "100ms"], [sys.executable, "-c", code], preexec_fn=first, stdin=subprocess.PIPE)
    run.wait_for("run.started")
    order(run, "now")
    assert run.process.wait(60) == -signal.SIGKILL
    found = examine(run_guard, run)
    assert found["ended"]["cause"] == "oom-kill" and found["ended"]["certainty"] in ("certain", "likely")
    assert found["ended"]["outcome"] == "guard-killed" and found["memory"]["growth"]["rate_bytes_per_s"] > 1e6


def test_guard_is_killed_while_it_attributes_growth(start: Any, run_guard: Any) -> None:
    run = begin(start, [*SMALL, "--critical", "3G"])
    pid = run.record["pid"]
    tell(run, "grow 60")
    run.wait_for("action.started", action="growth")
    grow_until_attributed(run)
    assert ended(examine(run_guard, run)) == ("running", "certain")
    run.process.kill()
    run.process.wait(30)
    try:
        found = examine(run_guard, run)
        assert ended(found) == ("guard-killed", "certain") and f"process {pid}) lives on" in found["ended"]["words"]
        assert found["next"]["type"] == f"guard watch {pid}"
        assert found["holders"]["growth"]["functions"][0]["function"] == "take_memory"
        assert found["holders"]["suspect"]["pid"] == pid
        assert found["memory"]["highest_state"] == "warning" and found["memory"]["time_in_state_s"]["warning"] > 0
    finally:
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while examine(run_guard, run)["next"]["type"].startswith("guard watch") and time.monotonic() < deadline:
        time.sleep(0.1)  # whoever adopted it reaps it
    growth = examine(run_guard, run)["next"]["type"]
    assert growth.startswith("less ") and "growth" in growth
    assert "take_memory" in screen(run_guard, run)


# -- what is left of it -----------------------------------------------------------------------------------------------


@pytest.fixture
def grown(start: Any) -> Any:
    """A finished run with evidence of growth and an action that failed."""
    run = begin(start, [*SMALL, "--critical", "3G"])
    tell(run, "grow 60")
    run.wait_for("action.started", action="growth")
    grow_until_attributed(run)
    order(run, "exit 7")
    assert run.end() == 7
    return run


def test_a_folder_of_another_machine(grown: Any, run_guard: Any, tmp_path: Path) -> None:
    other = tmp_path / "copied" / "here"
    shutil.copytree(grown.profiles, other)
    shutil.rmtree(grown.profiles)
    (path,) = other.glob("monitored/*/run.json")
    record = json.loads(path.read_text())
    started = {
        key: record[key] for key in ("run", "command", "pid", "guard_pid", "started", "limit_bytes", "thresholds")
    }
    path.write_text(json.dumps(started | {"host": "elsewhere", "boot_id": "another", "outcome": None}))
    (path.parent / "events.jsonl").write_bytes(
        b"".join(
            line
            for line in (path.parent / "events.jsonl").read_bytes().splitlines(keepends=True)
            if b'"run.exited"' not in line
        )
    )
    for given in (str(other), str(path.parent), str(path)):
        done = run_guard("postmortem", given, "--json", cwd="/")
        found = json.loads(done.stdout)
        assert ended(found) == ("guard-killed", "likely")
        assert any("elsewhere" in reason for reason in found["ended"]["why"])
        assert found["holders"]["growth"]["functions"][0]["function"] == "take_memory"
        assert found["holders"]["growth"]["path"].startswith(str(other))
    alone = tmp_path / "alone"
    shutil.copytree(path.parent, alone)
    found = json.loads(run_guard("postmortem", str(alone), "--json").stdout)
    # The events still name the function; the profile itself was not copied.
    assert found["holders"]["growth"] is None and found["holders"]["suspect"]["function"] == "take_memory"
    assert any("by itself" in problem for problem in found["problems"])


def test_cut_short_anywhere_it_says_what_it_can(grown: Any, run_guard: Any) -> None:
    (folder,) = grown.profiles.glob("monitored/*")
    for name in ("flight.jsonl", "events.jsonl"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) - 20])
    found = examine(run_guard, grown)
    assert ended(found) == ("exit", "certain") and found["holders"]["suspect"]["function"] == "take_memory"
    assert found["problems"] == ["flight.jsonl: its last line is cut short", "events.jsonl: its last line is cut short"]
    (folder / "run.json").write_bytes((folder / "run.json").read_bytes()[:100])
    found = examine(run_guard, grown)
    assert found["memory"]["growth"] and found["holders"]["suspect"]["function"] == "take_memory"
    for name in ("run.json", "flight.jsonl", "events.jsonl"):
        (folder / name).unlink()
    assert ended(examine(run_guard, grown)) == ("unknown", "unknown")


def test_hostile_names(start: Any, run_guard: Any, tmp_path: Path) -> None:
    """A target that calls itself what would colour, clear or turn a terminal around."""
    name = "a\x1b[31m\x1b]0;owned\x07\n\u202egnp.exe<script>|`"
    program = tmp_path / name
    program.symlink_to(sys.executable)
    code = "kept = bytearray(60_000_000)\nimport time\ntime.sleep(1)\n"
    run = start(SMALL, [str(program), "-c", code, "x" * 10_000, "\udcff"], env={"PYTHONHOME": sys.base_prefix})
    run.end()
    for arguments in (("postmortem",), ("postmortem", "--json"), ("runs",), ("runs", "--limits"), ("top", "latest")):
        done = run_guard(*arguments, "--profiles-dir", str(run.profiles))
        assert done.returncode == 0, done.stderr
        assert not set(done.stdout) & {0x1B, 0x07, 0x0D}, arguments
        assert "\u202e" not in done.stdout.decode()
        assert "--json" in arguments or max(len(line) for line in done.stdout.decode().splitlines()) < 500


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("20991231",), "no run in"),
        (("/nowhere/at/all",), "is no directory"),
        (("",), "empty"),
        (("--profiles-dir", "/nowhere"), "there is no run in /nowhere"),
        (("--nonsense",), "No such option"),
    ],
)
def test_bad_input_is_explained(run_guard: Any, given: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = run_guard("postmortem", *given, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr.decode() and done.stdout == b""


def test_help_has_an_example(run_guard: Any) -> None:
    for name in ("postmortem", "runs", "prune", "top"):
        done = run_guard(name, "--help")
        assert done.returncode == 0 and f"Example: guard {name}" in done.stdout.decode()


def test_a_closed_pipe_is_no_traceback(grown: Any, run_guard: Any) -> None:
    from tests.integration.conftest import GUARD

    line = [*GUARD, "postmortem", "--json", "--profiles-dir", str(grown.profiles)]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait(30)
