"""`--metrics-port`, `--metrics-socket`, `--metrics-file`: a real guard, read as Prometheus reads it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics

from tests.integration import stepping
from tests.integration.driving import children_of, gone, until
from tests.integration.test_schemas import faults

pytestmark = pytest.mark.integration

OPEN = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n"


def ask(place: Any, path: str = "/metrics", more: str = "") -> tuple[int, str]:
    """Status and body from "address:port" or a unix socket's path."""
    family = socket.AF_UNIX if isinstance(place, Path) else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(20)
        host, _, port = str(place).rpartition(":")
        client.connect(str(place) if isinstance(place, Path) else (host, int(port)))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode())
        with client.makefile("rb") as file:
            head, _, body = file.read().decode().partition("\r\n\r\n")
    return int(head.split()[1]), body


def figures(text: str) -> dict[str, float]:
    """Values by name, or `name{label}` with the labels' values."""
    found = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            label = ",".join(sample.labels.values())
            found[f"{sample.name}{{{label}}}" if label else sample.name] = sample.value
    return found


def place_of(run: Any, what: str = "port") -> Any:
    place = run.wait_for("metrics.serving", what=what)["place"]
    return Path(place) if place.startswith("/") else place


def helper_of(run: Any) -> int:
    (pid,) = [pid for pid in children_of(run.process.pid) if Path(f"/proc/{pid}/comm").read_text() == "guard-metrics\n"]
    return pid


def test_a_run_is_seen_on_a_port_a_socket_and_in_a_file(start: Callable[..., Any], tmp_path: Path) -> None:
    ends, collected = tmp_path / "metrics.sock", tmp_path / "guard.prom"
    options = [*stepping.SMALL, "--no-profiling", "--metrics-port", "0", "--metrics-socket", "metrics.sock",
               "--metrics-file", "guard.prom"]  # fmt: skip
    run = stepping.begin(start, options)
    port = place_of(run)
    assert place_of(run, "socket") == ends and place_of(run, "file") == collected
    assert port.startswith("127.0.0.1:")
    assert ends.stat().st_mode & 0o777 == 0o600
    until(lambda: figures(ask(port)[1]).get("guard_samples_total", 0) > 1, "no samples are shown")
    assert ask(port, "/readyz") == (200, "ok\n")
    assert ask(port, "/livez") == (200, "ok\n")
    small = figures(ask(ends)[1])
    stepping.tell(run, "grow 100")
    run.wait_for("state.changed", to="critical")
    until(lambda: ask(port, "/readyz")[0] == 503, "critical is ready")
    assert ask(port, "/livez")[0] == 200
    large = figures(ask(port)[1])
    assert large["guard_tree_rss_bytes"] > small["guard_tree_rss_bytes"] + 50e6
    assert large["guard_limit_bytes"] - large["guard_used_bytes"] == large["guard_headroom_bytes"]
    assert large["guard_state{critical}"] == 1 and large["guard_state{ok}"] == 0
    assert large["guard_threshold_bytes{critical}"] == 80e6
    assert large["guard_processes"] == 1
    assert large["guard_tree_rss_bytes"] == sum(v for k, v in large.items() if k.startswith("guard_process_rss_bytes"))
    _, text = ask(port, more=OPEN)
    assert text.endswith("# EOF\n")
    assert {family.name for family in openmetrics.text_string_to_metric_families(text)} >= {"guard_run", "guard_state"}
    stepping.order(run, "exit 3")
    assert run.end() == 3
    last = figures(collected.read_text())
    assert last["guard_up"] == last["guard_target_up"] == last["guard_tree_rss_bytes"] == 0
    assert last["guard_tree_rss_peak_bytes"] == run.record["peak_bytes"]
    assert last["guard_samples_total"] == run.record["samples"]
    assert not ends.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["guard.prom", "profiles"]


def test_actions_are_counted(start: Callable[..., Any]) -> None:
    run = stepping.begin(start, [*stepping.SMALL, "--metrics-port", "0"])
    port = place_of(run)
    assert figures(ask(port)[1]).get("guard_actions_total{snapshot,finished}", 0) == 0
    stepping.tell(run, "grow 60")
    run.wait_for("action.finished", action="snapshot")
    until(lambda: figures(ask(port)[1])["guard_actions_total{snapshot,finished}"] == 1, "it isn't counted")
    stepping.order(run, "exit 0")
    assert run.end() == 0


def test_a_taken_port_is_named_and_had_when_it_is_free(start: Callable[..., Any], tmp_path: Path) -> None:
    """So is a socket's name; the file is written all the while."""
    (tmp_path / "taken").write_text("mine")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        run = start(["--metrics-port", port, "--metrics-socket", "taken", "--metrics-file", "guard.prom"],
                    ["sh", "-c", "read line; exit 7"], stdin=-1)  # fmt: skip
        failed = run.wait_for("metrics.failed", what="port")
        assert "in use" in failed["reason"] and port in failed["hint"]
        assert "no socket" in run.wait_for("metrics.failed", what="socket")["reason"]
        run.wait_for("metrics.serving", what="file")
    run.wait_for("metrics.serving", what="port", place=f"127.0.0.1:{port}")
    assert ask(f"127.0.0.1:{port}")[0] == 200
    run.process.stdin.write(b"\n")
    run.process.stdin.flush()
    assert run.end() == 7
    assert len(run.named("metrics.failed")) == 2
    assert [fault for event in run.events for fault in faults("event", event)] == []
    assert (tmp_path / "taken").read_text() == "mine"


