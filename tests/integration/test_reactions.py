"""Hooks, signals and messages of a real run."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.receiver import Receiver

pytestmark = pytest.mark.integration

LEVELS = ["--warning", "40", "--critical", "80", "--profiling", "4000", "--interval", "100ms", "--no-profiling"]
GROWS = "import sys; kept = bytearray(100_000_000); print('grown', flush=True); sys.stdin.readline()"


def python(program: str) -> list[str]:
    return [sys.executable, "-ISc", program]


def test_a_hook_is_told_the_facts_and_runs_where_guard_was_started(start: Callable[..., Any], tmp_path: Path) -> None:
    tell = "import os, json; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('GUARD_')}), file=open('told', 'w'))"  # noqa: E501
    run = start([*LEVELS, "--on-critical", shlex.join(python(tell))], python(GROWS), stdin=-1)
    done = run.wait_for("action.finished", action="hook", state="critical")
    assert done["program"] == sys.executable
    told = json.loads((tmp_path / "told").read_text())
    run.process.stdin.close()
    assert run.end() == 0
    changed = run.wait_for("state.changed", to="critical")
    assert told.pop("GUARD_PROFILES_DIR") == str(run.profiles)
    assert told["GUARD_EVENT_STATE"] == "critical" and told["GUARD_EVENT_RUN"] == run.record["run"]
    assert int(told["GUARD_EVENT_PID"]) == run.record["pid"] == int(told["GUARD_EVENT_GUILTY_PID"])
    assert int(told["GUARD_EVENT_RSS_BYTES"]) == changed["rss_bytes"]
    assert "GUARD_WORK_SECRET" not in told


def test_the_end_has_its_hook_and_guard_its_own_code(start: Callable[..., Any], tmp_path: Path) -> None:
    hook = shlex.join(["sh", "-c", f"echo $GUARD_EVENT_CODE $GUARD_EVENT_OUTCOME >{tmp_path}/ended; exit 9"])
    run = start(["--on-exit", hook], python("raise SystemExit(5)"))
    assert run.end() == 5
    assert (tmp_path / "ended").read_text() == "5 exited\n"
    run.wait_for("action.failed", action="hook", reason="hook-failed")


def test_a_signal_ends_a_hook_that_guard_stays_for(start: Callable[..., Any]) -> None:
    run = start(["--on-exit", "sleep 987651"], ["true"])
    run.wait_for("action.started", action="hook", state="exit")
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 0
    run.wait_for("action.skipped", action="hook", reason="guard was told to end")


def test_a_signal_reaches_a_target_that_waits_for_it_and_no_other(start: Callable[..., Any]) -> None:
    handles = "import signal; signal.signal(signal.SIGUSR1, lambda *_: print('cleared', flush=True)); "
    line = [*LEVELS, "--signal-at", "critical:USR1", "--signal-at", "critical:USR2"]
    run = start(line, python(handles + GROWS), stdin=-1)
    assert [run.process.stdout.readline() for _ in range(2)] == [b"grown\n", b"cleared\n"]
    run.wait_for("action.finished", action="signal", signal="SIGUSR1")
    run.wait_for("action.skipped", action="signal", signal="SIGUSR2")
    run.process.stdin.close()
    assert run.end() == 0


def test_messages_are_posted_with_their_credentials(start: Callable[..., Any]) -> None:
    with Receiver() as receiver:
        url = receiver.url.replace("://", "://me:p%40ss@") + "/hook?x=1"
        run = start(LEVELS, python(GROWS + "; raise SystemExit(4)"), stdin=-1, env={"GUARD_NOTIFY": url})
        (first,) = receiver.wait_for_request()
        run.process.stdin.close()
        assert run.end() == 4
        last = receiver.wait_for_request(len(receiver.requests))[-1]
    assert first[:2] == ("POST", "/hook?x=1") and first[2]["Authorization"] == "Basic bWU6cEBzcw=="
    assert json.loads(first[3])["event"] == "state.changed"
    assert (json.loads(last[3])["event"], json.loads(last[3])["code"]) == ("run.exited", 4)
    assert not list(run.profiles.glob("spool/*"))
    assert "p%40ss" not in run.said()


def test_what_was_not_delivered_is_by_the_next_start(start: Callable[..., Any], tmp_path: Path) -> None:
    with Receiver(500) as receiver:
        line = ["--profiles-dir", str(tmp_path / "p")]
        env = {"GUARD_NOTIFY": receiver.url}
        run = start(line, python("raise SystemExit(1)"), env=env)
        assert run.end() == 1
        assert len(list((tmp_path / "p" / "spool").glob("*.json"))) == 1
        receiver.answer = 200
        run = start(line, python(GROWS), env=env, stdin=-1)
        run.wait_for("action.finished", action="notify", delivered=1)
        run.process.stdin.close()
        assert run.end() == 0
        assert json.loads(receiver.requests[-1][3])["code"] == 1
    assert not list((tmp_path / "p" / "spool").glob("*.json"))


def test_a_found_file_names_no_command(start: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / ".env.profiling").write_text(f"GUARD_ON_EXIT='touch {tmp_path}/ran'\nGUARD_STOP_TIMEOUT=3\n")
    run = start([], ["true"])
    assert run.end() == 0
    ignored = run.wait_for("config.ignored", variable="GUARD_ON_EXIT")
    assert "--env-file" in ignored["hint"] and not (tmp_path / "ran").exists()
    run = start(["--env-file", ".env.profiling"], ["true"])
    assert run.end() == 0 and (tmp_path / "ran").exists()


def test_a_target_never_waits_for_a_hook(start: Callable[..., Any]) -> None:
    run = start([*LEVELS, "--on-warning", "sleep 987650", "--hook-timeout", "1h"], python(GROWS), stdin=-1)
    run.wait_for("action.started", action="hook")
    run.process.stdin.close()
    run.wait_for("run.exited", code=0)
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 0


def test_what_can_not_be_had_is_told_at_the_start(start: Callable[..., Any], tmp_path: Path) -> None:
    run = start(["--on-critical", "no-such-program", "--ship", str(tmp_path / "away")], ["true"])
    assert run.end() == 0
    assert [event["setting"] for event in run.named("config.unusable")] == ["on-critical", "ship"]


def test_who_left_the_group_is_told_at_the_end(start: Callable[..., Any]) -> None:
    away = "import subprocess as s; s.Popen(['sleep', '987655'], start_new_session=True, stdout=-3, stderr=-3)"
    run = start([], python(away))
    assert run.end() == 0
    found = run.wait_for("leftover.found", count=1, name="sleep")
    assert found["hint"] == f"kill {found['pid']}"
    os.kill(found["pid"], signal.SIGKILL)
