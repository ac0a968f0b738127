"""guard around what people run: web servers, pools, shells, other languages; and around what goes wrong with them."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.stepping import LARGE, SMALL, own

pytestmark = pytest.mark.integration

# -- web servers ------------------------------------------------------------------------------------------------------

LEAKY = """
import hashlib
import os
import threading

kept = []
lock = threading.Lock()


def remember_response(number: int) -> None:
    kept.append([f"{number} {line} {'.' * 70}" for line in range(8_000)])


def render(number: int) -> str:
    digest = hashlib.sha256()
    for _ in range(300):
        digest.update(b"page" * 16_384)
    return digest.hexdigest()


def handle(path: str) -> str:
    \"\"\"/PID leaks in the process of that pid; the answer is the pid of the process that answered.\"\"\"
    number = len(kept)
    render(number)
    if path.strip("/") in (str(os.getpid()), "all"):
        remember_response(number)
    return str(os.getpid())
"""

GUNICORN_CONFIG = """
workers = 2
bind = "127.0.0.1:0"
worker_class = "sync"

def when_ready(server):
    print("port", server.LISTENERS[0].sock.getsockname()[1], flush=True)
"""
GUNICORN_APP = """
import leaky

def app(environ, start_response):
    body = leaky.handle(environ["PATH_INFO"]).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""
FLASK_APP = """
import flask
import leaky
from werkzeug.serving import make_server

app = flask.Flask(__name__)

@app.get("/<path:path>")
def page(path):
    return leaky.handle(path)

server = make_server("127.0.0.1", 0, app, threaded=True)
print("port", server.server_port, flush=True)
server.serve_forever()
"""
UVICORN_APP = """
import asyncio
import socket
import leaky
import uvicorn

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = (await asyncio.to_thread(leaky.handle, scope["path"])).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})

listener = socket.create_server(("127.0.0.1", 0))
print("port", listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning")).run(sockets=[listener])
"""


