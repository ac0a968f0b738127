"""guard ctl against real runs: what it answers, what it does, who may ask, what hostile clients can't."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.driving import GUARD, Mode, needs_namespaces

pytestmark = pytest.mark.integration

BUSY = [sys.executable, "-c", "while True: sum(range(10_000))"]


def ctl(run: Any, *words: str, code: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    line = [*GUARD, "ctl", *words, "--profiles-dir", str(run.profiles)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, **options)
    assert done.returncode == code, (done, run.said())
    return done


def asked(run: Any, *words: str, code: int = 0) -> dict[str, Any]:
    return dict(json.loads(ctl(run, *words, "--json", code=code).stdout))


@contextmanager
def connection(run: Any) -> Iterator[socket.socket]:
    (folder,) = run.profiles.glob("monitored/*")
    fd = os.open(folder, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as found:
        found.connect(f"/proc/self/fd/{fd}/ctl.sock")
        found.settimeout(30)
        os.close(fd)
        yield found


def test_state_and_evidence_on_demand(start: Callable[..., Any]) -> None:
    """Below every threshold, past cooldown and budget; the paths come first in a form for `less $(...)`."""
    run = start(["--max-actions", "1"], BUSY)
    begun = run.wait_for("run.started")
    state = asked(run, "state")
    assert (state["state"], state["pid"], state["life"], state["run"]) == ("ok", begun["pid"], 1, begun["run"])
    assert state["processes"][0]["pid"] == begun["pid"] and state["headroom_bytes"] > 0
    assert not state["can_restart"] and run.record["ctl"] == "ctl.sock"
    for _ in range(2):
        paths = ctl(run, "stacks").stdout.splitlines()
        assert paths[0].endswith(".stacks.json") and all(os.path.isfile(path) for path in paths)
    paths = ctl(
        run, begun["run"][:15], "profile", "--duration", "300ms", "--pid", str(begun["pid"])
    ).stdout.splitlines()
    assert paths[0].endswith("-ok-cpu-profile.md")
    meta = json.loads(Path(next(path for path in paths if path.endswith(".meta.json"))).read_text())
    assert meta["reason"] == f"asked by guard ctl (uid {os.getuid()})" and meta["state"] == "ok"
    finished = run.wait_for("action.finished", action="cpu-profile")
    assert finished["path"] == paths[0]
    request = run.wait_for("ctl.request", request="profile")
    assert (request["uid"], request["pid"]) == (os.getuid(), begun["pid"])
    assert "under way" in ctl(run, "snapshot", "--no-wait").stdout
    run.wait_for("action.finished", action="snapshot")
    assert "none of the tree" in ctl(run, "stacks", "--pid", str(os.getpid()), code=1).stderr
    assert "--restart on-failure" in ctl(run, "restart", code=1).stderr
    refused = asked(run, "restart", code=1)
    assert refused["ok"] is False and refused["hint"]
    run.wait_for("ctl.refused", request="restart")
    assert ctl(run, "stop").stdout == "stopped, code 143\n"
    assert run.end() == 143
    assert run.wait_for("run.exited")["outcome"] == "stopped"
    (folder,) = run.profiles.glob("monitored/*")
    assert not (folder / "ctl.sock").exists()
    evidence = run.record["evidence"]
    assert set(paths) <= set(evidence)
    assert "has ended" in ctl(run, begun["run"], "state", code=2).stderr
    assert "no guard runs" in ctl(run, "state", code=2).stderr


def test_another_life_is_asked_for_and_told(start: Callable[..., Any]) -> None:
    """Each life has its own socket; a stop is final, with patience and KILL for who doesn't listen."""
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(99)"
    )
    run = start(["--restart", "on-failure", "--stop-timeout", "200ms"], [sys.executable, "-c", deaf])
    assert run.process.stdout.readline() == b"deaf\n"
    first = run.wait_for("run.started")
    answer = asked(run, "restart")
    second = run.wait_for("run.started", run=answer["run"])
    assert answer["life"] == 2 and answer["pid"] == second["pid"] and answer["run"] != first["run"]
    assert run.wait_for("target.stopping")["why"] == "restart"
    assert run.wait_for("run.exited")["outcome"] == "replaced"
    assert run.process.stdout.readline() == b"deaf\n"
    assert asked(run, "last", "state")["can_restart"]
    stopped = asked(run, "stop")
    assert (stopped["outcome"], stopped["code"], stopped["signal"]) == ("stopped", 137, "SIGKILL")
    assert run.end() == 137 and len(run.named("run.started")) == 2


def test_between_two_lives_it_answers_too(start: Callable[..., Any]) -> None:
    """Waiting for a change of files, which may never come: another life can be asked for, and the end."""
    pytest.importorskip("watchfiles")
    run = start(["--reload"], [sys.executable, "-c", "raise SystemExit(3)"])
    run.wait_for("reload.waiting")
    while asked(run, "state")["state"] != "waiting":
        pass
    assert "isn't running" in ctl(run, "stacks", code=1).stderr
    assert asked(run, "restart")["life"] == 2
    while asked(run, "state")["state"] != "waiting":
        pass
    stopped = asked(run, "stop")
    assert (stopped["outcome"], stopped["code"]) == ("stopped", 3)
    assert run.end() == 3


