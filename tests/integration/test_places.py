"""guard where it isn't PID 1 and where it is: orphans, pipelines, xargs, shells, systemd-run, closed streams."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.driving import (
    BARE,
    CHILD,
    GUARD,
    MODES,
    Mode,
    children_of,
    clean_environment,
    gone,
    modes,
    placed,
    until,
    witnessed,
)

pytestmark = pytest.mark.integration

BOTH = pytest.mark.parametrize("options", [["--quiet"], ["--no-watch"]], ids=["watching", "init"])


def shell(tmp_path: Path, script: str, options: list[str]) -> subprocess.CompletedProcess[str]:
    """A script in which `$G` is guard up to its `--`."""
    environment = clean_environment(tmp_path, G=" ".join([*GUARD, "run", *options, "--"]))
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environment,
                          start_new_session=True, timeout=60, stdin=subprocess.DEVNULL)  # fmt: skip


# -- orphans ----------------------------------------------------------------------------------------------------------

BURSTS = """
import os, sys
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        for _ in range(int(sys.argv[2])):
            if os.fork() == 0:
                os._exit(7)
        os._exit(0)
    os.wait()
os._exit(42)
"""


@modes(BARE)
def test_ten_thousand_orphans(tmp_path: Path, mode: Mode) -> None:
    """In bursts, the last one at the target's own end: none is left a zombie, and the status is the target's."""
    command = [sys.executable, "-ISc", BURSTS, "20", "500"]
    with placed(mode, tmp_path, [], command) as run:
        assert run.end(100) == 42


@modes(MODES)
def test_orphans_while_the_target_lives(tmp_path: Path, mode: Mode) -> None:
    script = f"{sys.executable} -ISc '{BURSTS}' 4 500; touch done.new; mv done.new done; exec sleep 300"
    with placed(mode, tmp_path, [], ["sh", "-c", script]) as run:
        until((tmp_path / "done").exists, "the bursts never ended")
        guard, target = run.guard, run.target
        until(lambda: children_of(guard) == [target], "zombies are left")
        run.kill(signal.SIGTERM)
        assert run.end() == 143


@modes(CHILD)
@pytest.mark.parametrize("adopts", [True, False])
def test_subreaper(tmp_path: Path, mode: Mode, adopts: bool) -> None:
    """With --no-subreaper an orphan is somebody else's, as without guard."""
    script = "(sleep 300 & echo $! > pid.new; mv pid.new pid); while :; do sleep 0.05; done"
    option = "--subreaper" if adopts else "--no-subreaper"
    with placed(mode, tmp_path, [option], ["sh", "-c", script]) as run:
        until((tmp_path / "pid").exists, "the target never ran")
        orphan = int((tmp_path / "pid").read_text())

        def parent() -> int:
            return int(Path(f"/proc/{orphan}/stat").read_text().rpartition(")")[2].split()[1])

        def left() -> bool:  # neither the target nor the shell that it forked to start the orphan
            return Path(f"/proc/{parent()}/comm").read_text() != "sh\n"

        until(left, "the orphan keeps its parent")
        assert (parent() == run.guard) == adopts
        run.kill(signal.SIGTERM)  # the group is guard's to end, wherever its members hang
        assert run.end() == 143
        until(lambda: gone(orphan), "the orphan lives")


@modes(CHILD)
def test_the_parent_death_signal(tmp_path: Path, mode: Mode) -> None:
    with witnessed(mode, tmp_path, "--parent-death-signal", "RTMIN+2") as run:
        os.kill(run.guard, signal.SIGKILL)
        while (line := run.line()) != f"got {int(signal.SIGRTMIN) + 2}":
            assert line in (f"got {int(signal.SIGHUP)}", f"got {int(signal.SIGCONT)}")  # the session's leader died
        run.order("exit 0")


@modes(BARE)
@pytest.mark.parametrize("option", ["--keep-group", "--forward=child"])
def test_a_kept_group_outlives_guard(tmp_path: Path, mode: Mode, option: str) -> None:
    """As PID 1 nothing can: the kernel ends a namespace with its init."""
    script = "sleep 300 & echo $! > pid.new; mv pid.new pid; exit 3"
    with placed(mode, tmp_path, [option], ["sh", "-c", script]) as run:
        assert run.end() == 3
    if not mode.pid1:
        pid = int((tmp_path / "pid").read_text())
        assert not gone(pid)
        os.kill(pid, signal.SIGKILL)