def ask(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        return int(connection.getresponse().read())
    finally:
        connection.close()


def port_of(run: Any) -> int:
    word, port = run.process.stdout.readline().split()
    assert word == b"port"
    return int(port)


def ask_until_attributed(run: Any, port: int, path: str, least_bytes: int = 80_000_000) -> None:
    """Requests until this much of the growth has stacks."""
    for _ in range(1500):
        ask(port, path)
        if any(sum(each.self_weight for each in own(path)) >= least_bytes for path in run.evidence("*growth.folded")):
            return
    raise AssertionError(f"too little was attributed: {run.evidence('*')} {run.events}")


@contextlib.contextmanager
def asking(port: int, path: str) -> Iterator[None]:
    """Requests by another client meanwhile, one after the other."""
    over = threading.Event()

    def ask_on() -> None:
        while not over.is_set():
            ask(port, path)

    client = threading.Thread(target=ask_on)
    client.start()
    try:
        yield
    finally:
        over.set()
        client.join()


def test_gunicorn_and_the_worker_that_leaks(start: Callable[..., Any], tmp_path: Path) -> None:
    """Two workers, one leaks: that one's pid is guilty, attributed and the suspect; never the other's."""
    (tmp_path / "leaky.py").write_text(LEAKY)
    (tmp_path / "web.py").write_text(GUNICORN_APP)
    (tmp_path / "gunicorn.conf.py").write_text(GUNICORN_CONFIG)
    run = start(LARGE, [sys.executable, "-m", "gunicorn", "web:app"])
    port = port_of(run)
    with socket.create_connection(("127.0.0.1", port)) as first:  # one worker waits for what this one has to say
        leaking = ask(port, "/")
        first.sendall(b"GET / HTTP/1.0\r\n\r\n")
        innocent = int(first.makefile("rb").read().split()[-1])
    assert leaking != innocent
    with asking(port, "/"):  # a single client would be served by the same worker again and again
        ask_until_attributed(run, port, f"/{leaking}", 60_000_000)
    run.wait_for("action.finished", action="snapshot", state="warning")
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 0
    changed = [event for event in run.named("state.changed") if event["from"] == "ok"]
    assert [event["guilty_pid"] for event in changed] == [leaking]
    assert innocent not in {event["pid"] for event in run.named("action.started")}
    suspect = run.record["suspect"]
    assert suspect["pid"] == leaking
    assert suspect["function"].split(".")[0] == "remember_response", suspect
    snapshot = json.loads(run.evidence("*-warning-snapshot.snapshot.json")[0].read_text())
    assert {process["pid"] for process in snapshot["processes"]} >= {leaking, innocent, run.record["pid"]}


@pytest.mark.parametrize("preload", [False, True], ids=["each-loads", "preload"])
def test_gunicorn_with_a_heap_agent(start: Callable[..., Any], tmp_path: Path, preload: bool) -> None:
    """Workers are forked after the agent started; each has its own, and the one that leaks is asked."""
    (tmp_path / "leaky.py").write_text(LEAKY.replace("range(300)", "range(1)"))
    (tmp_path / "web.py").write_text(GUNICORN_APP)
    (tmp_path / "gunicorn.conf.py").write_text(f"{GUNICORN_CONFIG}preload_app = {preload}\n")
    command = [sys.executable, "-W", "error", "-m", "gunicorn", "web:app"]
    run = start([*LARGE, "--warning", "110", "--critical", "140", "--heap-agent", "census"], command)
    port = port_of(run)
    leaking = ask(port, "/")
    for _ in range(3000):
        ask(port, f"/{leaking}")
        time.sleep(0.01)
        if run.evidence("*-critical-heap-profile.md"):
            break
    run.wait_for("action.finished", action="heap-profile", state="critical")
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 0
    done = [event for event in run.named("action.finished") if event["action"] == "heap-profile"]
    assert [(event["state"], event["pid"]) for event in done] == [("warning", leaking), ("critical", leaking)]
    assert (done[1]["grew"]["type"], done[1]["grew"]["holder"]) == ("str", "leaky.kept")
    assert (run.record["suspect"]["pid"], run.record["suspect"]["grew"]["holder"]) == (leaking, "leaky.kept")


@pytest.mark.parametrize("source", [FLASK_APP, UVICORN_APP], ids=["flask", "uvicorn"])
def test_a_web_app_with_threads(start: Callable[..., Any], tmp_path: Path, source: str) -> None:
    """Requests are served by threads that come and go (Flask) or by a pool (uvicorn): the function is found."""
    (tmp_path / "leaky.py").write_text(LEAKY)
    (tmp_path / "web.py").write_text(source)
    run = start(SMALL, [sys.executable, "web.py"])
    port = port_of(run)
    ask_until_attributed(run, port, "/all")
    run.process.send_signal(signal.SIGTERM)
    run.end()
    assert run.record["outcome"] == "stopped"
    suspect = run.record["suspect"]
    assert suspect["pid"] == run.record["pid"]
    assert suspect["function"].split(".")[0] == "remember_response", suspect


# -- process trees ----------------------------------------------------------------------------------------------------

POOL = """
import multiprocessing, os, sys

kept = []

def keep_rows(number):
    kept.append([f"{number} {row} {'.' * 70}" for row in range(8_000)])

def work(number):
    if os.getpid() == leaker.value:
        keep_rows(number)
    else:
        sum(range(300_000))
    return os.getpid()

def set_up(shared):
    global leaker
    leaker = shared

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    leaker = context.Value("i", 0)
    with context.Pool(2, set_up, (leaker,)) as pool:
        leaker.value = max(each.pid for each in pool._pool)
        print("leaker", leaker.value, flush=True)
        kept_by_leaker = sum(pid == leaker.value for pid in pool.imap_unordered(work, range(10_000)) if grow(pid))
"""


def test_a_pool_with_one_leaking_worker(start: Callable[..., Any], tmp_path: Path) -> None:
    program = tmp_path / "pool.py"
    loop = """        grown = 0
        while grown < 200:
            grown += pool.apply(work, (grown,)) == leaker.value
"""
    program.write_text(POOL[: POOL.index("        kept_by_leaker")] + loop)
    run = start(SMALL, [sys.executable, str(program)])
    word, pid = run.process.stdout.readline().split()
    assert word == b"leaker"
    assert run.end() == 0
    assert {event["pid"] for event in run.named("action.started") if event["action"] == "growth"} == {int(pid)}
    suspect = run.record["suspect"]
    assert suspect["pid"] == int(pid)
    assert suspect["function"].split(".")[0] == "keep_rows", suspect


INNER = """
import os
print("inner", os.getpid(), flush=True)
kept = []

def read_rows(number):
    kept.append([f"{number} {row} {'.' * 70}" for row in range(8_000)])

for number in range(150):
    read_rows(number)
    sum(range(400_000))
"""


def test_a_shell_around_python_around_python(start: Callable[..., Any], tmp_path: Path) -> None:
    """The innermost process is found, and the shell's exit code is guard's."""
    (tmp_path / "inner.py").write_text(INNER)
    (tmp_path / "outer.py").write_text("import subprocess, sys\nsubprocess.run([sys.executable, 'inner.py'])\n")
    (tmp_path / "job.sh").write_text(f"#!/bin/sh\n'{sys.executable}' outer.py\nexit 7\n")
    run = start(SMALL, ["sh", "job.sh"])
    word, pid = run.process.stdout.readline().split()
    assert word == b"inner"
    assert run.end() == 7
    assert run.record["pid"] != int(pid)
    assert run.record["suspect"]["pid"] == int(pid)
    assert run.record["suspect"]["function"].split(".")[0] == "read_rows"


def test_plain_sleep_stays_ok(start: Callable[..., Any]) -> None:
    run = start([*SMALL, "--log-level", "debug"], ["sleep", "1"])
    assert run.end() == 0
    assert len(run.named("sample.taken")) >= 3
    assert not run.named("state.changed") and not run.named("action.started") and not run.evidence("*")
    assert run.record["highest_state"] == "ok" and run.record["suspect"] is None
    assert {name for name, value in run.record["time_in_state_s"].items() if value} == {"ok"}


NODE = """
const kept = [];
for (let number = 0; number < 200; number++) kept.push(Buffer.alloc(1000000, number));
process.stdin.resume();
process.stdin.on("end", () => process.exit(5));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_node_is_not_python(start: Callable[..., Any]) -> None:
    """py-spy isn't asked: the kernel tells where its threads wait."""
    run = start(LARGE, ["node", "-e", NODE], stdin=subprocess.PIPE)
    run.wait_for("action.finished", action="stacks")
    (path,) = run.evidence("*-critical-stacks.stacks.json")
    threads = json.loads(path.read_text())["threads"]
    assert any(thread["syscall"] in ("epoll_wait", "epoll_pwait") for thread in threads), threads
    run.wait_for("action.finished", action="snapshot", state="critical")
    run.process.stdin.close()
    assert run.end() == 5
    assert run.record["suspect"]["name"] == "node"
    assert "function" not in run.record["suspect"]
