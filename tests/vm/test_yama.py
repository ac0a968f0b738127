"""Yama's ptrace_scope from 0 to 3, for a guard that is not root. At 3 it can't be changed any more: these come last."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import GUARD, ROOT
from tests.vm.driving import PATIENCE_S, answer, begin, ended, order, tell

SCOPE = Path("/proc/sys/kernel/yama/ptrace_scope")
NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all", "--"]
# How an action ends for which an emulated processor on a busy machine was too slow.
STARVED = ("deadline", "profiler-hung", "interrupted", "the disk hangs")
# The tree begins with some 10 MB, and what is held then is the guilty process's.
RISING = ["--env", "development", "--warning", "35", "--critical", "50", "--profiling", "700"]


def scope(value: int) -> None:
    if SCOPE.read_text().strip() != str(value):
        SCOPE.write_text(str(value))


@pytest.fixture
def open_house(tmp_path: Path) -> Path:
    """Let others reach interpreter and checkout (the machine forgets it) and make the test's directory theirs."""
    for path in (tmp_path / "x", Path(os.path.realpath(sys.executable)), Path(sys.executable), ROOT / "bin" / "guard"):
        for parent in path.parents:
            mode = parent.stat().st_mode
            if mode & 0o055 != 0o055:
                parent.chmod(stat.S_IMODE(mode) | 0o055)
    os.chown(tmp_path, NOBODY, NOBODY)
    return tmp_path


def run_as_nobody(start: Callable[..., Any], *options: str, guard: list[str] | None = None) -> Any:
    return begin(start, [*RISING, *options], guard=[*(AS_NOBODY if guard is None else guard), *GUARD])


def grow(run: Any, who: str) -> int:
    """Take 60 MiB in the target or in a worker that it forks; whose pid that is."""
    if who == "target":
        assert tell(run, "grow 60") == "grow"
        return int(run.wait_for("run.started")["pid"])
    word, pid = tell(run, "fork 60").split()
    assert (word, answer(run)) == ("worker", f"grown {pid}")
    return int(pid)


def stacks_of(start: Callable[..., Any], who: str, *options: str, guard: list[str] | None = None) -> tuple[Any, Any]:
    """A run in which `who` grew, and how the reading of its stacks ended. What only lacked time is tried again."""
    for _ in range(3):
        run = run_as_nobody(start, *options, guard=guard)
        pid = grow(run, who)
        end = ended(run, "stacks")
        assert end["pid"] == pid
        if end.get("reason") not in STARVED:
            return run, end
        run.process.terminate()
        run.end(PATIENCE_S)
    raise AssertionError(f"no time for stacks: {end}")


def ends_well(run: Any) -> None:
    """Whatever was refused: there is a snapshot, the target lives, and its code is its own."""
    end = ended(run, "snapshot")
    assert end["event"] == "action.finished" or end["reason"] in STARVED
    order(run, "exit 9")
    assert run.end(PATIENCE_S) == 9


@pytest.mark.parametrize(
    ("value", "who", "lent"),
    [(0, "worker", False), (1, "target", False), (1, "worker", True)],
)
def test_stacks_of_target_and_workers(
    start: Callable[..., Any], open_house: Path, value: int, who: str, lent: bool
) -> None:
    scope(value)
    run, finished = stacks_of(start, who)
    assert finished["event"] == "action.finished", str(finished)
    document = json.loads(Path(finished["path"]).read_text())
    names = [frame["name"] for thread in document["threads"] for frame in thread["frames"]]
    assert ("work" if who == "worker" else "<module>") in names
    assert document["lent"] is lent
    refused = [event for event in run.named("capability.missing") if event["capability"] == "ptrace"]
    assert refused == []
    ends_well(run)


def test_the_doctor_knows_what_scope_1_allows(open_house: Path) -> None:
    scope(1)
    command = [*AS_NOBODY, *GUARD, "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_S, cwd=open_house)
    found = {finding["name"]: finding for finding in json.loads(done.stdout)["capabilities"]}
    for name in ("Yama", "stacks", "stacks without stopping", "stacks of forked workers"):
        assert found[name]["status"] == "works", found[name]
    assert "ptrace_scope 1" in found["Yama"]["detail"]


def test_root_reads_at_scope_2(start: Callable[..., Any]) -> None:
    scope(2)
    _, finished = stacks_of(start, "worker", guard=[])
    assert finished["event"] == "action.finished", str(finished)


@pytest.mark.parametrize(
    ("value", "who", "options", "hint"),
    [
        (1, "target", ["--no-allow-ptrace"], "--allow-ptrace"),
        (2, "target", [], "sysctl kernel.yama.ptrace_scope=1"),
        (3, "target", [], "reboot"),
    ],
)
def test_what_is_refused_is_explained(
    start: Callable[..., Any], open_house: Path, value: int, who: str, options: list[str], hint: str
) -> None:
    scope(value)
    run, failed = stacks_of(start, who, *options)
    assert (failed["event"], failed["reason"]) == ("action.failed", "ptrace-refused")
    assert hint in failed["hint"]
    assert hint in run.wait_for("capability.missing", capability="ptrace")["hint"]
    ends_well(run)
