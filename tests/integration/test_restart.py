"""Life after life under one guard: what ends it, what starts it again, what each finds and leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.driving import IN_TERMINAL, Mode, children_of, modes, placed, until

pytestmark = pytest.mark.integration

SURROUNDINGS = """
import json, os, resource, signal, sys
names, place = ("SigBlk", "SigIgn"), "/proc/self/fd/"
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "cwd": os.getcwd(), "environ": dict(os.environ), "argv": sys.argv[1:],
    "signals": [status[name].strip() for name in names],
    "fds": {fd: os.readlink(place + fd) for fd in os.listdir(place) if os.path.lexists(place + fd)},
    "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
    "umask": os.umask(0), "session": os.getsid(0) == os.getpid(), "line": os.read(0, 6).decode(),
}), flush=True)
sys.exit(3)
"""
COUNTING = "import os, sys; n = len(os.listdir(sys.argv[1])); open(f'{sys.argv[1]}/{n}', 'w').close(); "


def records(run: Any) -> list[dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in run.profiles.glob("monitored/*/run.json")]
    return sorted(found, key=lambda record: record["life"])


def test_every_life_finds_what_the_first_one_found(start: Callable[..., Any], tmp_path: Path) -> None:
    """Directory, environment, descriptors, signals, umask; stdin goes on where the last life left it."""
    read_end, write_end = os.pipe()
    words = tmp_path / "words"
    words.write_text("first\nsecond\nthird\n")
    line = ["--restart", "on-failure", "--restart-max", "2"]
    with open(words, "rb", buffering=0) as stdin:
        program = [sys.executable, "-uc", SURROUNDINGS]
        run = start(line, program, stdin=stdin, pass_fds=(write_end,))
    os.close(write_end)
    lives = [json.loads(run.process.stdout.readline()) for _ in range(3)]
    assert run.end() == 3
    os.close(read_end)
    assert [life.pop("line") for life in lives] == ["first\n", "second", "\nthird"]
    assert lives[0] == lives[1] == lives[2]
    assert str(write_end) in lives[0]["fds"]


def test_a_failure_is_started_again_until_it_is_too_often(start: Callable[..., Any]) -> None:
    run = start(["--restart", "on-failure", "--restart-max", "2"], [sys.executable, "-c", "raise SystemExit(7)"])
    assert run.end() == 7
    assert [event["in_a_row"] for event in run.named("restart.scheduled")] == [1, 2]
    assert run.wait_for("restart.given_up")["in_a_row"] == 2
    ended = records(run)
    assert [record["life"] for record in ended] == [1, 2, 3]
    assert [record["previous_life"] for record in ended] == [None, ended[0]["run"], ended[1]["run"]]
    assert [record["outcome"] for record in ended] == ["exited"] * 3
    assert ended[2]["restart"] is None
    assert ended[0]["restart"]["in_a_row"] == 1


def test_success_ends_it(start: Callable[..., Any], tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    lives.mkdir()
    run = start(["--restart", "on-failure"], [sys.executable, "-c", COUNTING + "sys.exit(n < 2)", str(lives)])
    assert run.end() == 0
    assert len(list(lives.iterdir())) == 3


def test_a_stop_is_not_answered_by_a_restart(start: Callable[..., Any]) -> None:
    run = start(["--restart", "always"], ["sleep", "100"])
    run.wait_for("run.started")
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 143
    assert run.named("restart.scheduled") == []
    assert run.wait_for("run.exited")["outcome"] == "stopped"


@pytest.mark.parametrize(("number", "stopped"), [("HUP", False), ("QUIT", True), ("INT", True)])
def test_a_signal_that_is_survived_is_no_stop(start: Callable[..., Any], number: str, stopped: bool) -> None:
    """Who ends long after a hang-up has crashed; a stop by QUIT may take longer than guard's own patience."""
    script = f'trap "echo heard; sleep 0.3; exit 9" {number}; echo ready; while :; do sleep 0.05; done'
    run = start(["--restart", "on-failure", "--restart-max", "1", "--stop-timeout", "0.1s"], ["sh", "-c", script])
    lives = 1 if stopped else 2
    for _ in range(lives):
        assert run.process.stdout.readline() == b"ready\n"
        run.process.send_signal(getattr(signal, f"SIG{number}"))
        assert run.process.stdout.readline() == b"heard\n"
    assert run.end() == 9
    assert len(run.named("restart.scheduled")) == lives - 1
    assert [record["outcome"] for record in records(run)] == ["stopped" if stopped else "exited"] * lives


def test_a_signal_ends_the_wait_for_the_next_life(start: Callable[..., Any]) -> None:
    """TERM after the target's end: no other life, and the last one's code."""
    run = start(["--restart", "always", "--keep-group"], [sys.executable, "-c", "raise SystemExit(5)"])
    while True:  # the waits grow: soon one is long
        if run.wait_for("restart.scheduled", in_a_row=8)["wait_s"] > 0.9:
            break
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 5
    assert max(event["in_a_row"] for event in run.named("restart.scheduled")) <= 9


