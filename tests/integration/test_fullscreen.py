"""Programs that draw on the whole screen or read key by key: as without guard, and not torn by guard's own lines."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.driving import Mode, Placed, Terminal, modes, placed, until

pytestmark = pytest.mark.integration

MODES = [Mode(False, True, False), Mode(False, True, True), Mode(True, True, True)]
# States that change at once, and a line for people each time.
NOISY = ["--log-format", "console", "--warning", "1", "--critical", "3G", "--profiling", "4G", "--interval", "100ms"]


def terminal_of(run: Placed) -> Terminal:
    assert run.terminal is not None
    return run.terminal


def without_guard(mode: Mode, tmp_path: Path, command: list[str], drive: Callable[[Placed], None]) -> None:
    """The same keys, the same end, and the terminal as it was, bare and behind guard."""
    codes = []
    for starter in ([], None):
        with placed(mode, tmp_path, [], command, starter=starter) as run:
            drive(run)
            codes.append(run.end())
            assert terminal_of(run).modes() == terminal_of(run).first_modes
    bare, behind = codes
    assert behind == (bare if bare >= 0 else 128 - bare)


@modes(MODES)
def test_vim(tmp_path: Path, mode: Mode) -> None:
    if not shutil.which("vim"):
        pytest.skip("vim is not installed")

    def drive(run: Placed) -> None:
        terminal = terminal_of(run)
        until(lambda: (terminal.read(0.05), terminal.raw())[1], "vim is not at work")
        terminal.expect("~")
        terminal.type("ihello\x1b")
        terminal.expect("hello")
        terminal.resize(40, 100)
        terminal.expect(r"\[39;1H~")
        terminal.type(":put =&lines\r")
        terminal.expect("40")
        terminal.type(f":w! {tmp_path / 'written'}\r:q!\r")

    without_guard(mode, tmp_path, ["vim", "-u", "NONE", "-N", "-n"], drive)
    assert (tmp_path / "written").read_text() == "hello\n40\n"


@modes(MODES)
def test_less(tmp_path: Path, mode: Mode) -> None:
    if not shutil.which("less"):
        pytest.skip("less is not installed")
    (tmp_path / "text").write_text("".join(f"line {number}\n" for number in range(1000)))

    def drive(run: Placed) -> None:
        terminal = terminal_of(run)
        terminal.expect("line 20")
        until(terminal.raw, "less is not at work")
        terminal.type("G")
        terminal.expect("line 999")
        terminal.type("?line 500\r")
        terminal.expect("line 500")
        terminal.type("q")

    without_guard(mode, tmp_path, ["less", "text"], drive)


@modes(MODES)
def test_the_repl(tmp_path: Path, mode: Mode) -> None:
    """Prompt, editing, Ctrl-C as KeyboardInterrupt, Ctrl-D."""

    def drive(run: Placed) -> None:
        terminal = terminal_of(run)
        terminal.expect(">>> ")
        terminal.type("6 * 7\n")
        terminal.expect("42\r\n.*>>> ")
        terminal.type("'ab\x7fc'\n")  # the key for the last character's end
        terminal.expect("'ac'\r\n.*>>> ")
        terminal.type("import time; print('sle' + 'eps'); time.sleep(100)\n")
        terminal.expect("sleeps\r\n")
        terminal.type("\x03")
        terminal.expect("KeyboardInterrupt\r\n.*>>> ")
        terminal.type("\x04")

    without_guard(mode, tmp_path, [sys.executable, "-Iq"], drive)


@modes(MODES)
def test_pdb(tmp_path: Path, mode: Mode) -> None:
    script = tmp_path / "script.py"
    script.write_text("value = 41\nvalue += 1\nprint('value', value)\n")

    def drive(run: Placed) -> None:
        terminal = terminal_of(run)
        terminal.expect(r"\(Pdb\) ")
        for order, answer in (("next", "value \\+= 1"), ("p value", "41"), ("continue", "value 42"), ("quit", "quit")):
            terminal.type(f"{order}\n")
            terminal.expect(answer)

    without_guard(mode, tmp_path, [sys.executable, "-I", "-m", "pdb", str(script)], drive)


DRAW = """
import os, sys, termios, tty
old = termios.tcgetattr(0)
print("cooked", flush=True)
tty.setraw(0)
os.write(1, b"<draws>")
while (key := os.read(0, 1)) != b"q":
    os.write(1, b"<" + key + b">")
os.write(1, b"<restores>")
termios.tcsetattr(0, termios.TCSADRAIN, old)
os.read(0, 1)
print("ends", flush=True)
"""


def test_guards_lines_wait_while_the_screen_is_drawn(tmp_path: Path) -> None:
    """events.jsonl has them at once; the terminal gets them when it is cooked again."""
    command = [sys.executable, "-ISc", DRAW]
    with placed(Mode(False, True, True), tmp_path, NOISY, command) as run:
        terminal = terminal_of(run)
        terminal.expect("<draws>")
        until(lambda: run.events("state.changed") and run.events("action.finished"), "nothing happened")
        terminal.type("x")
        terminal.expect("<x>")
        run.kill(signal.SIGWINCH)
        until(lambda: run.events("signal.forwarded"), "the signal was not forwarded")
        terminal.type("q")
        terminal.expect("<restores>")
        drawn = terminal.text[terminal.text.index("<draws>") :]
        assert drawn.startswith("<draws><x><restores>"), drawn
        terminal.expect("ok → warning")
        terminal.expect("SIGWINCH forwarded")
        terminal.type("\n")
        terminal.expect("ends")
        assert run.end() == 0
        until(lambda: not terminal.read(0.05) or "■" in terminal.text, "the run's last lines")


def test_lines_that_waited_are_written_at_the_end(tmp_path: Path) -> None:
    """Also when the program was killed and could not set its terminal back."""
    command = [sys.executable, "-ISc", DRAW]
    with placed(Mode(False, True, True), tmp_path, NOISY, command) as run:
        terminal = terminal_of(run)
        terminal.expect("<draws>")
        until(lambda: run.events("state.changed"), "nothing happened")
        run.kill(signal.SIGTERM)
        assert run.end() == 143
        until(lambda: not terminal.read(0.05) or "■" in terminal.text, "the run's last lines")
        after = terminal.text[terminal.text.index("<draws>") :]
        assert after.index("ok → warning") < after.index("■")
        assert not terminal.raw()
