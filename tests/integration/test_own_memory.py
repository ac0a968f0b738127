"""guard's own memory: flat over samples, orphans and events, and told in run.json."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
SAMPLES, ORPHANS, EVENTS = 100_000, 10_000, 1_000
# One object a hundred samples, or twenty bytes a sample, would be seen. RSS moves by what the allocator keeps of the
# buffers in which a full flight record is halved.
MOST_BLOCKS, MOST_GROWTH_BYTES = 1_000, 2 << 20


@pytest.mark.timeout(300)
def test_memory_is_flat(tmp_path: Path) -> None:
    harness = str(Path(__file__).parent / "memory_harness.py")
    line = [sys.executable, harness, str(tmp_path / "profiles"), str(SAMPLES), str(ORPHANS), str(EVENTS)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with open(tmp_path / "stderr", "wb") as errors:
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=errors, env=environment, timeout=280, check=False)
    assert done.returncode == 0, (tmp_path / "stderr").read_bytes()[-2000:]
    lines = [words for words in map(str.split, done.stdout.decode().splitlines()) if words]
    figures = {name: [int(word) for word in words] for name, *words in lines}
    rss = {name: values[0] for name, values in figures.items()}
    assert {name: rss[name] - rss["start"] < MOST_GROWTH_BYTES for name in rss} == dict.fromkeys(rss, True), rss
    blocks = {name: values[1] for name, values in figures.items() if name != "end"}
    assert max(blocks.values()) - blocks["start"] < MOST_BLOCKS, blocks
    assert figures["end"][2] >= SAMPLES and figures["end"][3] >= ORPHANS
    (path,) = (tmp_path / "profiles").glob("monitored/*/run.json")
    record = json.loads(path.read_text())
    assert record["samples"] == figures["end"][2]
    names = {"orphan.reaped": 0, "state.changed": 0, "signal.forwarded": 0}
    for line_ in (path.parent / "events.jsonl").read_text().splitlines():
        names[json.loads(line_)["event"]] = names.get(json.loads(line_)["event"], 0) + 1
    assert names["state.changed"] >= EVENTS


def test_its_memory_is_in_the_record(start: Any) -> None:
    """As the kernel has it: what it holds at the end, and the most it ever held."""
    run = start(["--interval", "100ms"], ["cat"], stdin=subprocess.PIPE)
    run.wait_for("run.started")
    status = Path(f"/proc/{run.process.pid}/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    run.process.stdin.close()
    assert run.end() == 0
    record = run.record
    assert 4 << 20 < record["guard_rss_bytes"] <= record["guard_rss_peak_bytes"] < 48 << 20
    assert record["guard_rss_peak_bytes"] >= peak - (1 << 20)


def test_nothing_heavy_stays_in_the_process_that_watches(start: Callable[..., Any]) -> None:
    """What a module pulls in shows in the libraries that are mapped: OpenSSL alone is 3.4 MiB."""
    run = start(["--interval", "200ms"], ["sleep", "60"])
    run.wait_for("run.started")
    mapped = Path(f"/proc/{run.process.pid}/maps").read_text()
    for library in ("libcrypto", "libssl", "_psutil", "_asyncio", "_decimal", "pydantic", "libsqlite", "_random"):
        assert library not in mapped, library
    run.process.send_signal(signal.SIGTERM)
    run.end()
