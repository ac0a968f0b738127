from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from supervisor.journal import Journal
from supervisor.log import Log, Stream

ROOT = Path(__file__).parents[2]


class Lines:
    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.lines.append(line)


def test_an_event_is_one_json_line_with_typed_fields() -> None:
    console, file = Lines(), Lines()
    log = Log(console, json_lines=True, level="info", files=[file.write])
    log.emit("info", "action.finished", {"pid": 3, "elapsed_s": 0.5, "path": None, "name": "a\n\x1b[31m"})
    (line,) = console.lines
    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "level": "info", "event": "action.finished", "pid": 3, "elapsed_s": 0.5, "path": None, "name": "a\n\x1b[31m",
    }  # fmt: skip
    assert line.count(b"\n") == 1 and file.lines == console.lines


def test_levels_are_the_consoles_files_get_the_rest() -> None:
    console, file = Lines(), Lines()
    log = Log(console, json_lines=True, level="error", files=[file.write])
    log.emit("info", "a.b", {})
    log.emit("debug", "a.c", {})
    assert (len(console.lines), len(file.lines)) == (0, 1)


def test_long_lines_are_cut_to_what_a_pipe_takes_whole() -> None:
    console, file = Lines(), Lines()
    log = Log(console, json_lines=True, level="info", files=[file.write])
    log.emit("info", "run.started", {"command": ["x" * 500] * 40, "path": "y" * 9000})
    assert len(console.lines[0]) <= 4096
    assert json.loads(console.lines[0])["event"] == "run.started"
    assert json.loads(file.lines[0])["command"]


def test_a_full_pipe_drops_and_counts_and_the_descriptor_stays_blocking() -> None:
    read_end, write_end = os.pipe()
    stream = Stream(write_end)
    for _ in range(100):
        stream.write(b"x" * 4000 + b"\n")
    assert stream.dropped > 0
    assert os.get_blocking(write_end)
    assert len(os.read(read_end, 1 << 20)) % 4001 == 0  # whole lines only
    os.close(read_end)
    stream.write(b"nobody reads\n")
    os.close(write_end)


def test_a_full_socket_too() -> None:
    left, right = socket.socketpair()
    stream = Stream(left.fileno())
    for _ in range(2000):
        stream.write(b"x" * 1000 + b"\n")
    assert stream.dropped > 0
    assert left.getblocking()
    left.close()
    right.close()
    stream.close()


@pytest.mark.parametrize("how", ["closed", "/dev/full"])
def test_what_cannot_be_written_is_dropped(how: str) -> None:
    fd = os.open("/dev/full" if how == "/dev/full" else "/dev/null", os.O_WRONLY)
    stream = Stream(fd)
    if how == "closed":
        os.close(fd)
        stream = Stream(fd)
    stream.write(b"x\n")
    assert stream.dropped == 1


def test_neither_asyncio_nor_rich_comes_in_and_both_can_later() -> None:
    code = (
        "import sys; from supervisor.log import Log\n"
        "Log(None, json_lines=True, level='info', files=[]).emit('info', 'a.b', {})\n"
        "print('asyncio' in sys.modules, 'rich' in sys.modules, 'typer' in sys.modules, 'psutil' in sys.modules)\n"
        "import asyncio; print(asyncio.sleep.__module__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, text=True)
    assert done.stdout == "False False False False\nasyncio.tasks\n", done.stderr


def test_a_field_may_be_called_name(tmp_path: Path) -> None:
    """An OOM kill's victim has one."""
    journal = object.__new__(Journal)
    seen: list[tuple[str, str, dict[str, object]]] = []
    journal._log = SimpleNamespace(emit=lambda level, name, fields: seen.append((level, name, fields)))  # type: ignore[assignment]
    journal.emit("error", "oom.detected", name="worker", level="x")
    assert seen == [("error", "oom.detected", {"name": "worker", "level": "x"})]
