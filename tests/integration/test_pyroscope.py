"""`--pyroscope`: profiles of a real run reach a server that takes what Pyroscope's source says it takes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration import stepping
from tests.integration.ingest import ingest
from tests.integration.receiver import SECRETS, Receiver
from tests.integration.test_schemas import faults

pytestmark = pytest.mark.integration


def test_both_profiles_of_a_run_are_pushed(start: Callable[..., Any]) -> None:
    began = int(time.time())
    with Receiver() as server:
        variables = {"GUARD_PYROSCOPE": server.url + "/", "PYROSCOPE_AUTH_TOKEN": "s3cret-token"}
        run = stepping.begin(start, [*stepping.FULL, "--metrics-port", "0"], env=variables)
        stepping.grow_until_attributed(run)
        stepping.tell(run, "spin")
        stepping.tell(run, "grow 130")
        done = run.wait_for("action.finished", action="cpu-profile")
        pushed = run.wait_for("action.finished", action="pyroscope", state="profiling")
        assert pushed["path"] == done["path"] and pushed["pushed"] == 1
        stepping.order(run, "exit 0")
        assert run.end() == 0
    found = {each.metric: each for each in (ingest(target, body) for _, target, _, body in server.requests)}
    assert {method for method, *_ in server.requests} == {"POST"}
    assert server.headers("Authorization") == {"Bearer s3cret-token"}
    assert set(found) == {"process_cpu", "memory"}
    cpu, growth = found["process_cpu"], found["memory"]
    assert {each.service for each in found.values()} == {"stepper"}
    assert cpu.labels["environment"] == "development" and cpu.labels["state"] == "profiling"
    assert began <= cpu.started < cpu.ended <= time.time() + 1
    assert sum(cpu.stacks.values()) / 1e9 == pytest.approx(done["samples"] / done["used_rate_hz"], rel=0.01)
    assert any("spin" in stack for stack in cpu.stacks)
    (left,) = run.evidence("*-growth.folded")
    assert sum(growth.stacks.values()) == sum(int(line.rpartition(" ")[2]) for line in left.read_text().splitlines())
    assert [fault for event in run.events for fault in faults("event", event)] == []
    everything = "".join(path.read_text(errors="replace") for path in run.profiles.rglob("*") if path.is_file())
    assert "s3cret" not in everything + run.said()


@pytest.mark.parametrize(
    ("answer", "reason", "requests"),
    [(500, "pyroscope-failed", 4), (401, "pyroscope-refused", 1), (302, "redirect-refused", 1),
     (422, "profile-refused", 1), (None, "pyroscope-unreachable", 0)],
)  # fmt: skip
def test_a_server_that_does_not_take_it(
    tmp_path: Path, answer: int | None, reason: str, requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the worker then says, without a secret in it."""
    from supervisor.actions import posting, pyroscope
    from supervisor.actions.task import Task
    from supervisor.profilers.failure import Failure

    (tmp_path / "001-profiling-cpu-profile.folded").write_text("main;work 5\n")
    (tmp_path / "001-profiling-cpu-profile.meta.json").write_text(
        '{"started": "2026-11-24T11:16:44Z", "ended": "2026-11-24T11:16:54Z", "used_rate_hz": 100.0}'
    )
    monkeypatch.setattr(posting, "_FIRST_WAIT_S", 0.01)
    with Receiver(answer or 200, location=SECRETS) as server:
        if answer is None:
            server.close()
        monkeypatch.setenv("GUARD_WORK_SECRET", server.url.replace("://", "://me:pw@") + "/path-secret")
        task = Task({"action": "pyroscope", "state": "profiling", "pid": 0, "name": "", "directory": "", "run": "r",
                     "profile": str(tmp_path / "001-profiling-cpu-profile.md"), "kind": "cpu-profile",
                     "service": "app", "environment": "ci"})  # fmt: skip
        with pytest.raises(Failure) as failed:
            pyroscope.take(task)
        assert len(server.requests) == requests
        assert all(target.startswith("/path-secret/ingest?name=app.cpu%7B") for _, target, _, _ in server.requests)
    assert failed.value.reason == reason
    assert not re.search("pw|secret", failed.value.said + failed.value.hint)


def test_the_end_of_a_run_waits_no_longer_than_it_says(start: Callable[..., Any]) -> None:
    """The profile that the target's end completes is tried, and what isn't away by then is named with its file."""
    with Receiver("hang") as server:
        run = stepping.begin(start, [*stepping.SMALL, "--pyroscope", server.url])
        stepping.grow_until_attributed(run)
        stepping.order(run, "exit 3")
        server.wait_for_request()
        began = time.monotonic()
        assert run.end() == 3
        assert time.monotonic() - began < 15
        skipped = run.wait_for("action.skipped", action="pyroscope")
    assert skipped["reason"] == "it wasn't pushed in time"
    assert Path(skipped["path"]).name.endswith("-growth.md") and Path(skipped["path"]).exists()
