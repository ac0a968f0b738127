"""Processes that aren't Python: where their memory lies is named, and each of a mixed tree by its own engine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supervisor.analysis import folded
from supervisor.profilers import native
from supervisor.profilers.faults import FaultTrap
from tests.integration.conftest import GUARD
from tests.integration.driving import state_of, until
from tests.integration.stepping import order, tracer_of
from tests.integration.test_schemas import documents, faults

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("described")]

LEAKY = Path(__file__).parent / "leaks" / "leaky.c"
QUIET = ["--env", "development", "--warning", "30", "--critical", "4G", "--profiling", "5G", "--interval", "200ms"]


@pytest.fixture(scope="session")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The leaking C program."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    program = tmp_path_factory.mktemp("leaky") / "leaky"
    options = ["-O2", "-fomit-frame-pointer", "-fno-builtin", "-fno-inline", "-fno-optimize-sibling-calls", "-pthread"]
    subprocess.run([compiler, *options, "-o", str(program), str(LEAKY)], check=True, timeout=60)
    return str(program)


def growth_meta(run: Any) -> dict[str, Any]:
    """The growth's meta as it is by now; empty when there is none yet."""
    return next((dict(json.loads(path.read_text())) for path in run.evidence("*-growth.meta.json")), {})


def leak_until_told(run: Any, by: str = "") -> None:
    """Have the C program take more once it is followed, and end when that was seen, by an engine of that name."""
    until(lambda: growth_meta(run), "nobody follows it")
    for rounds in range(1, 8):
        order(run, "more")
        until(lambda: growth_meta(run)["peak_bytes"] > (rounds * 60 + 30) * 1_000_000, "its growth was not seen")  # noqa: B023 - used at once
        if growth_meta(run)["engine"].startswith(by) and growth_meta(run)["attributed_bytes"] > 40 << 20:
            break
    run.process.stdin.close()
    assert run.end() == 0


@pytest.mark.parametrize(
    ("way", "mapping", "function"),
    [
        ("heap", "[heap]", "keep_records"),
        ("buffer", "anonymous", "keep_buffer"),
        ("bss", ".bss of leaky", "fill_table"),
        ("shm", "/dev/shm/guard-leaky", "share_pages"),
        ("file", "DATA", "map_file"),
        ("threads", "thread stacks", None),
        ("arenas", "malloc arenas", "keep_records"),
    ],
)
def test_what_grew_is_named(
    start: Callable[..., Any], leaky: str, tmp_path: Path, way: str, mapping: str, function: str | None
) -> None:
    """The mapping always, the function where threads may be stopped as they take memory."""
    mapping = mapping.replace("DATA", str(tmp_path / "data"))
    run = start(QUIET, [leaky, way, "60", str(tmp_path / "data")], stdin=subprocess.PIPE)
    leak_until_told(run, "native" if function and _traces() else "")
    done = run.wait_for("action.finished", action="growth")
    suspect = run.record["suspect"]
    assert suspect["mapping"] == mapping == done["suspect"]["mapping"], done
    assert suspect["pid"] == run.record["pid"] and suspect["name"] == "leaky"
    assert suspect["share"] > 0.8 and done["enough"] and suspect["bytes"] > 20 << 20
    (profile,) = run.evidence("*-warning-growth.folded")
    first = folded.own_functions(folded.parse(profile.read_text().splitlines()))[0]
    meta = json.loads(profile.with_suffix(".meta.json").read_text())
    assert meta["mappings"][0]["name"] == mapping and meta["mappings"][0]["gained_bytes"] > 20 << 20
    text = profile.with_suffix(".md").read_text().replace("\\", "")
    assert f"of the growth is in `{mapping}`." in text
    if done["engine"] == "mappings":
        assert function is None or way == "file" or not _traces()  # pages of a file come many at a fault
        assert (first.function, first.self_weight) == (mapping, suspect["bytes"]) and "function" not in suspect
    else:
        assert suspect["function"] == first.function == function, profile.read_text()
        assert suspect["file"] == leaky and meta["longest_stop_s"] < 1


