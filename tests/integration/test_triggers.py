"""Triggers beside memory on a real server that becomes slow, hangs, refuses, works too much or leaks."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration import stepping
from tests.integration.driving import children_of, gone, until
from tests.integration.test_schemas import documents, faults

pytestmark = pytest.mark.integration

SERVER = [sys.executable, str(Path(__file__).parent / "serving.py")]
OFTEN = ["--probe-interval", "50ms", "--profile-duration", "1s", "--env", "development"]


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def begin(start: Callable[..., Any], *options: str, **popen: Any) -> Any:
    """The server under guard; {} in an option is its address."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    line = [option.replace("{}", f"127.0.0.1:{port}") for option in options]
    run = start(line, [*SERVER, str(port)], stdin=subprocess.PIPE, **popen)
    assert run.process.stdout.readline() == b"ready\n"
    run.wait_for("run.started")
    return run


def end(run: Any) -> None:
    """The target's own code, whatever triggers did; and all that was written is as its schema says."""
    stepping.order(run, "exit 7")
    assert run.end() == 7
    assert [fault for one in documents(run.profiles) for fault in faults(*one)] == []


def evidence(run: Any, category: str, kind: str) -> Path:
    (path,) = run.profiles.glob(f"{category}/*/*-{kind}")
    return Path(path)