def test_a_crash_loop_leaves_a_line_and_few_folders(start: Callable[..., Any], tmp_path: Path) -> None:
    told = (
        "import os\n"
        "place = f'/proc/{os.getppid()}/fd/'\n"
        "opened = [os.path.realpath(place + fd) for fd in os.listdir(place)]\n"
        "wanted = (os.path.realpath(place + '2'), os.path.realpath(LOG))\n"
        "print(sum(name in wanted for name in opened), flush=True)\n"
        "raise SystemExit(5)"
    ).replace("LOG", repr(str(tmp_path / "guard.log")))
    line = ["--restart", "always", "--restart-max", "7", "--log-file", str(tmp_path / "guard.log")]
    run = start(line, [sys.executable, "-c", told])
    assert run.end() == 5
    assert [event["crashes_before"] for event in run.named("crash_loop.found")] == [3, 4]
    assert len(run.named("run.started")) == 5  # 0 to 4 crashes before
    ended = records(run)
    assert [record["life"] for record in ended] == [1, 2, 8]
    assert (ended[-1]["crashes_before"], ended[-1]["dropped_runs"]) == (7, 5)
    opened = [int(count) for count in run.process.stdout.read().split()]  # where guard logs to, as each life began
    # The last life's are closed when the next one's log begins, which may be a moment later.
    assert len(opened) == 8 and opened[-1] <= opened[1] + 3, opened


def test_memory_past_a_bound_ends_a_life_after_its_evidence(start: Callable[..., Any], tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    lives.mkdir()
    program = COUNTING + "held = bytearray(b'x') * 90_000_000 if n == 0 else 0; import time; time.sleep(100 * (n == 0))"
    run = start(["--restart-at", "60", "--stop-signal", "USR1", "--interval", "200ms"],
                [sys.executable, "-c", program, str(lives)])  # fmt: skip
    assert run.end() == 0
    stopping = run.wait_for("target.stopping")
    assert stopping["why"] == "restart-at"
    order = [
        event["event"] for event in run.events if event.get("action") == "stacks" or event["event"] == "target.stopping"
    ]
    assert order == ["action.started", "action.finished", "target.stopping"]
    assert [record["outcome"] for record in records(run)] == ["replaced", "exited"]


def test_a_plain_init_starts_it_again_too(start: Callable[..., Any], tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    lives.mkdir()
    run = start(["--no-watch", "--restart", "on-failure"],
                [sys.executable, "-c", COUNTING + "sys.exit(n < 2)", str(lives)])  # fmt: skip
    assert run.end() == 0
    assert len(list(lives.iterdir())) == 3


SERVER = """
import os, signal, sys
tty = os.open("/dev/tty", os.O_RDWR)
print("front", os.tcgetpgrp(tty) == os.getpgrp() == os.getpid(), flush=True)
try:
    print("typed", sys.stdin.readline().strip(), flush=True)
    signal.pause()
except KeyboardInterrupt:
    print("goodbye", flush=True)
    sys.exit(0)
"""


@modes(IN_TERMINAL)
def test_ctrl_c_is_a_stop_though_guard_does_not_get_it(tmp_path: Path, mode: Mode) -> None:
    """The terminal sends it to the target alone, which ends as a service does: with 0 and no signal."""
    with placed(mode, tmp_path, ["--restart", "always"], [sys.executable, "-ISqc", SERVER]) as run:
        terminal = run.terminal
        assert terminal is not None

        def children() -> dict[str, int]:
            return {Path(f"/proc/{pid}/comm").read_text().strip(): pid for pid in children_of(run.guard)}

        terminal.expect("front True")
        terminal.type("first\n")
        terminal.expect("typed first")
        until(lambda: "guard-keys" in children(), "nobody listens for keys")
        os.kill(next(pid for name, pid in children().items() if name != "guard-keys"), signal.SIGKILL)
        terminal.expect("front True")  # the next life is in front, too, and reads what is typed
        terminal.type("second\n")
        terminal.expect("typed second")
        until(lambda: "guard-keys" in children(), "nobody listens for keys")
        terminal.type("\x03")
        terminal.expect("goodbye")
        assert run.end() == 0


def test_a_program_that_is_being_replaced(start: Callable[..., Any], tmp_path: Path) -> None:
    """Not there for a moment: told, and tried again."""
    program = tmp_path / "service"
    program.write_text("#!/bin/sh\nrm service\nexit 1\n")
    program.chmod(0o755)
    run = start(["--restart", "always"], ["./service"])
    failed = run.wait_for("restart.failed")
    assert "./service" in failed["reason"]
    program.write_text("#!/bin/sh\necho back\nsleep 100\n")
    program.chmod(0o755)
    assert run.process.stdout.readline() == b"back\n"
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 143
    assert subprocess.run(["ps", "--ppid", str(run.process.pid)], capture_output=True).returncode == 1


def test_retention_reaches_lives_that_are_shorter_than_its_time(start: Callable[..., Any]) -> None:
    run = start(["--restart", "always", "--keep-runs", "2"], ["true"])
    run.wait_for("restart.scheduled", in_a_row=6)
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 0
    assert 1 <= len(records(run)) <= 3


def test_a_lifes_peak_is_its_own_not_guards_at_the_fork(start: Callable[..., Any]) -> None:
    """The kernel counts what guard held as it forked as the target's; a later life is forked by a larger guard."""
    run = start(["--restart", "on-failure", "--restart-max", "2"], ["sh", "-c", "exit 3"])
    assert run.end() == 3
    peaks = [record["peak_bytes"] for record in records(run)]
    assert len(peaks) == 3 and max(peaks) < 5_000_000
