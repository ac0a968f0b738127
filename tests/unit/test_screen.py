"""Console lines on a terminal that a program draws on: they wait, bounded, in their order."""

from __future__ import annotations

import os
import select
import termios
import tty
from collections.abc import Iterator

import pytest

from supervisor import screen, terminal
from supervisor.log import Stream


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    master, slave = os.openpty()
    yield master, slave
    os.close(master)
    os.close(slave)


def shown(master: int) -> bytes:
    """What arrived up to now."""
    data = b""
    while select.select([master], [], [], 0.05)[0]:
        data += os.read(master, 65536)
    return data


def test_a_terminal_that_is_not_the_controlling_one_is_written_at_once(ends: tuple[int, int]) -> None:
    master, slave = ends
    tty.setraw(slave)
    sink = screen.Screen(Stream(slave), slave, lambda group: True)
    sink.write(b"line\n")
    assert shown(master) == b"line\n"


def test_lines_wait_while_a_program_of_ours_draws(ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = ends
    monkeypatch.setattr(os, "tcgetpgrp", lambda fd: 77)
    cooked = termios.tcgetattr(slave)
    asked: list[int] = []
    sink = screen.Screen(Stream(slave), slave, lambda group: asked.append(group) is None)
    tty.setraw(slave)
    assert terminal.is_raw(slave)
    sink.write(b"one\n")
    sink.write(b"two\n")
    sink.release()
    assert shown(master) == b"" and set(asked) == {77}
    termios.tcsetattr(slave, termios.TCSANOW, cooked)
    sink.release()
    sink.write(b"three\n")
    assert shown(master) == b"one\r\ntwo\r\nthree\r\n"


def test_a_prompt_of_somebody_elses_holds_nothing_back(ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = ends
    monkeypatch.setattr(os, "tcgetpgrp", lambda fd: 77)
    tty.setraw(slave)
    screen.Screen(Stream(slave), slave, lambda group: False).write(b"line\n")
    assert shown(master) == b"line\n"


def test_of_too_many_the_oldest_go_and_are_counted(ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = ends
    monkeypatch.setattr(os, "tcgetpgrp", lambda fd: 77)
    stream = Stream(slave)
    sink = screen.Screen(stream, slave, lambda group: True)
    tty.setraw(slave)
    for number in range(205):
        sink.write(b"%d\n" % number)
    sink.close()
    assert shown(master).split() == [b"%d" % number for number in range(5, 205)]
    assert stream.dropped == 5
    sink.write(b"after the end\n")
    assert shown(master) == b"after the end\n"
