"""`guard run --reload`: what people run while they write it, and what may go wrong with the watching."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.driving import IN_TERMINAL, children_of, placed, until

pytestmark = pytest.mark.integration

LINES = ["--reload", "--stop-timeout", "10s"]


def script(word: str, rest: str = "signal.pause()") -> str:
    return f"import os, signal, sys, time\nprint({word!r}, flush=True)\n{rest}\n"


def says(run: Any, word: str) -> None:
    assert run.process.stdout.readline().decode().split()[:1] == [word]


def begin(start: Callable[..., Any], tmp_path: Path, *options: str, program: str = "app.py", **more: Any) -> Any:
    (tmp_path / program).write_text(script("one"))
    run = start([*LINES, *options], [sys.executable, program], **more)
    says(run, "one")
    run.wait_for("reload.watching")
    return run


def stop(run: Any) -> None:
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 143


def test_a_burst_gives_one_restart_and_what_is_ignored_none(start: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("generated/\n")
    (tmp_path / "generated").mkdir()
    run = begin(start, tmp_path, "--log-file", "guard.py")
    for number in range(200):
        (tmp_path / "generated" / f"m{number}.py").write_text("x")
    for number in range(200):
        (tmp_path / f"m{number}.py").write_text("x")
    (tmp_path / "app.py").write_text(script("two"))
    says(run, "two")
    stop(run)
    triggered = run.named("reload.triggered")
    assert len(triggered) <= 2  # a busy machine may take a breath in mid-burst
    assert sum(event["count"] for event in triggered) == 201
    assert len(run.named("run.started")) == 1 + len(triggered)


def test_a_crash_waits_for_the_next_change(start: Callable[..., Any], tmp_path: Path) -> None:
    run = begin(start, tmp_path)
    (tmp_path / "app.py").write_text(script("two", "this is no Python"))
    assert run.wait_for("reload.waiting")["code"] == 1
    (tmp_path / "app.py").write_text(script("three"))
    says(run, "three")
    stop(run)
    assert len(run.named("run.started")) == 3


def test_a_stop_while_it_waits(start: Callable[..., Any], tmp_path: Path) -> None:
    run = begin(start, tmp_path)
    (tmp_path / "app.py").write_text(script("two", "sys.exit(9)"))
    run.wait_for("reload.waiting", code=9)
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 9


def test_a_change_during_a_restart_is_not_lost(start: Callable[..., Any], tmp_path: Path) -> None:
    """The life that ends takes its time; what changes meanwhile is what the next one runs."""
    slow = "signal.signal(signal.SIGTERM, lambda *_: (print('asked', flush=True), sys.stdin.read(1), sys.exit(0)))\n"
    (tmp_path / "app.py").write_text(script("one", slow + "while True: signal.pause()"))
    read_end, write_end = os.pipe()
    run = start(LINES, [sys.executable, "app.py"], stdin=read_end)
    says(run, "one")
    run.wait_for("reload.watching")
    (tmp_path / "app.py").write_text(script("two"))
    says(run, "asked")
    (tmp_path / "app.py").write_text(script("three"))
    os.write(write_end, b"x")
    says(run, "three")
    stop(run)
    os.close(read_end)
    os.close(write_end)


def test_polling_is_said_so(start: Callable[..., Any], tmp_path: Path) -> None:
    run = begin(start, tmp_path, env={"WATCHFILES_FORCE_POLLING": "1"})
    assert run.wait_for("reload.watching")["engine"] == "polling"
    (tmp_path / "app.py").write_text(script("two"))
    says(run, "two")
    stop(run)


def test_the_watching_process_is_killed(start: Callable[..., Any], tmp_path: Path) -> None:
    """Named, begun again; what changed meanwhile is found."""
    run = begin(start, tmp_path)
    (pid,) = [pid for pid in children_of(run.process.pid) if Path(f"/proc/{pid}/comm").read_text() == "guard-reload\n"]
    os.kill(pid, signal.SIGKILL)
    run.wait_for("reload.failed")
    (tmp_path / "app.py").write_text(script("two"))
    says(run, "two")
    stop(run)


@pytest.mark.parametrize("kind", ["flask", "uvicorn", "package"])
def test_what_people_write(start: Callable[..., Any], tmp_path: Path, kind: str) -> None:
    """A server is restarted on its port with what was changed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    source = tmp_path / "web.py"
    if kind == "flask":
        text = "import flask\napp = flask.Flask(__name__)\n@app.get('/')\ndef page():\n    return 'answer one'\n"
        command = [sys.executable, "-m", "flask", "--app", "web", "run", "--port", port]
    elif kind == "uvicorn":
        text = ("async def app(scope, receive, send):\n    await send({'type': 'http.response.start', 'status': 200})\n"
                "    await send({'type': 'http.response.body', 'body': b'answer one'})\n")  # fmt: skip
        command = [sys.executable, "-m", "uvicorn", "web:app", "--port", port, "--lifespan", "off"]
    else:
        (tmp_path / "shop").mkdir()
        (tmp_path / "shop" / "__main__.py").write_text("import shop.serve\n")
        source = tmp_path / "shop" / "serve.py"
        text = ("import http.server, sys\nclass H(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n"
                "        self.send_response(200); self.end_headers(); self.wfile.write(b'answer one')\n"
                f"http.server.HTTPServer(('127.0.0.1', {port}), H).serve_forever()\n")  # fmt: skip
        command = [sys.executable, "-m", "shop"]
    source.write_text(text)
    run = start(LINES, command, env={"PYTHONPATH": str(tmp_path)})
    run.wait_for("reload.watching")
    until(lambda: answer(port) == "answer one", "the server doesn't answer")
    source.write_text(text.replace("answer one", "answer two"))
    until(lambda: answer(port) == "answer two", "the server wasn't restarted")
    run.process.send_signal(signal.SIGTERM)
    run.end()
    told = [(event["why"], event["reason"]) for event in run.named("target.stopping")]
    assert told == [("reload", "1 file changed")]
    assert run.named("reloader.recognised") == []


