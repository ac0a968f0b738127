"""When batches begin: one at a time, what is asked meanwhile in one more, earlier runs last."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.shipper import COST_BYTES, Shipper


class Workers:
    """Workers that only note what began."""

    def __init__(self) -> None:
        self.began: list[dict[str, Any]] = []
        self.secrets: list[str | None] = []
        self.running: SimpleNamespace | None = None
        self.broken = False

    def of_kind(self, kind: str) -> SimpleNamespace | None:
        return self.running if kind == "ship" else None

    def begin(self, start: Any, spec: dict[str, Any], now_s: float, extra_s: float, *, secret: str) -> None:
        if self.broken:
            raise OSError(11, "Resource temporarily unavailable")
        self.began.append(spec)
        self.secrets.append(secret)
        self.running = SimpleNamespace(start=start, started_s=now_s, timed_out=False, killed=0)
        self.running.kill = lambda worker=self.running: setattr(worker, "killed", worker.killed + 1)

    @property
    def scopes(self) -> list[str]:
        return [spec["scope"] or "earlier" for spec in self.began]


class Journal:
    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        self.told: set[str] = set()
        self.started_s = 1000.0
        self.run = "run"
        self.store = SimpleNamespace(run_path="/p/monitored/run", root="/p", root_id=[1, 2])

    def emit(self, level: str, name: str, **fields: Any) -> None:
        self.events.append((level, name, fields))

    def once(self, key: str) -> bool:
        new = key not in self.told
        self.told.add(key)
        return new

    def levels(self, name: str) -> list[str]:
        return [level for level, event, _ in self.events if event == name]


URL = "https://me:s3cret@a.example/in?sig=s3cret"
NOW_S = 1000.5


class Case:
    def __init__(self, **settings: Any) -> None:
        self.workers, self.journal = Workers(), Journal()
        config: Any = SimpleNamespace(ship=URL, ship_timeout=10.0, evidence_mode=0o600, **settings)
        self.shipper = Shipper(config, self.journal, self.workers)  # type: ignore[arg-type]

    def end(self, **result: Any) -> None:
        worker, self.workers.running = self.workers.running, None
        outcome = {"outcome": "ok", "files": 1, "bytes": 10, "leftovers": False} | result
        self.shipper.ended(worker, outcome)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: NOW_S)


def test_one_at_a_time_and_what_is_asked_meanwhile_in_one_more() -> None:
    case = Case()
    for scope in ("evidence", "evidence", "all", "evidence"):
        case.shipper.want(scope, NOW_S)
    assert case.workers.scopes == ["evidence"]
    case.end()
    assert case.workers.scopes == ["evidence", "all"]
    case.end()
    assert case.workers.scopes == ["evidence", "all"]


def test_the_secret_goes_beside_the_arguments_and_into_no_event() -> None:
    case = Case()
    case.shipper.want("all", NOW_S)
    case.end(outcome="failed", reason="not-allowed", said="403", hint="")
    assert case.workers.secrets == [URL]
    assert "s3cret" not in repr((case.workers.began, case.journal.events))


def test_earlier_runs_come_after_a_while_and_step_aside() -> None:
    case = Case()
    assert case.shipper.look(NOW_S, ()) == 0.5
    assert case.workers.scopes == []
    case.shipper.look(NOW_S + 1, ())
    assert case.workers.scopes == ["earlier"]
    case.shipper.want("all", NOW_S + 1)
    case.shipper.look(NOW_S + 1, ())
    assert case.workers.running is not None and case.workers.running.killed == 1
    case.end(outcome="failed", reason="worker-killed")
    assert case.workers.scopes == ["earlier", "all"]
    case.end()
    assert case.workers.scopes == ["earlier", "all", "earlier"]
    case.end(leftovers=True)
    case.shipper.look(NOW_S + 9, ())
    assert len(case.workers.scopes) == 3
    assert case.journal.levels("ship.failed") == []


def test_a_run_in_other_hands_is_looked_at_again() -> None:
    case = Case()
    case.shipper.look(NOW_S + 1, ())
    case.end(leftovers=False)
    assert case.shipper.look(NOW_S, ()) == 30.0
    case.shipper.look(NOW_S + 30, ())
    assert case.workers.scopes == ["earlier", "earlier"]


def test_a_cause_is_told_once_and_tried_again_later() -> None:
    case = Case()
    case.shipper.want("evidence", NOW_S)
    for wait_s in (30, 60, 120):
        case.end(outcome="failed", reason="unreachable", said="refused", hint="", tries=5)
        began = len(case.workers.began)
        case.shipper.look(NOW_S + wait_s - 0.1, ())
        assert len(case.workers.began) == began
        case.shipper.look(NOW_S + wait_s, ())
        assert len(case.workers.began) == began + 1
    case.end(outcome="failed", reason="timeout", said="slow", hint="")
    assert case.journal.levels("ship.failed") == ["warning", "debug", "debug", "warning"]


def test_new_evidence_does_not_wait_for_the_time_after_a_failure() -> None:
    case = Case()
    case.shipper.want("evidence", NOW_S)
    case.end(outcome="failed", reason="unreachable", said="refused", hint="")
    case.shipper.look(NOW_S + 1, ())
    assert len(case.workers.began) == 1
    case.shipper.want("all", NOW_S + 1)
    assert case.workers.scopes == ["evidence", "all"]


def test_it_waits_for_room() -> None:
    case = Case()
    case.shipper.headroom_bytes = COST_BYTES["http"] - 1
    case.shipper.want("all", NOW_S)
    assert case.workers.scopes == []
    case.shipper.headroom_bytes = COST_BYTES["http"]
    case.shipper.look(NOW_S, ())
    assert case.workers.scopes == ["all"]


def test_a_worker_that_can_not_be_started_is_told() -> None:
    case = Case()
    case.workers.broken = True
    case.shipper.want("all", NOW_S)
    assert case.journal.events[-1][1] == "ship.failed"
    assert case.journal.events[-1][2]["reason"] == "worker"


def test_at_the_end_what_runs_is_dropped_and_all_goes_once_more() -> None:
    case = Case()
    case.shipper.want("evidence", NOW_S)
    case.shipper.end()
    case.end(outcome="failed", reason="worker-killed")
    assert case.workers.scopes == ["evidence"]
    case.shipper.begin_last(NOW_S + 2, 10.0)
    assert (case.workers.scopes, case.workers.began[-1]["leftovers"]) == (["evidence", "final"], True)
    assert case.workers.began[-1]["time_s"] == 9.5
    assert case.shipper.busy
    case.end()
    assert not case.shipper.busy


@pytest.mark.parametrize(("told", "reason"), [(True, "interrupted"), (False, "deadline")])
def test_the_last_batch_is_given_up(told: bool, reason: str) -> None:
    case = Case()
    case.shipper.end()
    case.shipper.begin_last(NOW_S, 10.0)
    case.shipper.give_up(NOW_S + 0.1, told=told)
    assert case.workers.running is not None and case.workers.running.killed == 1 and case.workers.running.timed_out
    case.end(outcome="failed", reason="deadline")
    assert case.journal.events[-1][2]["reason"] == reason
    assert not case.shipper.busy


def test_without_patience_nothing_begins() -> None:
    case = Case()
    case.shipper.end()
    case.shipper.begin_last(NOW_S, 0.0)
    assert case.workers.began == [] and not case.shipper.busy


@pytest.mark.parametrize(
    ("url", "tries", "tried"),
    [
        ("/mnt/x", 0, "copy to /mnt/x"),
        ("https://a.example/in", 0, "PUT to https://a.example/…"),
        ("https://a.example/in", 5, "PUT to https://a.example/… (5 tries)"),
    ],
)
def test_what_was_tried_is_told_as_it_was(url: str, tries: int, tried: str) -> None:
    config: Any = SimpleNamespace(ship=url, ship_timeout=10.0, evidence_mode=0o600)
    case = Case()
    case.shipper = Shipper(config, case.journal, case.workers)  # type: ignore[arg-type]
    case.shipper.want("all", NOW_S)
    case.end(outcome="failed", reason="no-directory", said="", hint="", **({"tries": tries} if tries else {}))
    assert case.journal.events[-1][2]["tried"] == tried
