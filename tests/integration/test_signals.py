"""What guard does with signals, in every place it can stand; tini and dumb-init are held to the same."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.integration.driving import (
    BARE,
    CHILD,
    IN_TERMINAL,
    MODES,
    Mode,
    children_of,
    gone,
    handles,
    modes,
    needs_namespaces,
    placed,
    signals_of,
    state_of,
    until,
    witnessed,
)

pytestmark = pytest.mark.integration

OWN = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL,
       signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS}  # fmt: skip
STOPS = [signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU]
FORWARDED = sorted(map(int, signal.valid_signals() - OWN - set(STOPS)))


# -- forwarding -------------------------------------------------------------------------------------------------------


@modes(MODES)
def test_every_signal_is_forwarded(tmp_path: Path, mode: Mode) -> None:
    """All 20 classic ones that are nobody's own fault, and all real-time ones; CHLD is guard's own."""
    assert len(FORWARDED) > 45 and signal.SIGRTMIN in FORWARDED and signal.SIGRTMAX in FORWARDED
    with witnessed(mode, tmp_path) as run:
        for number in FORWARDED:
            run.kill(signal.SIGCHLD)
            run.kill(number)
            assert run.line() == f"got {number}"
        run.order("exit 9")
        assert run.end() == 9


@modes(MODES)
@pytest.mark.parametrize("to", ["group", "child"])
def test_to_the_group_or_to_the_child(tmp_path: Path, mode: Mode, to: str) -> None:
    with witnessed(mode, tmp_path, "--forward", to) as run:
        run.order("child")
        assert run.line() == "forked"
        for number in (signal.SIGTERM, signal.SIGRTMIN + 3, signal.SIGWINCH):
            run.kill(number)
            seen = {run.line() for _ in range(2 if to == "group" else 1)}
            assert seen == ({f"got {number}", f"child {number}"} if to == "group" else {f"got {number}"})
        run.order("exit 0")
        assert run.end() == 0


@modes(MODES)
def test_rewriting_and_dropping(tmp_path: Path, mode: Mode) -> None:
    options = ["15:3", "USR1:0", "RTMIN+1:RTMAX", "HUP:QUIT"]
    with witnessed(mode, tmp_path, *[word for option in options for word in ("--rewrite-signal", option)]) as run:
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGRTMIN + 1, signal.SIGHUP, signal.SIGUSR2):
            run.kill(number)
            if number != signal.SIGUSR1:
                sent = {15: 3, int(signal.SIGRTMIN) + 1: int(signal.SIGRTMAX), 1: 3}.get(int(number), int(number))
                assert run.line() == f"got {sent}"
        run.order("exit 4")
        assert run.end() == 4


@modes(MODES)
def test_exit_codes_are_remapped(tmp_path: Path, mode: Mode) -> None:
    options = ["--remap-exit", "143:0", "--remap-exit", "3:40"]
    for script, code in (("kill -TERM $$", 0), ("exit 3", 40), ("exit 40", 40), ("kill -KILL $$", 137)):
        with placed(mode, tmp_path, options, ["sh", "-c", script]) as run:
            assert (script, run.end()) == (script, code)


@modes(BARE)
@pytest.mark.parametrize("name", ["tini", "dumb-init"])
def test_peers_forward_the_same(tmp_path: Path, mode: Mode, name: str) -> None:
    """The reference: what both of them forward, guard forwards."""
    if not mode.watch or not (found := shutil.which(name)):
        pytest.skip(f"{name} is not installed" if mode.watch else "peers have one mode")
    with witnessed(mode, tmp_path, starter=[found, *(["-s"] if name == "tini" else []), "--"]) as run:
        for number in FORWARDED:
            if name == "dumb-init" and number > 31:
                continue  # dumb-init knows no real-time signals
            run.kill(number)
            assert run.line() == f"got {number}"
        run.order("exit 9")
        assert run.end() == 9


# -- stop signals -----------------------------------------------------------------------------------------------------


@modes(BARE)
@pytest.mark.parametrize("number", STOPS)
def test_a_stop_without_a_terminal_stops_both(tmp_path: Path, mode: Mode, number: int) -> None:
    """A target that leaves the signal at its default stops, as it would without guard, and all its group with it."""
    script = "sleep 300 & echo $! > pid.new; mv pid.new pid; wait"
    with placed(mode, tmp_path, [], ["sh", "-c", script]) as run:
        until((tmp_path / "pid").exists, "the target never ran")
        run.ready()
        (other,) = until(lambda: found if len(found := children_of(run.target)) == 1 else None, "mv runs on")
        for _ in range(3):
            run.kill(number)
            until(lambda: state_of(run.target) == state_of(other) == "T", "the target runs on")
            if not mode.pid1:  # the kernel stops no PID 1
                until(lambda: state_of(run.guard) == "T", "guard runs on")
            run.kill(signal.SIGCONT)
            until(lambda: "T" not in {state_of(pid) for pid in (run.target, other, run.guard)}, "stays stopped")
        run.kill(signal.SIGTERM)
        assert run.end() == 143


@modes(BARE)
@pytest.mark.parametrize("number", STOPS)
def test_a_target_that_catches_a_stop_runs_on(tmp_path: Path, mode: Mode, number: int) -> None:
    with witnessed(mode, tmp_path) as run:
        run.kill(number)
        assert run.line() == f"got {int(number)}"
        if not mode.pid1:
            until(lambda: state_of(run.guard) == "T", "guard runs on")
        assert state_of(run.target) not in "TZX"
        run.kill(signal.SIGCONT)
        assert run.line() == f"got {int(signal.SIGCONT)}"
        run.kill(signal.SIGUSR1)
        assert run.line() == f"got {int(signal.SIGUSR1)}"
        run.order("exit 5")
        assert run.end() == 5


@modes(BARE)
def test_a_rewritten_or_dropped_stop_stops_nobody(tmp_path: Path, mode: Mode) -> None:
    with witnessed(mode, tmp_path, "--rewrite-signal", "TSTP:0", "--rewrite-signal", "TTIN:USR1") as run:
        run.kill(signal.SIGTSTP)
        run.kill(signal.SIGTTIN)
        assert run.line() == f"got {int(signal.SIGUSR1)}"
        run.kill(signal.SIGUSR2)
        assert run.line() == f"got {int(signal.SIGUSR2)}"
        run.order("exit 5")
        assert run.end() == 5


@modes(IN_TERMINAL)
def test_under_job_control_stops_are_the_terminals(tmp_path: Path, mode: Mode) -> None:
    """The target is in front, where the terminal itself reaches it: sent to guard they go nowhere."""
    with witnessed(mode, tmp_path) as run:
        for number in STOPS:
            run.kill(number)
        run.kill(signal.SIGUSR1)
        assert run.line() == f"got {int(signal.SIGUSR1)}"
        assert state_of(run.guard) not in "TZX" and state_of(run.target) not in "TZX"
        run.order("exit 5")
        assert run.end() == 5


# -- floods and bad moments -------------------------------------------------------------------------------------------

FLOOD = """
import os, sys, time
pid, number, count = map(int, sys.argv[1:])
began = time.monotonic()
for done in range(count):
    os.kill(pid, number)
    while time.monotonic() < began + done / 10_000:
        pass
