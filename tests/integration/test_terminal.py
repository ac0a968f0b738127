"""Under a real terminal: the target is in front as it would be without guard, and so is what the keys do."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.driving import (
    GUARD,
    IN_TERMINAL,
    Mode,
    Placed,
    Terminal,
    children_of,
    clean_environment,
    gone,
    handles,
    modes,
    placed,
    state_of,
    until,
    witnessed,
)

pytestmark = pytest.mark.integration

CTRL_C, CTRL_Z, CTRL_BACKSLASH, CTRL_D = "\x03", "\x1a", "\x1c", "\x04"
SHELL = Mode(pid1=False, terminal=True, watch=False)
WATCHING = pytest.mark.parametrize("watching", [False, True], ids=["init", "watching"])


def python(text: str, *arguments: str) -> list[str]:
    return [sys.executable, "-ISqc", text, *arguments]


@contextmanager
def shell(tmp_path: Path, watching: bool = False) -> Iterator[Placed]:
    """An interactive bash with job control, in which `$G` is guard up to its `--`."""
    options = "--log-format console --log-level warning" if watching else "--no-watch"
    environment = clean_environment(tmp_path, PS1="bash> ", G=" ".join([*GUARD, "run", *options.split(), "--"]))
    line = ["bash", "--noprofile", "--norc", "-i"]
    with placed(SHELL, tmp_path, [], line[1:], starter=line[:1], env=environment) as run:
        assert run.terminal is not None
        run.terminal.expect("bash> ")
        yield run


def terminal_of(run: Placed) -> Terminal:
    assert run.terminal is not None
    return run.terminal


def only_child(pid: int) -> int:
    return int(until(lambda: children_of(pid), f"{pid} has no child")[0])


# -- in front ---------------------------------------------------------------------------------------------------------

SEEN = """
import os, sys
tty = os.open("/dev/tty", os.O_RDWR)
print("streams", *[os.isatty(fd) for fd in (0, 1, 2)], os.ttyname(0) == os.ttyname(2), flush=True)
print("front", os.tcgetpgrp(tty) == os.getpgrp() == os.getpid(), "session", os.getsid(0) != os.getpid(), flush=True)
size = os.get_terminal_size()
print("size", size.columns, size.lines, flush=True)
print("read", input() == "typed", flush=True)
"""


@modes(IN_TERMINAL)
def test_the_target_is_in_front(tmp_path: Path, mode: Mode) -> None:
    with placed(mode, tmp_path, [], python(SEEN)) as run:
        terminal = terminal_of(run)
        terminal.expect("streams True True True True")
        terminal.expect("front True session True")
        terminal.expect("size 80 24")
        terminal.type("typed\n")
        terminal.expect("read True")
        assert run.end() == 0


@modes(IN_TERMINAL)
@pytest.mark.parametrize(("key", "number"), [(CTRL_C, 2), (CTRL_BACKSLASH, 3)])
def test_keys_reach_the_target_once(tmp_path: Path, mode: Mode, key: str, number: int) -> None:
    """And it dies of them when it leaves them at their default."""
    with witnessed(mode, tmp_path) as run:
        for _ in range(3):
            terminal_of(run).type(key)
            assert run.line() == f"got {number}"
        run.tell("nothing-more")
        run.order("exit 3")
        assert run.end() == 3
    with placed(mode, tmp_path, [], ["sh", "-c", "ulimit -c 0; echo on; exec sleep 300"]) as run:
        terminal_of(run).expect("on\r\n")
        terminal_of(run).type(key)
        assert run.end() == 128 + number


@modes(IN_TERMINAL)
def test_a_new_window_size_reaches_the_target_once(tmp_path: Path, mode: Mode) -> None:
    with witnessed(mode, tmp_path) as run:
        for rows in (30, 31):
            terminal_of(run).resize(rows, 100)
            assert run.line() == f"got {int(signal.SIGWINCH)}"
        run.tell("nothing-more")
        assert os.get_terminal_size(terminal_of(run).slave).lines == 31


@modes(IN_TERMINAL)
def test_a_hang_up(tmp_path: Path, mode: Mode) -> None:
    """The terminal goes away: the target hears of it and decides, guard stays until it has ended."""
    with witnessed(mode, tmp_path) as run:
        terminal = terminal_of(run)
        guard = run.guard
        terminal.close()
        run.terminal = None
        while (line := run.line()) != f"got {int(signal.SIGHUP)}":
            if mode.pid1 and not line:
                return  # the session's leader was unshare, which died of it and took its namespace along
            assert line == f"got {int(signal.SIGCONT)}"  # comes with it
        if not mode.pid1:
            assert state_of(guard) not in "TZX"
            run.order("exit 11")
            assert run.end() == 11


@modes(IN_TERMINAL)
def test_a_stop_key_where_nobody_could_continue(tmp_path: Path, mode: Mode) -> None:
    """guard is the session's leader or PID 1: the kernel would ignore the key there, and nobody hangs."""
    with placed(mode, tmp_path, [], python("print('on', flush=True); print('read', input(), flush=True)")) as run:
        terminal = terminal_of(run)
        terminal.expect("on\r\n")
        run.ready()
        for _ in range(3):
            terminal.type(CTRL_Z)
            terminal.expect(r"\^Z")
        terminal.type("on\n")
        terminal.expect("read .*on")
        assert run.end() == 0