def test_the_helper_is_killed_and_later_stuck(start: Callable[..., Any], tmp_path: Path) -> None:
    """It comes back on its port with all that was counted; one that doesn't answer holds up no end."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = f"127.0.0.1:{free.getsockname()[1]}"
    run = start(["--metrics-port", place.rpartition(":")[2], "--interval", "100ms"],
                ["sh", "-c", "read line; exit 7"], stdin=-1)  # fmt: skip
    place_of(run)
    until(lambda: figures(ask(place)[1]).get("guard_samples_total", 0) >= 3, "no samples are shown")
    os.kill(helper_of(run), signal.SIGKILL)
    failed = run.wait_for("metrics.failed", what="helper")
    assert failed["again_s"] == 1.0
    run.wait_for(lambda event: event["event"] == "metrics.serving" and event["timestamp"] > failed["timestamp"])
    until(lambda: figures(ask(place)[1]).get("guard_metrics_lines_lost_total", 0) >= 1, "what was lost isn't told")
    assert figures(ask(place)[1])["guard_samples_total"] >= 3
    os.kill(helper := helper_of(run), signal.SIGSTOP)
    run.process.stdin.write(b"\n")
    run.process.stdin.flush()
    assert run.end(15.0) == 7
    os.kill(helper, signal.SIGCONT)
    until(lambda: gone(helper), "the helper outlives guard")


def test_a_life_after_the_other(start: Callable[..., Any], tmp_path: Path) -> None:
    """Counters go on, the port stays, and between two lives the target is down."""
    command = ["sh", "-c", "test -d once || { mkdir once; read line; exit 5; }; exec sleep 100"]
    run = start(["--restart", "on-failure", "--interval", "100ms", "--metrics-port", "0"], command, stdin=-1)
    port = place_of(run)
    until(lambda: figures(ask(port)[1]).get("guard_target_up") == 1, "the target isn't up")
    first = figures(ask(port)[1])
    run.process.stdin.write(b"\n")
    run.process.stdin.flush()
    until(lambda: figures(ask(port)[1])["guard_restarts_total"] == 1, "no restart is shown")
    until(lambda: figures(ask(port)[1]).get("guard_target_up") == 1, "the next life isn't up")
    second = figures(ask(port)[1])
    assert second["guard_samples_total"] > first["guard_samples_total"]
    assert second["guard_time_in_state_seconds_total{ok}"] > first["guard_time_in_state_seconds_total{ok}"]
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 143
    assert len(run.named("metrics.serving")) == 1


def test_guard_is_killed(start: Callable[..., Any], tmp_path: Path) -> None:
    """What stays in the file says so, and a socket's name is no obstacle to the next guard."""
    options = ["--metrics-file", "guard.prom", "--metrics-socket", "m.sock"]
    run = start(options, ["sleep", "100"])
    place_of(run, "file")
    helper, (target,) = helper_of(run), [pid for pid in children_of(run.process.pid) if pid != helper_of(run)]
    run.process.kill()
    run.process.wait()
    os.kill(target, signal.SIGKILL)
    until(lambda: gone(helper), "the helper outlives guard")
    assert figures((tmp_path / "guard.prom").read_text())["guard_up"] == 0
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "m.sock"))
    left.close()
    run = start(options, ["sleep", "100"])
    assert ask(place_of(run, "socket"))[0] == 200
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 143


def test_watched_processes_have_figures_and_a_crowd_keeps_nobody_out(start: Callable[..., Any]) -> None:
    """Of processes that guard didn't start; silent clients, more than are held, get no other's turn."""
    files = "import os, sys; kept = [os.dup(0) for _ in range(64)]; print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-ISc", files], stdin=-1, stdout=-1) as target, ExitStack() as crowd:
        assert target.stdin is not None and target.stdout is not None
        target.stdout.readline()
        run = start(["--metrics-port", "0", "--fd-threshold", "40", "--interval", "200ms", str(target.pid)], [],
                    subcommand="watch")  # fmt: skip
        port = place_of(run)
        host, _, number = port.rpartition(":")
        for _ in range(100):
            client = crowd.enter_context(socket.create_connection((host, int(number)), timeout=20))
            client.sendall(b"GET /metrics")
        run.wait_for("trigger.fired", trigger="fds")
        until(lambda: figures(ask(port)[1]).get("guard_trigger_firing{fds}") == 1, "no trigger is shown")
        found = figures(ask(port)[1])
        assert found["guard_triggers_fired_total{fds}"] == found["guard_processes"] == 1
        crowd.close()
        target.stdin.close()
        assert run.end() == 0


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--metrics-port=70000", b"65535"),
        ("--metrics-address=localhost", b"an IP address"),
        ("--metrics-file=guard.txt", b".prom"),
    ],
)
def test_a_bad_value_is_refused(run_guard: Callable[..., Any], option: str, said: bytes) -> None:
    done = run_guard("run", option, "--", "true")
    assert done.returncode == 2
    assert said in done.stderr


def test_without_being_asked_there_is_no_helper(start: Callable[..., Any]) -> None:
    run = start(["--interval", "100ms", "--log-level", "debug"], ["sleep", "100"])
    run.wait_for("sample.taken")
    assert len(children_of(run.process.pid)) == 1
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 143