def _traces() -> bool:
    """Whether threads may be stopped at page faults here."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        try:
            FaultTrap(process.pid).close()
        except OSError:
            return False
    return native.possible()


def test_people_are_told_the_mapping(
    start: Callable[..., Any], run_guard: Callable[..., subprocess.CompletedProcess[bytes]], leaky: str
) -> None:
    """In the log, and by the post-mortem and the list of runs."""
    run = start([*QUIET, "--log-format", "console"], [leaky, "heap", "60"], stdin=subprocess.PIPE)
    leak_until_told(run)
    assert any("of the growth in [heap] →" in line or "keep_records takes" in line for line in run.noise), run.noise
    told = run_guard("postmortem", "--profiles-dir", str(run.profiles)).stdout.decode()
    assert "[heap]" in told or "keep_records" in told, told
    assert "no growth or heap evidence" not in told
    listed = run_guard("runs", "--json", "--profiles-dir", str(run.profiles)).stdout.decode()
    assert "[heap]" in listed or "keep_records" in listed, listed


def test_its_evidence_is_as_the_schemas_say(
    start: Callable[..., Any], run_guard: Callable[..., subprocess.CompletedProcess[bytes]], leaky: str
) -> None:
    """Of a critical state, too: the kernel tells where its threads wait, the post-mortem names their functions."""
    run = start([*QUIET, "--critical", "35"], [leaky, "threads", "60"], stdin=subprocess.PIPE)
    run.wait_for("action.finished", action="stacks")
    leak_until_told(run)
    by = run.wait_for("action.finished", action="stacks")["engine"]
    assert by == ("native" if native.possible() and os.geteuid() == 0 else by)
    found = list(documents(run.profiles))
    assert [fault for one in found for fault in faults(*one)] == []
    (stacks,) = [document for name, document in found if name == "stacks"]
    waiting = [thread for thread in stacks["threads"] if thread["syscall"] == "pause"]
    assert len(waiting) > 20 or not any(thread["syscall"] for thread in stacks["threads"]), stacks
    if by == "native":
        frames = [[frame["name"] for frame in thread["frames"]] for thread in waiting]
        assert sum("wait_for_ever" in names for names in frames) > 5, frames  # growth may hold the others
    examined = json.loads(run_guard("postmortem", "--json", "--profiles-dir", str(run.profiles)).stdout)
    stack = examined["running"]["stack"]
    kernel = {frame["file"] in ("[kernel]", "[syscall]") for frame in stack["frames"]}
    assert kernel == {by != "native"}, stack
    if by != "native":
        told = run_guard("postmortem", "--profiles-dir", str(run.profiles)).stdout.decode()
        assert "waiting in the kernel" in told and "[kernel]" not in told


PYTHON_LEAK = """
import sys, time
kept = []
def keep_rows():
    kept.append([str(number) * 5 for number in range(10_000)])
while len(kept) < 250:
    keep_rows()
    time.sleep(0.005)