@modes(IN_TERMINAL)
def test_a_target_stopped_by_someone_else_stays_stopped(tmp_path: Path, mode: Mode) -> None:
    with witnessed(mode, tmp_path) as run:
        target = run.target
        os.kill(target, signal.SIGSTOP)
        until(lambda: state_of(target) == "T", "it was not stopped")
        run.order("after")
        os.kill(run.guard, signal.SIGWINCH)
        time.sleep(0.3)  # for what must not happen
        assert state_of(target) == "T"
        os.kill(target, signal.SIGCONT)
        assert {run.line() for _ in range(3)} == {"got 18", "got 28", "after"}
        run.order("exit 2")
        assert run.end() == 2


# -- an interactive shell ---------------------------------------------------------------------------------------------


@WATCHING
def test_stop_and_continue_from_a_shell(tmp_path: Path, watching: bool) -> None:
    """Ctrl-Z, the shell's own message, bg, fg, and the terminal is the target's again."""
    with shell(tmp_path, watching) as run:
        terminal = terminal_of(run)
        bash = terminal.front()
        terminal.type("$G cat\n")
        guard = only_child(run.process.pid)
        cat = only_child(guard)
        until(lambda: terminal.front() == cat, "the target is not in front")
        terminal.type("one\n")
        terminal.expect("one\r\none\r\n")
        for _ in range(3):
            terminal.type(CTRL_Z)
            terminal.expect(r"\[1\]\+  Stopped  .*bash> ")
            assert state_of(guard) == state_of(cat) == "T"
            assert terminal.front() == bash
            terminal.type("fg\n")
            until(lambda: terminal.front() == cat, "the target is not in front again")
            terminal.type("two\n")
            terminal.expect("two\r\ntwo\r\n")
        terminal.type(CTRL_Z)
        terminal.expect(r"\[1\]\+  Stopped .*bash> ")
        terminal.type("bg\n")
        terminal.expect("bash> ")
        # In the background cat reads from the terminal and is stopped, and so is the job.
        until(lambda: state_of(guard) == state_of(cat) == "T", "a background job reads the terminal")
        terminal.type("jobs\n")
        terminal.expect(r"Stopped .*bash> ")
        terminal.type("fg\n")
        until(lambda: terminal.front() == cat, "the target is not in front again")
        terminal.type(CTRL_C)
        terminal.expect("bash> ")
        terminal.type("echo code $?\n")
        terminal.expect(r"code 130\r\n")
        assert gone(guard) and gone(cat)
        assert terminal.front() == bash


@WATCHING
def test_a_background_job(tmp_path: Path, watching: bool) -> None:
    """bg runs it, `kill %1` ends it, `wait` gets its code."""
    with shell(tmp_path, watching) as run:
        terminal = terminal_of(run)
        terminal.type("$G sleep 300 &\n")
        terminal.expect(r"\[1\] \d+\r\n.*bash> ")
        guard = only_child(run.process.pid)
        sleep = only_child(guard)
        assert terminal.front() == run.process.pid
        terminal.type("kill -TSTP %1\n")
        until(lambda: state_of(guard) == state_of(sleep) == "T", "kill -TSTP stops no background job")
        terminal.type("bg\n")
        until(lambda: state_of(guard) == state_of(sleep) == "S", "bg continues no job")
        terminal.type("kill %1; wait %1; echo code $?\n")
        terminal.expect(r"code 143\r\n")