"""


@modes(MODES)
def test_a_flood(tmp_path: Path, mode: Mode) -> None:
    """10 kHz of USR1 for a second: nobody is hurt, the last one arrives, and the log stays short."""
    flood = [sys.executable, "-IS", "-c", FLOOD]
    with witnessed(mode, tmp_path) as run:
        process = os.posix_spawn(sys.executable, [*flood, str(run.guard), str(int(signal.SIGUSR1)), "10000"], {})
        assert os.waitpid(process, 0)[1] == 0
        run.kill(signal.SIGUSR2)
        seen = 0
        while (line := run.line()) != f"got {int(signal.SIGUSR2)}":
            assert line == f"got {int(signal.SIGUSR1)}"
            seen += 1
        assert seen > 50
        run.kill(signal.SIGUSR1)
        assert run.line() == f"got {int(signal.SIGUSR1)}"
        run.order("exit 6")
        assert run.end() == 6
        if mode.watch:
            told = [event for event in run.events("signal.forwarded") if event["signal"] == "SIGUSR1"]
            assert 1 <= len(told) < 30
            # Standard signals don't queue: as many as guard saw, which is not as many as were sent.
            assert seen <= sum(event["count"] for event in told) <= 10_001


@modes(CHILD)
def test_real_time_signals_queue(tmp_path: Path, mode: Mode) -> None:
    """Each one that guard got goes on, also of a burst."""
    with witnessed(mode, tmp_path) as run:
        for _ in range(500):
            run.kill(signal.SIGRTMIN + 4)
        for _ in range(500):
            assert run.line() == f"got {int(signal.SIGRTMIN) + 4}"
        run.order("exit 0")
        assert run.end() == 0


def takes_term(pid: int) -> bool:
    """Whether guard's first statement has run: it blocks all (unshare blocks TERM, too, but not USR1)."""
    return bool(signals_of(pid, "SigBlk") & 1 << signal.SIGUSR1 - 1) or handles(pid, signal.SIGUSR1)