def document(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def functions(stacks: Path) -> set[str]:
    return {frame["name"] for thread in document(stacks)["threads"] for frame in thread["frames"]}


def prober(run: Any, other: int = 0) -> int:
    """The process that probes, another than that one."""

    def look() -> int | None:
        for pid in children_of(run.process.pid):
            if pid != other and Path(f"/proc/{pid}/comm").read_text().strip() == "guard-probe":
                return pid
        return None

    return int(until(look, "the process that probes"))


def test_slow_answers_are_profiled_with_their_waiting(start: Callable[..., Any]) -> None:
    run = begin(start, *OFTEN, "--probe", "http://{}/", "--response-time", "100ms")
    stepping.tell(run, "slow 0.3")
    fired = run.wait_for("trigger.fired", trigger="latency")
    assert fired["value"] >= 0.3 and fired["threshold"] == 0.1 and fired["pid"] == run.wait_for("run.started")["pid"]
    run.wait_for("action.finished", action="stacks", trigger="latency")
    run.wait_for("action.finished", action="cpu-profile", trigger="latency")
    end(run)
    assert "answer_slowly" in evidence(run, "auto-latency", "cpu-profile.folded").read_text()
    meta = document(evidence(run, "auto-latency", "cpu-profile.meta.json"))
    assert (meta["trigger"], meta["state"], meta["idle"]) == ("latency", "ok", True)
    assert functions(evidence(run, "auto-latency", "stacks.stacks.json")) & {"answer_slowly", "select"}
    flight = [
        json.loads(line) for line in (next(run.profiles.glob("monitored/*/flight.jsonl"))).read_text().splitlines()
    ]
    assert flight[-1]["response_p95_s"] >= 0.3 and flight[-1]["probe"] == "answered"
    assert run.named("probe.failed") == []


def test_a_standstill_leaves_the_stacks_of_every_thread(start: Callable[..., Any]) -> None:
    run = begin(start, *OFTEN, "--probe", "http://{}/", "--probe-timeout", "200ms", "--stall", "1s",
                "--response-time", "150ms")  # fmt: skip
    stepping.tell(run, "threads 2")
    until(lambda: "answered" in run_flight(run), "an answer")
    stepping.tell(run, "stand")
    assert run.wait_for("probe.failed")["outcome"] == "timeout"
    assert run.wait_for("trigger.fired", trigger="stall")["value"] >= 1
    assert run.wait_for("trigger.fired", trigger="latency")["value"] == "timeout"
    finished = run.wait_for("action.finished", action="stacks", trigger="stall")
    stacks = Path(finished["path"])
    assert {"wait_for_door", "sleep_here", "main"} <= functions(stacks)
    assert (len(document(stacks)["threads"]), stacks.parent.parent.name) == (4, "auto-latency")
    end(run)


def run_flight(run: Any) -> str:
    return "".join(path.read_text() for path in run.profiles.glob("monitored/*/flight.jsonl"))


@pytest.mark.parametrize(
    ("order", "outcome", "said"), [("refuse", "refused", "refused"), ("status 503", "failed", "503")]
)
def test_a_refusal_and_a_bad_answer_are_no_times(
    start: Callable[..., Any], order: str, outcome: str, said: str
) -> None:
    run = begin(start, *OFTEN, "--probe", "http://{}/", "--response-time", "1ms", "--interval", "100ms")
    until(lambda: "answered" in run_flight(run), "an answer")
    stepping.tell(run, order)
    failed = run.wait_for("probe.failed", outcome=outcome)
    assert said in failed["reason"] and failed["level"] == "warning"
    until(lambda: f'"probe":"{outcome}"' in run_flight(run), "a line of flight.jsonl that says so")
    end(run)


def test_work_and_leaks_are_seen_with_who_and_where(start: Callable[..., Any]) -> None:
    """Each trigger on its own account, in one run."""
    run = begin(start, "--env", "development", "--profile-duration", "1s", "--cpu-threshold", "15%",
                "--cpu-window", "1s", "--fd-threshold", "100", "--thread-threshold", "12")  # fmt: skip
    pid = run.wait_for("run.started")["pid"]
    for order, trigger, unit in (
        ("fds 150", "fds", "count"),
        ("threads 20", "threads", "count"),
        ("spin", "cpu", "share"),
    ):
        stepping.tell(run, order)
        fired = run.wait_for("trigger.fired", trigger=trigger)
        assert (fired["pid"], fired["unit"]) == (pid, unit) and fired["value"] >= fired["threshold"]
    for trigger, action in (("fds", "snapshot"), ("threads", "snapshot"), ("cpu", "cpu-profile")):
        finished = run.wait_for(lambda event: event["event"] in ("action.finished", "action.failed"),
                                action=action, trigger=trigger)  # fmt: skip
        assert finished["event"] == "action.finished", finished
    end(run)
    assert "spin_here" in evidence(run, "auto-cpu", "cpu-profile.folded").read_text()
    (first, _) = sorted(run.profiles.glob("auto-latency/*/*.snapshot.json"))
    (process,) = document(first)["processes"]
    assert process["fds"] > 150
    assert document(first)["descriptors"][0] == {"what": SERVER[1], "count": 150}


def test_children_that_come_and_go_count_though_no_sample_meets_them(start: Callable[..., Any]) -> None:
    run = begin(start, "--cpu-threshold", "10%", "--cpu-window", "1s", "--no-profiling")
    stepping.tell(run, "spawn")
    assert run.wait_for("trigger.fired", trigger="cpu")["value"] >= 0.1
    end(run)


def test_a_prober_that_is_killed_comes_again_and_the_target_never_notices(start: Callable[..., Any]) -> None:
    run = begin(start, *OFTEN, "--probe", "http://me:s3cret@{}/?key=s3cret", "--interval", "100ms")
    first = prober(run)
    until(lambda: "answered" in run_flight(run), "an answer")
    assert b"s3cret" not in Path(f"/proc/{first}/cmdline").read_bytes()
    assert b"s3cret" not in Path(f"/proc/{first}/environ").read_bytes()
    os.kill(first, signal.SIGKILL)
    failed = run.wait_for("prober.failed")
    assert failed["again_s"] == 1.0 and failed["hint"]
    assert prober(run, first)
    end(run)
    kept = [path for path in run.profiles.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
    assert kept == []


def test_watched_processes_have_triggers_too(start: Callable[..., Any]) -> None:
    program = (
        "import os\nfiles = [os.open('/dev/null', 0) for _ in range(50)]\nprint('ready', flush=True)\nwhile 1: pass"
    )
    target = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert target.stdout is not None
        assert target.stdout.readline() == b"ready\n"
        options = ["--fd-threshold", "40", "--cpu-threshold", "15%", "--cpu-window", "1s", "--no-profiling"]
        run = start([*options, str(target.pid)], [], subcommand="watch")
        assert run.wait_for("trigger.fired", trigger="fds")["pid"] == target.pid
        assert run.wait_for("trigger.fired", trigger="cpu")["pid"] == target.pid
        run.wait_for("action.finished", action="snapshot", trigger="fds")
    finally:
        target.kill()
        target.wait()
        if target.stdout is not None:
            target.stdout.close()
    assert run.end() == 0


def test_pressure_is_told_of_or_that_there_is_none(start: Callable[..., Any]) -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while 1: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        run = start(["--pressure", "cpu:some:0.5%"], ["sleep", "1000"])
        told = run.wait_for(lambda event: event["event"] in ("trigger.fired", "capability.missing"))
        if told["event"] == "trigger.fired":
            assert (told["trigger"], told["unit"]) == ("pressure:cpu:some", "percent")
            assert told["whose"] in ("cgroup", "machine")
        else:
            assert told["capability"] == "pressure cpu:some" and told["hint"]
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_a_cooldown_outlives_a_life_that_crashed(start: Callable[..., Any]) -> None:
    run = begin(start, "--thread-threshold", "8", "--interval", "200ms", "--restart", "on-failure", "--no-profiling")
    stepping.tell(run, "threads 10")
    run.wait_for("action.finished", action="snapshot", trigger="threads")
    stepping.order(run, "exit 3")
    run.wait_for("restart.scheduled")
    assert run.process.stdout.readline() == b"ready\n"
    stepping.tell(run, "threads 10")
    skipped = run.wait_for("action.skipped", action="snapshot", trigger="threads")
    assert "cooldown" in skipped["reason"]
    assert len(run.named("trigger.fired")) == 2
    stepping.order(run, "exit 0")
    assert run.end() == 0


def test_lives_have_a_prober_each_and_leave_none(start: Callable[..., Any]) -> None:
    run = begin(start, *OFTEN, "--probe", "tcp://{}", "--restart", "always")
    first = prober(run)
    stepping.order(run, "exit 3")
    run.wait_for("restart.scheduled")
    second = prober(run, first)
    assert gone(first)
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 143
    until(lambda: gone(second), "the end of the last prober")
