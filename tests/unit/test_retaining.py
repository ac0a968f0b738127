"""When old runs make room."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from supervisor import retaining
from supervisor.model import Start


class Workers:
    """Note what begins; nothing ends by itself."""

    def __init__(self) -> None:
        self.specs: list[dict[str, Any]] = []
        self.killed = False

    def begin(self, start: Start, spec: dict[str, Any], now_s: float, extra_s: float) -> None:
        self.specs.append(spec)

    def of_kind(self, kind: str) -> Any:
        return self if self.specs and kind == retaining.KIND else None

    def kill(self) -> None:
        self.killed = True


def of(runs: int, *, evidence: tuple[str, ...] = (), keep_runs: int = 50) -> tuple[retaining.Retaining, Workers]:
    """A run that began at 100 s, with so many on the disk."""
    store = SimpleNamespace(
        run="run",
        run_path="/p/monitored/run",
        root="/p",
        root_id=[1],
        evidence=list(evidence),
        runs_on_disk=lambda: runs,
    )  # fmt: skip
    config: Any = SimpleNamespace(keep_runs=keep_runs, keep_age=1.0, keep_bytes=2)
    journal: Any = SimpleNamespace(started_s=100.0, store=store)
    workers: Any = Workers()
    return retaining.Retaining(config, journal, workers), workers


def test_it_is_done_once_a_run_when_it_is_time() -> None:
    retention, workers = of(3)
    assert retention.look(101.0, ()) == 4.0 and not workers.specs
    assert retention.look(105.0, ()) == float("inf")
    assert retention.look(106.0, ()) == float("inf")
    retention.begin_last(107.0, 5.0)
    (spec,) = workers.specs
    assert (spec["action"], spec["run"], spec["directory"]) == ("retention", "run", "/p/monitored/run")


def test_too_many_runs_go_at_once_and_an_only_one_stays() -> None:
    retention, workers = of(3, keep_runs=2)
    retention.look(100.0, ())
    assert len(workers.specs) == 1
    retention, workers = of(1)
    assert retention.look(105.0, ()) == float("inf") and not workers.specs


@pytest.mark.parametrize(("evidence", "keep_runs", "begins"), [((), 50, False), (("a.md",), 50, True), ((), 2, True)])
def test_a_run_that_ends_before_its_time_does_it_last_where_it_left_something(
    evidence: tuple[str, ...], keep_runs: int, begins: bool
) -> None:
    retention, workers = of(3, evidence=evidence, keep_runs=keep_runs)
    retention.end()
    assert retention.look(105.0, ()) == float("inf") and not workers.specs
    retention.begin_last(105.0, 5.0)
    assert bool(workers.specs) == retention.busy == begins
    retention.give_up(106.0, told=False)
    assert workers.killed == begins