@modes(BARE)
def test_term_while_the_target_is_spawned(tmp_path: Path, mode: Mode) -> None:
    """From guard's first statement on a TERM waits, or reaches the target; nobody is left behind and nobody hangs."""
    needs_namespaces(mode)
    codes = []
    for step in range(40):
        with placed(mode, tmp_path, [], ["sleep", "300"]) as run:
            guard = run.guard
            # Before its first statement a PID 1 has TERM at its default, which the kernel drops there.
            until(lambda guard=guard: takes_term(guard), "guard's first statement never ran")
            at = time.monotonic() + step * 0.001
            while time.monotonic() < at:
                pass
            os.kill(guard, signal.SIGTERM)
            codes.append(run.end(20))
            assert not [pid for pid in children_of(guard) if not gone(pid)]
    assert set(codes) == {143}


@modes(CHILD)
def test_term_before_the_first_statement(tmp_path: Path, mode: Mode) -> None:
    """The interpreter's own start can't be covered: guard dies then as the command itself would, and starts nothing."""
    for step in range(20):
        with placed(mode, tmp_path, [], ["sh", "-c", "touch ran; exec sleep 300"]) as run:
            at = time.monotonic() + step * 0.0007
            while time.monotonic() < at:
                pass
            os.kill(run.process.pid, signal.SIGTERM)
            assert run.end(20) in (-signal.SIGTERM, 143)


@modes(MODES)
def test_term_twice(tmp_path: Path, mode: Mode) -> None:
    """Forwarded each time and never escalated; the code is the target's."""
    with witnessed(mode, tmp_path, "--stop-timeout", "100ms") as run:
        for _ in range(2):
            run.kill(signal.SIGTERM)
            assert run.line() == "got 15"
        run.tell("still")  # longer than any stop timeout that would have been
        run.order("exit 12")
        assert run.end() == 12


@modes(MODES)
def test_term_while_the_group_ends(tmp_path: Path, mode: Mode) -> None:
    """The target is gone, a child of its that ignores TERM is not: signals go on to it, and the code stands."""
    script = (
        'sh -c \'trap "" TERM; trap "exit" USR1; echo $$ > pid.new; mv pid.new pid; while :; do sleep 0.05; done\' & '
    )
    script += "while [ ! -e go ]; do sleep 0.01; done; exit 8"
    with placed(mode, tmp_path, ["--stop-timeout", "50s"], ["sh", "-c", script]) as run:
        until((tmp_path / "pid").exists, "the child never ran")
        run.ready()
        target = run.target
        (tmp_path / "go").touch()
        until(lambda: not Path(f"/proc/{target}").exists(), "the target lives")
        run.kill(signal.SIGTERM)
        run.kill(signal.SIGUSR1)
        assert run.end(20) == 8


@modes(BARE)
def test_a_caller_that_ignores_children(tmp_path: Path, mode: Mode) -> None:
    """SIGCHLD ignored is handed on to the target; guard still sees its end (the kernel would have reaped it)."""
    text = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    ignoring = [sys.executable, "-ISc", text]
    with placed(mode, tmp_path, [], ["sh", "-c", "exit 5"], prefix=ignoring) as run:
        assert run.end(20) == 5
    with placed(mode, tmp_path, [], ["cp", "/proc/self/status", "seen"], prefix=ignoring) as run:
        assert run.end(20) == 0
    match = re.search(r"^SigIgn:\t(\w+)$", (tmp_path / "seen").read_text(), re.MULTILINE)
    assert match is not None and int(match[1], 16) & 1 << signal.SIGCHLD - 1
    with placed(mode, tmp_path, [], ["no-such-command-7"], prefix=ignoring) as run:
        assert run.end(20) == 127