def answer(port: str) -> str:
    try:
        with socket.create_connection(("127.0.0.1", int(port)), timeout=5) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connection.makefile("rb").read().decode().rpartition("\r\n")[2]
    except OSError:
        return ""


def test_a_reloader_of_its_own_is_named(start: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "uvicorn").write_text("#!/bin/sh\nexec sleep 100\n")
    (tmp_path / "uvicorn").chmod(0o755)
    run = start(LINES, ["./uvicorn", "--reload", "app:app"])
    assert run.wait_for("reloader.recognised")["whose"] == "uvicorn"
    stop(run)


def test_keys_while_it_runs_and_while_it_waits(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(script("one", "sys.exit(3)"))
    (mode,) = [mode for mode in IN_TERMINAL if not mode.pid1 and mode.watch]
    with placed(mode, tmp_path, ["--reload"], [sys.executable, "app.py"]) as run:
        assert run.terminal is not None
        run.terminal.expect("reload.waiting")
        until(lambda: run.events("reload.waiting"), "it does not wait")
        (tmp_path / "app.py").write_text(script("two", "print(input(), flush=True)\nsys.exit(4)"))
        run.terminal.expect("two")
        run.terminal.type("typed\n")
        run.terminal.expect("typed.*typed")
        run.terminal.expect("reload.waiting")
        run.terminal.type("\x03")
        assert run.end() == 4


def test_it_says_what_is_missing(run_guard: Callable[..., Any], tmp_path: Path) -> None:
    done = run_guard("run", "--reload", "--reload-dir", str(tmp_path / "none"), "--", "true")
    assert done.returncode == 2
    assert b"is no directory" in done.stderr


def busy_s(pid: int) -> float:
    """Processor time that this process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def test_a_change_during_an_end_hook_wakes_once_and_is_not_lost(start: Callable[..., Any], tmp_path: Path) -> None:
    wait = tmp_path / "wait"
    os.mkfifo(wait)
    run = begin(start, tmp_path, "--on-exit", f"cat {wait}", "--reload-include", "*.py", "--hook-timeout", "50s")
    (tmp_path / "app.py").write_text(script("two"))
    run.wait_for("action.started", action="hook")
    with open(wait, "w"):  # the hook lives as long as this
        (tmp_path / "app.py").write_text(script("three"))
        before_s, until_s = busy_s(run.process.pid), time.monotonic() + 2.0
        while time.monotonic() < until_s:
            assert busy_s(run.process.pid) - before_s < 0.15, "the poll returns again and again"
            time.sleep(0.1)
    says(run, "three")
    wait.unlink()
    wait.write_text("")
    stop(run)
