"""`guard runs`, `guard prune` and `guard top` on real runs."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import GUARD
from tests.integration.stepping import SMALL, begin, tell

pytestmark = pytest.mark.integration
OUTSIDE = {key: value for key, value in os.environ.items() if not key.startswith(("GUARD_", "MEMORY_"))}


@pytest.fixture
def guard_in(tmp_path: Path, run_guard: Any) -> Any:
    """guard with one profiles directory: guard_in("runs", "--json")."""

    def call(*arguments: str, code: int = 0) -> str:
        environment = OUTSIDE | {"GUARD_PROFILES_DIR": str(tmp_path / "profiles")}
        done = run_guard(*arguments, env=environment, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        return str((done.stdout or done.stderr).decode())

    return call


def finished(guard_in: Any, *command: str, code: int = 0) -> None:
    guard_in("run", "--quiet", "--", *command, code=code)


# -- runs -------------------------------------------------------------------------------------------------------------


def test_the_list_and_its_filters(guard_in: Any, start: Any, tmp_path: Path) -> None:
    assert "there is no run" in guard_in("runs")
    finished(guard_in, "true")
    finished(guard_in, sys.executable, "-c", "raise SystemExit(3)", code=3)
    finished(guard_in, "sh", "-c", "kill -SEGV $$", code=139)
    live = begin(start, SMALL, env={"GUARD_PROFILES_DIR": str(tmp_path / "profiles")}, stdout=subprocess.PIPE)
    tell(live, "grow 60")
    live.wait_for("state.changed", to="warning")

    def outcomes(*arguments: str) -> list[str]:
        return [row["outcome"] for row in json.loads(guard_in("runs", "--json", *arguments))["runs"]]

    assert sorted(outcomes()) == ["exited", "exited", "running", "signalled"]
    assert outcomes("--outcome", "running") == ["running"] == outcomes("--state", "warning")
    assert sorted(outcomes("--outcome", "running,signalled")) == ["running", "signalled"]
    assert outcomes("--outcome", "exited", "--command", "TRUE") == ["exited"]
    assert len(outcomes("--since", "1h")) == 4 and outcomes("--since", "2099-01-01") == []
    assert len(outcomes("--last", "2")) == 2
    (row,) = json.loads(guard_in("runs", "--json", "--command", "stepper"))["runs"]
    assert row["peak_bytes"] > 60_000_000 and row["highest_state"] == "warning" and row["code"] is None
    table = guard_in("runs")
    assert "exited 3" in table and "signalled SIGSEGV" in table and "running" in table and len(table.splitlines()) == 5
    assert "none of 4 runs" in guard_in("runs", "--outcome", "oom-killed")
    live.process.kill()
    live.process.wait(30)
    os.kill(row_pid(live), signal.SIGKILL)
    assert "guard-killed" in outcomes()


def row_pid(run: Any) -> int:
    return int(run.named("run.started")[0]["pid"])


@pytest.mark.parametrize(
    "given",
    [("runs", "--outcome", "dead"), ("runs", "--state", "bad"), ("runs", "--since", "soon"), ("runs", "--since", "7"),
     ("prune", "--keep-age", "x"), ("prune", "--keep-runs", "0"), ("top", "--interval", "0"), ("top", "nothing")],
)  # fmt: skip
def test_bad_input_is_explained(guard_in: Any, given: tuple[str, ...]) -> None:
    said = guard_in(*given, code=2)
    assert said.startswith("guard: ") and "Traceback" not in said


def test_the_limit_of_runs_that_differ(guard_in: Any) -> None:
    code = "import sys, time; kept = b'm' * (20_000_000 + 10_000_000 * int(time.time() * 1000 % 3)); time.sleep(0.3)"
    for _ in range(4):
        finished(guard_in, sys.executable, "-c", code)
    finished(guard_in, "sh", "-c", "i=0; while [ $i -lt 500000 ]; do i=$((i+1)); done")
    (most, other) = json.loads(guard_in("runs", "--limits", "--json"))["limits"]
    assert most["runs"] == 4 and other["runs"] == 1
    assert 0.45 < most["highest_peak_covers"] < 0.48  # 0.05^(1/4)
    assert most["limits_bytes"] >= most["highest_peak_bytes"] * 1.1 and most["limits_bytes"] % (1 << 20) == 0
    shown = guard_in("runs", "--limits", "--command", "sleep")
    lines = [line[2:] for line in shown.splitlines() if line.startswith("  ")]
    block = "\n".join(lines[lines.index("resources:") :])
    assert block == most["resources_yaml"].strip()


# -- prune ------------------------------------------------------------------------------------------------------------


def test_prune_spares_who_lives_and_what_is_no_runs(guard_in: Any, start: Any, tmp_path: Path) -> None:
    for _ in range(4):
        finished(guard_in, "true")
    profiles = tmp_path / "profiles"
    live = begin(start, SMALL, env={"GUARD_PROFILES_DIR": str(profiles)})
    finished(guard_in, "true")
    (profiles / "baseline.md").write_text("mine")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    runs = sorted(os.listdir(profiles / "monitored"))
    (profiles / "monitored" / runs[0] / "link").symlink_to(outside)
    (profiles / "auto-cpu").symlink_to(outside)
    (profiles / "monitored" / "20200101T000000Z-linked-1-abcd").symlink_to(outside)
    dry = json.loads(guard_in("prune", "--keep-runs", "1", "--dry-run", "--json"))
    assert len(dry["removed"]) == 5 and dry["live"] == 1 and len(os.listdir(profiles / "monitored")) == 7
    done = json.loads(guard_in("prune", "--keep-runs", "1", "--json"))
    assert done["removed"] == dry["removed"] and done["not_removed"] == []
    left = os.listdir(profiles / "monitored")
    assert live.named("run.started")[0]["run"] in left and len(left) == 2
    assert (outside / "precious").exists() and (profiles / "baseline.md").read_text() == "mine"
    tell(live, "grow 60")
    live.wait_for("action.finished", action="snapshot")
    live.process.stdin.close()
    assert live.end() == 0
    finished(guard_in, "true")
    assert "removed 1 run" in guard_in("prune", "--keep-runs", "1")
    assert sorted(os.listdir(profiles / "monitored"))[0].startswith("20200101")  # a link is nobody's run
    assert "link" in guard_in("prune", "--profiles-dir", str(profiles / "auto-cpu"), code=2)


def test_prunes_at_once_and_guards_that_start_meanwhile(guard_in: Any, tmp_path: Path) -> None:
    profiles = tmp_path / "profiles"
    for day in range(1, 29):
        for category in ("monitored", "auto-memory"):
            folder = profiles / category / f"202601{day:02}T000000Z-app-1-abcd"
            folder.mkdir(parents=True)
            for number in range(40):
                (folder / f"{number:03}-warning-growth.md").write_text("x")
        (profiles / "monitored" / f"202601{day:02}T000000Z-app-1-abcd" / "run.json").write_text("{}")
    environment = OUTSIDE | {"GUARD_PROFILES_DIR": str(profiles)}

    def begun(*line: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*GUARD, *line], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    prunes = [begun("prune", "--keep-runs", "1") for _ in range(3)]
    guards = [begun("run", "--", "sleep", "0.5") for _ in range(3)]
    said = []
    for process in (*prunes, *guards):
        said.append(process.communicate(timeout=60)[0])
        assert process.returncode == 0, said
    for category in ("monitored", "auto-memory"):
        assert [name for name in os.listdir(profiles / category) if name < "202602"] == []
    records = [json.loads(path.read_text()) for path in profiles.glob("monitored/*/run.json")]
    assert records and all(record["outcome"] == "exited" for record in records), said


# -- top --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def live(start: Any, tmp_path: Path) -> Any:
    """A live run that reached warning, in the directory that guard_in uses."""
    run = begin(start, SMALL, env={"GUARD_PROFILES_DIR": str(tmp_path / "profiles")})
    tell(run, "grow 60")
    run.wait_for("action.finished", action="snapshot")
    return run


def test_top_in_a_pipe(live: Any, guard_in: Any, tmp_path: Path) -> None:
    (folder,) = (tmp_path / "profiles" / "monitored").iterdir()
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    found = json.loads(guard_in("top", "--json"))
    assert found["running"] and found["state"] == "warning" and found["pid"] == row_pid(live)
    assert found["headroom_bytes"] > 0 and found["limit_bytes"] > found["use_bytes"] > 60_000_000
    assert found["processes"][0]["pid"] == row_pid(live) and found["processes"][0]["rss_bytes"] > 60_000_000
    assert {(each["action"], each["how"]) for each in found["actions"]} >= {
        ("snapshot", "finished"),
        ("growth", "running"),
    }
    for arguments in (("top",), ("top", "--once"), ("top", folder.name, "--once")):
        shown = guard_in(*arguments)
        assert "warning, running for" in shown and "headroom" in shown and "\x1b" not in shown
    assert {path.name: path.stat().st_ino for path in folder.iterdir()} == before
    live.process.stdin.close()
    assert live.end() == 0 and not live.named("store.failed")
    assert "no guard runs" in guard_in("top", code=2)
    assert "ended: exited 0" in guard_in("top", "latest")


class Screen:
    """guard top on a terminal of its own."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(GUARD[0], [*GUARD, "top", *arguments], environment)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.settings = termios.tcgetattr(self.fd)
        self.seen = b""

    def read_until(self, done: Any, patience_s: float = 60.0) -> None:
        deadline = time.monotonic() + patience_s
        while not done(self.seen):
            assert time.monotonic() < deadline, self.seen[-2000:]
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    data = os.read(self.fd, 65536)
                except OSError:
                    return
                if not data:
                    return
                self.seen += data

    def end(self) -> int:
        self.read_until(lambda seen: False)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def screen(live: Any, tmp_path: Path) -> Iterator[Screen]:
    environment = OUTSIDE | {"GUARD_PROFILES_DIR": str(tmp_path / "profiles"), "TERM": "xterm"}
    made = Screen(environment, "--interval", "200ms")
    yield made
    os.close(made.fd)


@pytest.mark.parametrize(("how", "code"), [("Ctrl-C", 0), ("TERM", 143)])
def test_top_on_a_terminal_draws_in_place_and_gives_it_back(screen: Screen, how: str, code: int) -> None:
    screen.read_until(lambda seen: seen.count(b"running for") >= 3)
    assert b"\x1b[?1049h" in screen.seen and b"\x1b[?25l" in screen.seen
    if how == "Ctrl-C":
        os.write(screen.fd, b"\x03")
    else:
        os.kill(screen.pid, signal.SIGTERM)
    assert screen.end() == code
    restored = screen.seen.rpartition(b"\x1b[?1049l")
    assert restored[1] and b"\x1b[?25h" in screen.seen.rpartition(b"\x1b[?25l")[2]
    assert b"Traceback" not in screen.seen


def test_top_ends_with_the_run(screen: Screen, live: Any) -> None:
    screen.read_until(lambda seen: b"running for" in seen)
    live.process.stdin.close()
    assert live.end() == 0
    assert screen.end() == 0
    assert b"ended: exited 0" in screen.seen.rpartition(b"\x1b[?1049l")[2]