@WATCHING
@pytest.mark.parametrize("form", ["script", "pipe-in", "pipe-out"])
def test_the_stop_key_stops_the_whole_job(tmp_path: Path, watching: bool, form: str) -> None:
    """The script around guard and the pipeline's other members stop, too: else the shell would wait for ever."""
    lines = {
        "script": "sh -c '$G sleep 300; echo after $?'",
        "pipe-in": "sleep 298 | $G sleep 300",
        "pipe-out": "$G sleep 300 | sleep 299",
    }
    with shell(tmp_path, watching) as run:
        terminal = terminal_of(run)
        terminal.type(f"export G; {lines[form]}\n")
        until(lambda: len(_below(run.process.pid)) == 3, "not all of the job runs")
        job = _below(run.process.pid)
        guard = next(pid for pid in job if children_of(pid) and _is_guard(pid))
        until(lambda: _caught(guard), "guard is not ready")
        for _ in range(2):
            terminal.type(CTRL_Z)
            terminal.expect(r"\[1\]\+  Stopped .*bash> ")
            until(lambda: {state_of(pid) for pid in job} == {"T"}, "not all of the job is stopped")
            terminal.type("fg\n")
            until(lambda: {state_of(pid) for pid in job} == {"S"}, "not all of the job is continued")
        terminal.type(CTRL_C)
        if form == "script":
            terminal.expect("bash> ")
        until(lambda: all(gone(pid) for pid in job), "Ctrl-C left something")
        terminal.type("echo then\n")
        terminal.expect("then\r\n")
        assert "after 130" not in terminal.text  # as the script's own end by Ctrl-C


def _below(pid: int) -> list[int]:
    found = children_of(pid)
    return [*found, *(deeper for child in found for deeper in _below(child))]


def _is_guard(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").read_text() == "guard\n"


def _caught(pid: int) -> bool:
    return handles(pid, signal.SIGUSR1)


def test_a_pager_keeps_the_terminal(tmp_path: Path) -> None:
    """`guard run -- app | less`: less is in front, Ctrl-Z and fg leave it so, and q ends it all."""
    if not shutil.which("less"):
        pytest.skip("less is not installed")
    with shell(tmp_path) as run:
        terminal = terminal_of(run)
        terminal.type("$G seq 100000 | less\n")
        terminal.expect("\r\n?22\r?\n")
        until(terminal.raw, "less is not at work")
        bash = run.process.pid
        for _ in range(2):
            terminal.type(CTRL_Z)
            terminal.expect(r"Stopped .*bash> ")
            terminal.type("fg\n")
            until(lambda: terminal.front() != bash and terminal.raw(), "less is not at work again")
        terminal.type("q")
        terminal.expect("bash> ")
        terminal.type("echo then\n")
        terminal.expect("then\r\n")


def test_the_terminal_is_set_back_when_the_target_is_killed(tmp_path: Path) -> None:
    """A shell sets it back after a command that died of a signal; behind guard it sees an exit code, so guard does."""
    text = "import tty, os; tty.setraw(0); print('raw', flush=True); os.read(0, 1); os.kill(os.getpid(), 9)"
    for watching in (False, True):
        mode = Mode(False, True, watching)
        with placed(mode, tmp_path, [], python(text)) as run:
            terminal = terminal_of(run)
            terminal.expect("raw")
            assert terminal.raw()
            terminal.type("x")
            assert run.end() == 137
            assert terminal.modes() == terminal.first_modes


def test_what_a_target_sets_on_purpose_stays(tmp_path: Path) -> None:
    with placed(SHELL, tmp_path, [], ["stty", "-echo"]) as run:
        assert run.end() == 0
        assert not terminal_of(run).modes()[3] & termios.ECHO


def test_a_terminal_that_stops_background_output(tmp_path: Path) -> None:
    """`stty tostop`: guard's own lines come from a background group and neither stop it nor fail."""
    options = ["--warning", "1", "--critical", "3G", "--profiling", "4G", "--interval", "100ms", "--log-format", "json"]
    with placed(Mode(False, True, True), tmp_path, options, ["sh", "-c", "stty tostop; exec sleep 300"]) as run:
        terminal_of(run).expect("state.changed")
        assert state_of(run.guard) not in "TZX"
        run.kill(signal.SIGTERM)
        assert run.end() == 143