def test_hostile_clients_cost_nothing(start: Callable[..., Any]) -> None:
    """Silent ones, endless ones, ones that go away: signals are forwarded, the next client is served, memory stays."""
    run = start([], ["sleep", "100"])
    run.wait_for("run.started")
    state = asked(run, "state")
    with connection(run) as silent, connection(run) as endless:
        with pytest.raises(ConnectionError):
            while True:
                endless.sendall(b"x" * 65536)
        for line in (b"{}\n", b"\0" * 100 + b"\n", b'{"verb": "stacks", "pid": 1}\n'):
            with connection(run) as one:
                one.sendall(line)
        for _ in range(50):
            with connection(run):
                pass
        assert asked(run, "state")["pid"] == state["pid"]
        assert b"no request came" in silent.recv(4096) and silent.recv(1) == b""
    refused = run.wait_for(lambda event: event["event"] == "ctl.refused" and "verb takes" in event["reason"])
    assert refused["uid"] == os.getuid()
    with connection(run) as gone:
        gone.sendall(b'{"verb": "profile", "duration_s": 0.2}\n')
    run.wait_for("ctl.request", request="profile")
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 143
    assert run.named("guard.failed") == []


def as_nobody(path: Path, request: bytes) -> str:
    """What another user is told there."""
    read_end, write_end = os.pipe()
    folder = os.open(path.parent, os.O_RDONLY)
    child = os.fork()
    if child == 0:
        try:
            os.setresuid(65534, 65534, 65534)
            with socket.socket(socket.AF_UNIX) as found:
                os.fchdir(folder)
                found.connect(path.name)
                with contextlib.suppress(BrokenPipeError):
                    found.sendall(request)
                os.write(write_end, found.recv(4096))
        except OSError as error:
            os.write(write_end, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(write_end)
    os.close(folder)
    with open(read_end) as said:
        text = said.read()
    os.waitpid(child, 0)
    return text


def test_only_the_same_user_and_root_may_ask(start: Callable[..., Any]) -> None:
    """The folder's and the socket's mode keep others out; let in all the same, they are told apart."""
    if os.geteuid() != 0:
        pytest.skip("it takes root to be two users")
    run = start([], ["sleep", "100"])
    run.wait_for("run.started")
    (path,) = run.profiles.glob("monitored/*/ctl.sock")
    assert as_nobody(path, b'{"verb": "stop"}\n') == "PermissionError"
    os.chmod(path.parent, 0o711)
    assert as_nobody(path, b'{"verb": "stop"}\n') == "PermissionError"
    os.chmod(path, 0o666)
    assert "only the user" in as_nobody(path, b'{"verb": "stop"}\n')
    assert run.wait_for("ctl.refused")["uid"] == 65534
    assert run.process.poll() is None


def test_as_pid_1_it_is_asked_from_beside(tmp_path: Path) -> None:
    """As `docker exec CONTAINER guard ctl` does: another process of the container's namespaces."""
    from tests.integration.driving import children_of, placed, until

    mode = Mode(True, False, True)
    needs_namespaces(mode)
    with placed(mode, tmp_path, ["--profiles-dir", str(tmp_path / "profiles")], ["sleep", "100"]) as run:
        run.ready()
        until(lambda: run.events("run.started"), "it doesn't start")
        enter = ["nsenter", "-t", str(children_of(run.process.pid)[0]), "-p", "-m"]
        line = [*enter, *GUARD, "ctl", "--profiles-dir", str(tmp_path / "profiles")]
        done = subprocess.run([*line, "snapshot"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and ".snapshot.json" in done.stdout, done
        done = subprocess.run([*line, "stop"], capture_output=True, text=True, timeout=60)
        # With the init of a PID namespace all of it ends, who asked for that included.
        assert done.stdout == "stopped, code 143\n" or done.returncode in (-9, 137)
        assert run.end() == 143


def test_processes_that_are_only_watched_are_not_ended(start: Callable[..., Any]) -> None:
    with subprocess.Popen(["sleep", "100"]) as sleeper:
        run = start([str(sleeper.pid)], [], subcommand="watch")
        run.wait_for("run.started")
        assert asked(run, "state")["processes"][0]["pid"] == sleeper.pid
        assert "didn't start them" in ctl(run, "stop", code=1).stderr
        sleeper.kill()
    assert run.end() == 0


def test_a_stop_ends_a_hook_that_guard_stays_for(start: Callable[..., Any]) -> None:
    """As a signal does; who asked is told how the run ended."""
    run = start(["--on-exit", "sleep 987653"], ["sh", "-c", "exit 3"])
    run.wait_for("action.started", action="hook", state="exit")
    assert asked(run, "stop")["code"] == 3
    assert run.end() == 3
    run.wait_for("action.skipped", action="hook", reason="guard was told to end")