"""
NODE_LEAK = """
const kept = [];
function keepRows() {
  const rows = [];
  for (let n = 0; n < 20000; n++) rows.push({ n, row: "row" + n });
  kept.push(rows);
}
const timer = setInterval(() => { keepRows(); if (kept.length > 120) process.exit(0); }, 15);
"""
FRONTS = {
    "sh": ["sh", "-c", '"$@"; exit $?', "front"],
    "python": [sys.executable, "-c", "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"],
    "node": ["node", "-e", "const [, file, ...words] = process.argv;"
             "process.exit(require('child_process').spawnSync(file, words, {stdio: 'inherit'}).status)"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("front", "worker", "function", "engine"),
    [
        ("sh", "python", "keep_rows", "py-spy"),
        ("node", "python", "keep_rows", "py-spy"),
        ("python", "node", "keepRows", "inspector"),
        ("node", "c", "keep_records", "native"),
        ("python", "c", "keep_records", "native"),
    ],
)
def test_each_of_a_mixed_tree_by_its_own_engine(
    start: Callable[..., Any], leaky: str, front: str, worker: str, function: str, engine: str
) -> None:
    """The guilty process decides, not the command that guard was given."""
    if "node" in (front, worker) and shutil.which("node") is None:
        pytest.skip("needs node")
    if worker == "node":
        pytest.importorskip("websocket", reason="needs websocket-client (extra node)")
    if worker == "c" and not _traces():
        pytest.skip("threads may not be stopped here")
    workers = {
        "python": [sys.executable, "-c", PYTHON_LEAK],
        "node": ["node", "-e", NODE_LEAK],
        "c": [leaky, "heap", "60"],
    }
    run = start([*QUIET, "--warning", "80"], [*FRONTS[front], *workers[worker]], stdin=subprocess.PIPE)
    if worker == "c":
        for _ in range(12):
            order(run, "more")  # it is in no hurry, and waits in between
    run.process.stdin.close()
    assert run.end() == 0
    suspect = run.record["suspect"]
    assert suspect["pid"] != run.record["pid"]
    assert suspect.get("function", "").partition(".")[0] == function, run.noise
    metas = [json.loads(path.read_text()) for path in run.evidence("*-growth.meta.json")]
    assert any(engine in meta["engine"] for meta in metas if meta["pid"] == suspect["pid"]), metas


@pytest.fixture(scope="session")
def java_leak(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The leaking Java program as a command, but for how many MB."""
    if shutil.which("java") is None or shutil.which("javac") is None:
        pytest.skip("needs a JDK")
    folder = tmp_path_factory.mktemp("java")
    subprocess.run(["javac", "-d", str(folder), str(LEAKY.with_name("Leak.java"))], check=True, timeout=100)
    return ["java", "-Xmx600m", "-XX:TieredStopAtLevel=1", "-cp", str(folder), "Leak"]


def test_the_java_class_that_grew_is_named(start: Callable[..., Any], java_leak: list[str]) -> None:
    run = start([*QUIET, "--warning", "70", "--critical", "140"], [*java_leak, "90"], stdin=subprocess.PIPE)
    assert run.process.stdout.readline().startswith(b"kept")
    run.wait_for("action.finished", action="stacks")
    until(lambda: growth_meta(run).get("censuses", 0) >= 2, "its objects were not counted twice")
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 143
    done = run.wait_for("action.finished", action="growth")
    assert done["suspect"]["type"] == "Leak$Session" and done["suspect"]["mapping"] == "anonymous", done
    assert run.record["suspect"]["type"] == "Leak$Session"
    found = list(documents(run.profiles))
    assert [fault for one in found for fault in faults(*one)] == []
    (stacks,) = [document for name, document in found if name == "stacks"]
    assert stacks["engine"] == "jcmd"
    assert any(frame["name"] == "Leak.main" for thread in stacks["threads"] for frame in thread["frames"])
    assert growth_meta(run)["classes"][0]["name"] == "byte[]"


