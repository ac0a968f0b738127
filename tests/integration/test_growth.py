"""Growth attribution on real programs: who took the memory is named, from a run that knew nothing of it before."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supervisor.analysis import folded, markdown
from tests.integration.leaks import LEAKS

pytestmark = pytest.mark.integration

DIRECTORY = Path(__file__).parent / "leaks"
OPTIONS = ["--env", "development", "--warning", "40", "--critical", "80", "--profiling", "120", "--interval", "200ms",
           "--profile-duration", "2s"]  # fmt: skip
QUIET = ["--env", "development", "--warning", "40", "--critical", "4G", "--profiling", "5G", "--interval", "200ms"]


def is_of(function: str, name: str) -> bool:
    """Whether a qualified name is the function's or that of a comprehension or closure in it."""
    return name in function.split(".")


def first_own(path: Path) -> folded.FunctionTotal:
    return folded.own_functions(folded.parse(path.read_text().splitlines()))[0]


@pytest.mark.parametrize(("leak", "function"), LEAKS.items())
def test_the_leaking_function_is_named_first(start: Callable[..., Any], leak: str, function: str) -> None:
    run = start(OPTIONS, [sys.executable, str(DIRECTORY / f"{leak}.py"), "250"])
    assert run.end() == 0
    (profile,) = run.evidence("*-warning-growth.folded")
    counts = folded.parse(profile.read_text().splitlines())
    first = folded.own_functions(counts)[0]
    assert is_of(first.function, function), profile.read_text()
    assert first.file is not None and first.file.endswith(f"{leak}.py")
    assert first.self_weight > sum(counts.values()) / 2

    suspect = run.record["suspect"]
    assert is_of(suspect["function"], function)
    assert suspect["pid"] == run.record["pid"]
    assert suspect["file"].endswith(f"{leak}.py") and suspect["line"] > 0
    assert suspect["bytes"] == first.self_weight and 0.5 < suspect["share"] <= 1
    assert str(profile) in run.record["evidence"]

    done = run.wait_for("action.finished", action="growth")
    text = profile.with_suffix(".md").read_text()
    assert done["enough"] and "Not enough evidence" not in text
    assert f"This rests on {done['samples']} stacks and " in text
    assert markdown.read_block(text)["data"]["attributed_bytes"] == done["attributed_bytes"] == sum(counts.values())

    meta = json.loads(profile.with_suffix(".meta.json").read_text())
    assert meta["kind"] == "growth" and meta["state"] == "warning" and meta["pid"] == suspect["pid"]
    assert meta["samples"] == done["samples"] >= 5 and meta["run"] == run.record["run"]
    assert meta["command"][-1] == "250" or meta["command"] == run.record["command"]
    assert meta["overhead_share"] < 0.2
    scope = json.loads(profile.with_suffix(".speedscope.json").read_text())
    assert sum(sum(entry["weights"]) for entry in scope["profiles"]) == sum(counts.values())
    assert ET.parse(profile.with_suffix(".svg")).getroot().tag == "{http://www.w3.org/2000/svg}svg"

    for path in [profile.parent, *profile.parent.iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


STEPS = """
import sys
kept = [bytearray(b"x" * 60_000_000)]
for line in sys.stdin:
    kept.append(bytearray(b"y" * 1_500_000))
    print("grown", flush=True)
"""


def test_little_growth_is_not_enough_evidence(start: Callable[..., Any]) -> None:
    """One or two stacks after the warning carry no conclusion, and the summary says so first."""
    run = start(QUIET, [sys.executable, "-c", STEPS], stdin=subprocess.PIPE)
    run.wait_for("action.started", action="growth")
    run.wait_for("action.finished", action="snapshot")
    for _ in range(40):  # the first attributed stack is written at once
        run.process.stdin.write(b"more\n")
        run.process.stdin.flush()
        assert run.process.stdout.readline() == b"grown\n"
        deadline = time.monotonic() + 1
        while not run.evidence("*-growth.folded") and time.monotonic() < deadline:
            time.sleep(0.01)
        if run.evidence("*-growth.folded"):
            break
    run.process.stdin.close()
    assert run.end() == 0
    done = run.wait_for("action.finished", action="growth")
    assert 1 <= done["samples"] < 5 and done["enough"] is False
    (summary,) = run.evidence("*-growth.md")
    first_note = summary.read_text().split("\n\n")[1]
    assert first_note.startswith("Not enough evidence: at least 5 stacks")
    assert f"there are {done['samples']} stacks and " in first_note
    assert "function" not in run.record["suspect"]
    assert run.record["suspect"]["pid"] == run.record["pid"]


CHURN = """
import hashlib, mmap, sys
until = int(sys.argv[1]) * 1_000_000
kept = []
page = b"p" * 1_000_000

def resize_picture():
    with mmap.mmap(-1, 20_000_000) as picture:
        for _ in range(20):
            picture.write(page)
        hashlib.sha256(page * 3).digest()

def keep_session():
    kept.append(bytearray(b"s" * 400_000))

def compute():
    for _ in range(8):
        hashlib.sha256(page).digest()

steps = [globals()[name] for name in sys.argv[2].split(",")]
while len(kept) * 400_000 < until:
    for step in steps:
        step()
"""


BUFFERS = """
import hashlib, mmap, sys
until = int(sys.argv[1]) * 1_000_000
kept = []

def checksum():
    for _ in range(60):
        with mmap.mmap(-1, 65_536) as buffer:
            buffer.write(b"page" * 16_384)
            hashlib.sha256(buffer).digest()

def keep_session():
    kept.append([b"s%d" % number * 20 for number in range(2_000)])

while len(kept) * 320_000 < until:
    checksum()
    keep_session()
"""


@pytest.mark.parametrize("order", ["resize_picture,compute,keep_session", "resize_picture,keep_session,compute"])
def test_a_churning_innocent_beside_a_slow_leak(start: Callable[..., Any], tmp_path: Path, order: str) -> None:
    """What is given back at once isn't charged, however much of it there is. When it is nearly all that was caught, so
    that too little is known of what stays, nobody is named."""
    program = tmp_path / "churn.py"
    program.write_text(CHURN)
    run = start(QUIET, [sys.executable, str(program), "120", order])
    assert run.end() == 0
    (told,) = run.evidence("*-growth.meta.json")
    meta = json.loads(told.read_text())
    assert meta["temporary_samples"] > 5 * meta["samples"]
    assert "function" not in run.record["suspect"] or is_of(run.record["suspect"]["function"], "keep_session")


def test_a_small_buffer_taken_again_and_again(start: Callable[..., Any], tmp_path: Path) -> None:
    """It faults far more often than what stays, and is too small to show in the resident size."""
    program = tmp_path / "buffers.py"
    program.write_text(BUFFERS)
    run = start(QUIET, [sys.executable, str(program), "120"])
    assert run.end() == 0
    (profile,) = run.evidence("*-growth.folded")
    assert is_of(first_own(profile).function, "keep_session"), profile.read_text()


def test_a_second_leaker_is_named_as_well(start: Callable[..., Any]) -> None:
    """It grows while the state that the first one brought is still there."""
    each = [f"{sys.executable} {DIRECTORY / leak}.py 120" for leak in ("dict_cache", "listener_list")]
    run = start(QUIET, ["sh", "-c", "; ".join(each)])
    assert run.end() == 0
    found = [first_own(profile).function for profile in run.evidence("*-warning-growth.folded")]
    assert len(found) == 2 and is_of(found[0], "render_page") and is_of(found[1], "subscribe"), found
