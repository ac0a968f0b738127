"""The live view's lines, whatever the run is called and however small the terminal."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

import pytest

from supervisor import live
from supervisor.errors import UsageError

RUN = "20261124T111644Z-app-42-abcd"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "monitored" / RUN
    place.mkdir(parents=True)
    record = {"run": RUN, "command": ["app", "\x1b[2J"], "pid": 43, "guard_pid": 42, "outcome": None,
              "started": "2026-11-24T11:16:44Z", "limit_bytes": 100_000_000,
              "thresholds": {"warning": {"bytes": 60_000_000, "metric": "rss", "source": "x"}}}  # fmt: skip
    (place / "run.json").write_text(json.dumps(record))
    lines = [
        {"at": f"2026-11-24T11:16:{44 + n}Z", "elapsed_s": n, "state": "warning", "rss_bytes": 10_000_000 * (n + 1),
         "use_bytes": 10_000_000 * (n + 1), "limit_bytes": 100_000_000, "slope_bytes_per_s": 10_000_000,
         "processes": [{"pid": 43, "name": "a\u202e\n", "rss_bytes": 9_000_000 * (n + 1), "cpu_ticks": 50 * n},
                       {"pid": 50 + n, "name": "short", "rss_bytes": None, "cpu_ticks": 1}], "process_count": 30}
        for n in range(8)
    ]  # fmt: skip
    (place / "flight.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    events: list[dict[str, Any]] = [
        {"event": "action.started", "action": "growth", "pid": 43, "state": "warning"},
        {"event": "action.started", "action": "snapshot", "pid": 43, "state": "warning"},
        {"event": "action.finished", "action": "snapshot", "pid": 43, "state": "warning"},
        {"event": "action.skipped", "action": "stacks", "pid": 43, "state": "critical", "reason": "headroom\x1b"},
        {"event": "action.started", "action": ["odd"], "pid": {}},
    ]
    (place / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return place


def test_figures(folder: Path) -> None:
    root = str(folder.parents[1])
    with open(folder / "run.json") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = live.View(root, None).look()
    assert found["running"] and found["outcome"] == "running" and found["state"] == "warning"
    assert found["headroom_bytes"] == 20_000_000 and found["time_to_limit_s"] == 2.0
    first, second = found["processes"]
    assert first["slope_bytes_per_s"] == 9_000_000 and first["cpu_share"] == pytest.approx(0.5, abs=0.01)
    assert second["cpu_share"] is None and second["rss_bytes"] is None
    shown = [(each["action"], each["how"]) for each in found["actions"]]
    assert shown[:3] == [("snapshot", "finished"), ("stacks", "skipped"), ("growth", "running")]


def test_the_peak_is_the_whole_flights(folder: Path) -> None:
    """It lies further back than the tail that is read each time."""
    line = json.loads((folder / "flight.jsonl").read_text().splitlines()[0])
    early = json.dumps(line | {"rss_bytes": 99_000_000}) + "\n"
    (folder / "flight.jsonl").write_text(early + (json.dumps(line) + "\n") * 2000)
    view = live.View(str(folder.parents[1]), "latest")
    assert view.look()["peak_bytes"] == 99_000_000 and len(view.look()["history"]) == 60
    with open(folder / "flight.jsonl", "a") as file:
        file.write(json.dumps(line | {"rss_bytes": 120_000_000}) + "\n")
    assert view.look()["peak_bytes"] == 120_000_000


def test_without_a_live_run(folder: Path) -> None:
    root = str(folder.parents[1])
    with pytest.raises(UsageError) as caught:
        live.View(root, None)
    assert f"guard top {RUN}" in caught.value.hint
    found = live.View(root, "latest").look()
    assert not found["running"] and found["outcome"] == "guard-killed"
    assert "guard postmortem" in live.text(found)


@pytest.mark.parametrize(("width", "height"), [(100, 40), (80, 24), (20, 5), (1, 1)])
def test_it_fits_and_nothing_gets_through(folder: Path, width: int, height: int) -> None:
    lines = live.text(live.View(str(folder.parents[1]), "latest").look(), width, height).splitlines()
    assert len(lines) <= height and all(len(line) <= width for line in lines)
    assert not set("".join(lines)) & set("\x1b\u202e\r\x07")


def test_a_run_of_which_nothing_is_left(folder: Path) -> None:
    view = live.View(str(folder.parents[1]), "latest")
    for name in ("run.json", "flight.jsonl", "events.jsonl"):
        (folder / name).unlink()
    assert live.text(view.look())
