"""Node and Bun that profile themselves, asked at launch: what they write becomes evidence like guard's own."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supervisor.analysis import formats
from supervisor.analysis.markdown import read_block
from tests.integration.driving import ROOT, until

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("described")]

BUN = ROOT / ".venv" / "npm" / "node_modules" / ".bin" / "bun"
APP = str(Path(__file__).parent / "node" / "app.ts")
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="needs node")
needs_bun = pytest.mark.skipif(not BUN.exists(), reason="needs bun from npm, which scripts/test installs")

SCRIPT = """
const { fork } = require('child_process')
function busyWork () { let sum = 0; for (let i = 0; i < 1e5; i++) sum += Math.sqrt(i); return sum }
if (!process.argv[2]) fork(__filename, ['child'])
const until = Date.now() + (process.argv[2] ? 50 : 400)
while (Date.now() < until) busyWork()
console.log(process.argv.slice(2).join())
process.exitCode = 5
"""


def told_by(run: Any) -> dict[str, Any]:
    """The document that --json prints."""
    return next(dict(json.loads(line)) for line in run.noise if line.startswith('{"schema_version"'))


@needs_node
def test_a_node_is_profiled_for_its_whole_life_with_its_children_beside(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    script = tmp_path / "work.js"
    script.write_text(SCRIPT)
    run = start(["--cpu", "--json", "--mode", "dev"], ["node", str(script)], subcommand="profile")
    assert run.end() == 5
    told = told_by(run)
    result = told["profiles"]["cpu-profile"]
    assert result["outcome"] == "ok" and result["samples"] > 50, told
    (raw,) = [Path(path) for path in told["files"] if path.endswith("cpu-profile.cpuprofile")]
    assert [path for path in told["files"] if path.endswith("-0.cpuprofile")], told["files"]
    meta = json.loads(raw.with_suffix(".meta.json").read_text())
    assert meta["engine"] == "node" and meta["whole"] and meta["others"] == 1
    assert meta["profiled_pid"] == told["pid"] and meta["command"] == ["node", str(script)]
    assert not (raw.parent / "own").exists()
    compared = formats.read(str(raw.with_suffix(".md")))
    assert compared.whole and any(name in ("busyWork", "(anonymous)") for name, _ in compared.functions)


@needs_node
def test_a_node_that_a_signal_ends_wrote_nothing_and_that_is_told(start: Callable[..., Any], tmp_path: Path) -> None:
    run = start(["--cpu", "--json"], ["node", "-e", "console.log('up'); setInterval(() => {}, 1000)"],
                subcommand="profile")  # fmt: skip
    assert run.process.stdout is not None and run.process.stdout.readline() == b"up\n"
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 128 + signal.SIGTERM
    result = told_by(run)["profiles"]["cpu-profile"]
    assert result["reason"] == "nothing-written" and "--duration" in result["hint"], result


@needs_bun
def test_a_bun_is_profiled_for_its_whole_life(start: Callable[..., Any]) -> None:
    environment = {"BUN_CPU_PROF_SAMPLING_INTERVAL": "400", "BUN_PRESERVE_SOURCE_LOCATIONS": "true"}
    run = start(["--cpu", "--json"], [str(BUN), APP, "500", "6"], subcommand="profile", env=environment)
    assert run.end() == 6
    told = told_by(run)
    result = told["profiles"]["cpu-profile"]
    assert result["outcome"] == "ok" and result["top"][0]["function"] == "busyWork", told
    assert result["top"][0]["file"].endswith("app.ts") and result["top"][0]["line"] == 2
    (own,) = [Path(path) for path in told["files"] if path.endswith(".bun.md")]
    stem = str(own).removesuffix(".bun.md")
    asked = json.loads(Path(stem + ".meta.json").read_text())["asked_rate_hz"]
    assert asked in (1250, 2500)  # the interval doubles below four cores
    for suffix in (".bun.md", ".md", ".cpuprofile", ".folded"):
        functions = formats.read(stem + suffix).functions
        assert max(functions.values(), key=lambda each: each.self_weight).function == "busyWork", suffix


@needs_node
def test_the_heap_of_a_node_at_its_end(start: Callable[..., Any], tmp_path: Path) -> None:
    script = tmp_path / "held.js"
    script.write_text(
        "const held = []\nfunction keepMany () { for (let i = 0; i < 2e4; i++) held.push(new Array(100).fill(i)) }\n"
        "keepMany(); globalThis.held = held; process.exit(4)\n"
    )
    run = start(["--heap", "--json"], ["node", str(script)], subcommand="profile")
    assert run.end() == 4
    told = told_by(run)
    result = told["profiles"]["heap-profile"]
    assert result["outcome"] == "ok" and result["top"][0]["function"] == "keepMany", told
    assert result["bytes"] > 10e6
    (raw,) = [path for path in told["files"] if path.endswith("heap-profile.heapprofile")]
    for suffix in (".heapprofile", ".folded", ".md"):
        found = formats.read(raw.replace(".heapprofile", suffix))
        assert found.unit == "bytes" and found.functions, suffix


@needs_bun
def test_the_heap_of_a_bun_at_its_end(start: Callable[..., Any]) -> None:
    run = start(["--heap", "--cpu", "--json"], [str(BUN), APP, "300", "6"], subcommand="profile")
    assert run.end() == 6
    told = told_by(run)
    assert {kind: result["outcome"] for kind, result in told["profiles"].items()} == {
        "cpu-profile": "ok",
        "heap-profile": "ok",
    }
    types = {each["function"] for each in told["profiles"]["heap-profile"]["top"]}
    assert types & {"string", "Object", "Array", "NativeExecutable", "(other types)"}, told
    (own,) = [path for path in told["files"] if path.endswith("heap-profile.bun.md")]
    summary = Path(own.replace(".bun.md", ".md")).read_text()  # Bun leaves the elements of arrays out
    assert "counts an array without its elements" in summary and read_block(summary)["data"]["rss_peak_bytes"] > 20e6
    assert "; its process held up to " in summary
    assert formats.read(own).kind == "memory"
    assert "## Types" in Path(own.replace(".bun.md", ".md")).read_text()


@needs_bun
def test_a_running_bun_is_left_alone_and_told_about(start: Callable[..., Any]) -> None:
    options = ["--warning", "10", "--critical", "15", "--profiling", "20", "--interval", "200ms"]
    run = start([*options, "--env", "development"], [str(BUN), APP, "60000"])
    skipped = run.wait_for("action.skipped", action="cpu-profile")
    assert skipped["reason"] == "bun-running" and skipped["hint"] == "guard profile -- bun SCRIPT"
    finished = run.wait_for("action.finished", action="stacks")
    assert finished["engine"] == "kernel"
    os.kill(skipped["pid"], 0)
    until(lambda: run.evidence("*-snapshot.snapshot.json"), "a snapshot")
    run.process.terminate()
    assert run.end() == 128 + signal.SIGTERM