def test_the_classes_of_a_running_java_are_its_heap_profile(java_leak: list[str], tmp_path: Path) -> None:
    with subprocess.Popen([*java_leak, "90"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as java:
        try:
            assert java.stdout is not None and java.stdout.readline().startswith(b"kept")
            line = ["profile", "--heap", "--duration", "3s", "--profiles-dir", str(tmp_path), "--pid", str(java.pid)]
            done = subprocess.run([*GUARD, *line], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        finally:
            java.kill()
    (page,) = tmp_path.glob("*/*/*-heap-profile.md")
    text = page.read_text()
    assert "`Leak$Session`" in text.partition("## Types")[2] and "classes. It tells no code" in text
    found = list(documents(tmp_path))
    assert [fault for one in found for fault in faults(*one)] == []
    (meta,) = (document for name, document in found if name == "meta")
    assert (meta["engine"], meta["frames"]) == ("class histogram", "types")


BUSY = """
#include <stdio.h>
#include <stdlib.h>
volatile unsigned long sum;
__attribute__((noinline)) void hash_rows(void) { for (int n = 0; n < 3000000; n++) sum = sum * 31 + n; }
__attribute__((noinline)) void sort_rows(void) { for (int n = 0; n < 1000000; n++) sum = sum * 17 + n; }
int main(int count, char **words) {
    long most = count > 1 ? atol(words[1]) : -1;
    puts("ready");
    fflush(stdout);
    for (long turn = 0; turn != most; turn++) { hash_rows(); sort_rows(); }
    return 3;
}
"""


def test_the_busy_function_of_machine_code(
    run_guard: Callable[..., subprocess.CompletedProcess[bytes]], leaky: str, tmp_path: Path
) -> None:
    """Three fourths of the time are in one function; the process goes on untraced."""
    if not _traces():
        pytest.skip("threads may not be stopped here")
    (tmp_path / "busy.c").write_text(BUSY)
    subprocess.run(["cc", "-O2", "-fomit-frame-pointer", "-o", "busy", "busy.c"], cwd=tmp_path, check=True, timeout=60)
    with subprocess.Popen([str(tmp_path / "busy")], stdout=subprocess.PIPE) as target:
        assert target.stdout is not None and target.stdout.readline() == b"ready\n"
        try:
            options = [
                "--duration",
                "3s",
                "--overhead-budget",
                "50%",
                "--profiles-dir",
                str(tmp_path / "profiles"),
                "--pid",
                str(target.pid),
            ]
            done = run_guard("profile", "--cpu", *options)
            assert done.returncode == 0, done.stderr
            assert state_of(target.pid) in "RS" and tracer_of(target.pid) == 0
        finally:
            target.kill()
    (profile,) = tmp_path.glob("profiles/*/*/*.folded")
    counts = folded.parse(profile.read_text().splitlines())
    shares = {each.function: each.self_weight / sum(counts.values()) for each in folded.by_function(counts)}
    assert shares["hash_rows"] > shares["sort_rows"] > 0.05, counts
    meta = json.loads(profile.with_suffix(".meta.json").read_text())
    assert meta["engine"] == "native stacks" and meta["nonblocking"] is False and meta["samples"] >= 10


@pytest.mark.parametrize("shell", [False, True], ids=["itself", "below-a-shell"])
def test_machine_code_is_profiled_from_its_launch_to_its_end(
    run_guard: Callable[..., subprocess.CompletedProcess[bytes]], tmp_path: Path, shell: bool
) -> None:
    if not _traces():
        pytest.skip("threads may not be stopped here")
    (tmp_path / "busy.c").write_text(BUSY)
    subprocess.run(["cc", "-O2", "-fomit-frame-pointer", "-o", "busy", "busy.c"], cwd=tmp_path, check=True, timeout=60)
    program = str(tmp_path / "busy")
    command = ["sh", "-c", f"{program} 100; {program} 100; exit 3"] if shell else [program, "200"]
    place = ["--profiles-dir", str(tmp_path / "profiles")]
    done = run_guard("profile", "--cpu", "--overhead-budget", "50%", *place, "--", *command)
    assert done.returncode == 3, done.stderr
    (profile,) = tmp_path.glob("profiles/*/*/*.folded")
    counts = folded.parse(profile.read_text().splitlines())
    assert folded.by_function(counts)[0].function == "hash_rows", counts
    meta = json.loads(profile.with_suffix(".meta.json").read_text())
    assert meta["engine"] == "native stacks" and meta["whole"] is True and meta["samples"] >= 10
    assert (meta["profiled_pid"] != meta["pid"]) is shell