# -- pipelines and shells ---------------------------------------------------------------------------------------------


@BOTH
def test_a_pipeline_of_two_guards(tmp_path: Path, options: list[str]) -> None:
    done = shell(tmp_path, "$G seq 50000 | $G sh -c 'wc -l; exit 4'; echo ${PIPESTATUS[*]}", options)
    assert (done.stdout.split(), done.stderr) == (["50000", "0", "4"], "")


@BOTH
def test_a_reader_that_ends_first(tmp_path: Path, options: list[str]) -> None:
    """`yes` gets SIGPIPE and dies of it; guard does not keep the pipe open."""
    assert shell(tmp_path, "yes | $G head -n 2; echo ${PIPESTATUS[*]}", options).stdout == "y\ny\n141 0\n"
    assert shell(tmp_path, "$G yes | head -n 2; echo ${PIPESTATUS[*]}", options).stdout == "y\ny\n141 0\n"
    assert shell(tmp_path, "$G yes | $G head -n 1; echo ${PIPESTATUS[*]}", options).stdout == "y\n141 0\n"


@BOTH
def test_xargs(tmp_path: Path, options: list[str]) -> None:
    """Its stdin is /dev/null, its code 255 ends xargs, others give 123."""
    script = "seq 6 | xargs -n 2 -P 3 $G sh -c 'echo $(($0 + $1)); exit $(($0 == 3))'; echo code $?"
    done = shell(tmp_path, script, options)
    assert sorted(done.stdout.split()) == ["11", "123", "3", "7", "code"]
    done = shell(tmp_path, "seq 3 | xargs -n 1 $G sh -c 'echo $0; exit 255'; echo code $?", options)
    assert done.stdout.split() == ["1", "code", "124"]


@BOTH
def test_timeout_and_nohup(tmp_path: Path, options: list[str]) -> None:
    assert shell(tmp_path, "timeout 0.8 $G sleep 300; echo $?", options).stdout == "124\n"
    assert shell(tmp_path, "timeout -s INT 0.8 $G sh -c 'trap \"exit 9\" INT; while :; do sleep 0.05; done'; echo $?",
                 options).stdout == "124\n"  # fmt: skip
    text = "nohup $G sh -c 'kill -HUP $PPID; sleep 0.3; echo lives' 2>&1; echo $?"
    assert shell(tmp_path, text, options).stdout.splitlines()[-2:] == ["lives", "0"]


@BOTH
def test_closed_streams_in_a_pipeline(tmp_path: Path, options: list[str]) -> None:
    for closing in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        script = f"exec 3>code; $G sh -c 'exit 6' {closing} 3>&-; echo $? >&3"
        shell(tmp_path, script, options)
        assert (closing, (tmp_path / "code").read_text()) == (closing, "6\n")


@BOTH
def test_guard_within_guard(tmp_path: Path, options: list[str]) -> None:
    """Each is the other's target: codes, signals and output pass through both."""
    assert shell(tmp_path, "$G $G sh -c 'echo in; exit 5'; echo $?", options).stdout == "in\n5\n"
    script = "$G $G sh -c 'trap \"echo term; exit 8\" TERM; echo on; while :; do sleep 0.02; done' & "
    script += "p=$!; while ! grep -q on out; do sleep 0.02; done; kill $p; wait $p; echo $?"
    (tmp_path / "out").touch()
    done = shell(tmp_path, script.replace("done' &", "done' > out &"), options)
    assert (done.stdout, (tmp_path / "out").read_text()) == ("8\n", "on\nterm\n")


@BOTH
def test_systemd_run(tmp_path: Path, options: list[str]) -> None:
    if not shutil.which("systemd-run") or not Path("/run/systemd/system").is_dir():
        pytest.skip("no systemd runs here")
    line = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", f"--working-directory={tmp_path}"]
    done = subprocess.run([*line, *GUARD, "run", *options, "--", "sh", "-c", "echo in; exit 5"], capture_output=True,
                          text=True, timeout=60)  # fmt: skip
    assert (done.returncode, done.stdout) == (5, "in\n")
