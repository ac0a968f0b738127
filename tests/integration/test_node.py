"""A running Node, unprepared: its inspector is opened, what it holds and does is named, and it is closed again."""

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

from supervisor.actions import node_heap_profile
from supervisor.analysis import folded, formats
from supervisor.profilers import node, sockets
from tests.integration.driving import until

pytestmark = [
    pytest.mark.usefixtures("described"),
    pytest.mark.integration,
    pytest.mark.skipif(not shutil.which("node"), reason="needs node"),
]

LEAK = str(Path(__file__).parent / "node" / "leak.js")
# A port that nobody else has: other Nodes of this machine have the usual one.
NODE = ["node", "--inspect-port=0"]
QUIET = ["--env", "development", "--warning", "60", "--critical", "4G", "--profiling", "5G", "--interval", "200ms"]


def closed(pid: int) -> bool:
    """Whether the process listens nowhere."""
    return not sockets.own_listeners(pid)


def test_a_leaking_node_ends_with_the_function_that_leaks(start: Callable[..., Any]) -> None:
    run = start(QUIET, [*NODE, LEAK, "100"])
    assert run.end() == 7, run.noise
    done = run.wait_for("action.finished", action="growth")
    assert done["engine"] == "inspector" and done["enough"], done
    suspect = run.record["suspect"]
    assert suspect["function"] == "rememberRequest" and suspect["file"].endswith("leak.js"), suspect
    assert suspect["line"] == 6 and suspect["share"] > 0.8 and suspect["name"] == "node"
    (profile,) = run.evidence("*-warning-growth.folded")
    first = folded.own_functions(folded.parse(profile.read_text().splitlines()))[0]
    assert first.function == "rememberRequest"
    assert profile.with_suffix(".md").read_text().splitlines()[2].startswith("`rememberRequest` allocated ")
    raw = formats.read(str(profile.with_suffix(".heapprofile")))
    assert raw.unit == "bytes" and raw.total > 20e6
    meta = json.loads(profile.with_suffix(".meta.json").read_text())
    assert meta["heap_interval_bytes"] >= 65536 and not meta["inspector_was_open"]
    assert meta["node_memory"]["end"]["heap_bytes"] > meta["node_memory"]["start"]["heap_bytes"]


def test_what_grows_outside_the_heap_is_named_by_its_mapping(start: Callable[..., Any]) -> None:
    """V8 samples only the objects that hold Buffers: too few of them to name anybody."""
    run = start(QUIET, [*NODE, str(Path(LEAK).with_name("buffers.js"))], stdin=subprocess.PIPE)

    def gained() -> int:
        metas = [json.loads(path.read_text()) for path in run.evidence("*-growth.meta.json")]
        return int(metas[0]["attributed_bytes"]) if metas else 0

    until(lambda: gained() > 20 << 20, "its growth is put in place as it grows")
    run.process.stdin.close()
    assert run.end() == 7, run.noise
    suspect = run.record["suspect"]
    assert suspect["mapping"] == "anonymous" and suspect["share"] > 0.8, suspect
    assert "function" not in suspect and suspect.get("held_by", "keepBuffer").startswith("keepBuffer"), suspect
    (summary,) = run.evidence("*-growth.md")
    told = summary.read_text()
    assert told.split("\n\n")[1].endswith(" of the growth is in `anonymous`."), told
    assert "outside the JavaScript heap" in told


def test_the_inspector_is_closed_when_the_watcher_ends_the_action(start: Callable[..., Any]) -> None:
    run = start(QUIET, [*NODE, LEAK, "80", "stay"])
    begun = run.wait_for("action.started", action="growth")
    until(lambda: run.evidence("*-growth.folded"), "a first reading")
    assert not closed(begun["pid"])
    worker = next(pid for pid in children(run.process.pid) if pid != begun["pid"])
    os.kill(worker, signal.SIGINT)  # as the watcher does
    done = run.wait_for("action.finished", action="growth")
    assert done["suspect"]["function"] == "rememberRequest"
    until(lambda: closed(begun["pid"]), "the inspector is closed")
    os.kill(begun["pid"], 0)


def test_the_inspector_closes_itself_when_the_worker_is_killed(start: Callable[..., Any]) -> None:
    run = start(QUIET, [*NODE, LEAK, "80", "stay"])
    begun = run.wait_for("action.started", action="growth")
    (folded_file,) = until(lambda: run.evidence("*-growth.folded"), "a first reading")
    worker = next(pid for pid in children(run.process.pid) if pid != begun["pid"])
    assert not closed(begun["pid"])
    os.kill(worker, signal.SIGKILL)
    failed = run.wait_for("action.failed", action="growth")
    assert failed["reason"] == "worker-killed" and folded_file.read_text()
    until(lambda: closed(begun["pid"]), "its watch sees that nobody is connected")
    os.kill(begun["pid"], 0)


def test_an_inspector_that_was_open_stays_open(start: Callable[..., Any]) -> None:
    run = start(QUIET, ["node", "--inspect=127.0.0.1:0", LEAK, "80", "stay"])
    begun = run.wait_for("action.started", action="growth")
    until(lambda: run.evidence("*-growth.folded"), "a first reading")
    worker = next(pid for pid in children(run.process.pid) if pid != begun["pid"])
    os.kill(worker, signal.SIGINT)
    run.wait_for("action.finished", action="growth")
    assert not closed(begun["pid"])
    (meta,) = run.evidence("*-growth.meta.json")
    assert json.loads(meta.read_text())["inspector_was_open"]
    assert "stays open" in meta.with_name(meta.name.replace(".meta.json", ".md")).read_text()


def test_what_a_node_does_and_where_it_stands(
    start: Callable[..., Any], run_guard: Callable[..., subprocess.CompletedProcess[bytes]]
) -> None:
    """stacks and cpu-profile of a state, beside growth that holds the inspector open."""
    options = ["--warning", "50", "--critical", "55", "--profiling", "60", "--interval", "200ms"]
    options += ["--env", "development", "--profile-duration", "2s"]
    run = start(options, [*NODE, LEAK, "100", "stay"], env={"NODE_TEST_SECRET": "hunter2"})
    done = run.wait_for("action.finished", action="stacks")
    assert done["engine"] == "inspector"
    (path,) = run.evidence("*-stacks.stacks.json")
    assert "hunter2" not in path.read_text()
    document = json.loads(path.read_text())
    assert document["node"]["version"].startswith("v") and document["node"]["memory"]["rss"] > 40e6
    assert document["node"]["handles"]["timer"] >= 1
    (main,) = [thread for thread in document["threads"] if thread["os_thread_id"] == done["pid"]]
    assert all(frame["filename"] for frame in main["frames"]) and len(document["threads"]) > 3

    done = run.wait_for("action.finished", action="cpu-profile")
    assert done["ended_early"] is None and done["samples"] > 0, done
    (raw,) = run.evidence("*-cpu-profile.cpuprofile")
    names = {key[0] for key in formats.read(str(raw)).functions}
    assert names & {"busyWork", "tick", "rememberRequest"}
    own = formats.read(str(raw.with_suffix(".folded")))
    assert own.total == done["samples"] and own.seconds_per_weight == pytest.approx(1 / done["used_rate_hz"])
    until(lambda: run.evidence("*-growth.folded"), "a reading")
    run.process.terminate()
    run.end()
    assert run.record["suspect"]["function"] == "rememberRequest"
    # Its threads' kernel frames tell a reader nothing of the program.
    told = run_guard("postmortem", "--profiles-dir", str(run.profiles)).stdout.decode()
    assert "[kernel]" not in told and ("leak.js" in told.partition("running ")[2] or "no JavaScript ran" in told), told


def test_a_worker_thread_that_leaks_and_is_busy_is_named(start: Callable[..., Any]) -> None:
    """And it ends, and the process with it, though guard had a session with it."""
    options = [*QUIET, "--critical", "80", "--profiling", "100", "--profile-duration", "1s"]
    run = start(options, [*NODE, str(Path(LEAK).with_name("worker.js")), "150"])
    assert run.end() == 7, run.noise
    suspect = run.record["suspect"]
    assert (suspect["function"], suspect["line"]) == ("keepSession", 9), suspect
    (profile,) = run.evidence("*-growth.folded")
    assert profile.read_text().startswith("thread (1): worker;")
    assert json.loads(profile.with_suffix(".meta.json").read_text())["workers"] == 1
    (busy,) = run.evidence("*-cpu-profile.folded")
    assert any(stack.startswith("thread (1): worker;") for stack in folded.parse(busy.read_text().splitlines()))


def test_a_pool_of_silent_workers_does_not_keep_the_main_threads_evidence(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    """Asked one after the other they take longer than `until` waits."""
    told, fifo = tmp_path / "told", tmp_path / "fifo"
    os.mkfifo(fifo)
    options = ["--env", "development", "--interval", "200ms", "--warning", "300M", "--critical", "310M"]
    options += ["--profiling", "320M", "--profile-duration", "1h"]
    run = start(options, [*NODE, str(Path(LEAK).with_name("pool.js")), str(told), str(fifo)])
    target = run.wait_for("action.started", action="growth")["pid"]
    assert run.wait_for("action.finished", action="stacks")["engine"] == "inspector"
    (path,) = run.evidence("*-stacks.stacks.json")
    assert json.loads(path.read_text())["node"]["workers_silent"] == 16  # Node's own report would wait for them
    for kind in ("growth", "cpu-profile"):
        until(lambda kind=kind: run.evidence(f"*-{kind}.folded"), f"a first reading of {kind}")
    for worker in children(run.process.pid):
        if worker != target:
            os.kill(worker, signal.SIGINT)  # as the watcher does
    for kind in ("growth", "cpu-profile"):
        done = run.wait_for("action.finished", action=kind)
        assert done["samples"] > 0, done
        (profile,) = run.evidence(f"*-{kind}.folded")
        stacks = folded.parse(profile.read_text().splitlines())
        assert any(not stack.startswith("thread (") for stack in stacks), stacks
        assert json.loads(profile.with_suffix(".meta.json").read_text())["workers"] == 1
        assert "Of 1 of 17 worker threads as well" in profile.with_suffix(".md").read_text()
    told.touch()
    os.write(os.open(fifo, os.O_RDWR), bytes(16))
    assert run.end() == 7, run.noise
    assert run.record["suspect"]["function"] == "keepInMain", run.record["suspect"]


def test_a_node_below_a_shell_is_profiled(start: Callable[..., Any]) -> None:
    run = start(["--cpu", "--duration", "2s", "--json"], ["sh", "-c", f"node --inspect-port=0 {LEAK} 60; exit 3"],
                subcommand="profile")  # fmt: skip
    assert run.end() == 3
    told = next(json.loads(line) for line in run.noise if line.startswith('{"schema_version"'))
    result = told["profiles"]["cpu-profile"]
    assert result["outcome"] == "ok" and result["top"], told
    assert any(each["file"] and each["file"].endswith("leak.js") for each in result["top"])


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm")
def test_what_npm_starts_is_profiled_and_not_npm(start: Callable[..., Any], tmp_path: Path) -> None:
    """npm is a Node that starts a shell that starts a Node."""
    package = {"name": "app", "version": "1.0.0", "scripts": {"start": f"node --inspect-port=0 {LEAK} 60"}}
    (tmp_path / "package.json").write_text(json.dumps(package))
    run = start(["--duration", "3s", "--json"], ["npm", "start"], subcommand="profile")
    assert run.end() == 7
    told = next(json.loads(line) for line in run.noise if line.startswith('{"schema_version"'))
    cpu, heap = (told["profiles"][kind] for kind in ("cpu-profile", "heap-profile"))
    assert any(each["file"] and each["file"].endswith("leak.js") for each in cpu["top"]), told
    assert heap["top"][0]["function"] == "rememberRequest", told


def test_the_heap_of_a_running_node_and_a_snapshot(
    run_guard: Callable[..., subprocess.CompletedProcess[bytes]], tmp_path: Path
) -> None:
    with subprocess.Popen([*NODE, LEAK, "400", "stay"], stderr=subprocess.DEVNULL) as target:
        try:
            until(lambda: node.catches(target.pid), "it has started")
            done = run_guard("profile", "--heap", "--snapshot", "--json", "--duration", "2s", "--pid", str(target.pid),
                             "--profiles-dir", str(tmp_path / "p"))  # fmt: skip
            assert target.poll() is None
        finally:
            target.kill()
    told = json.loads(done.stdout)
    result = told["profiles"]["heap-profile"]
    assert result["outcome"] == "ok" and result["engine"] == "inspector", told
    assert result["top"][0]["function"] == "rememberRequest" and result["bytes"] > 1e6
    (path,) = [path for path in told["files"] if path.endswith(".heapsnapshot")]
    assert Path(path).stat().st_size == result["snapshot_bytes"] > 1e6
    assert "snapshot" in json.loads(Path(path).read_text())
    (summary,) = [path for path in told["files"] if path.endswith(".md")]
    assert formats.read(summary).kind == "memory"


def test_a_snapshot_is_only_taken_where_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headroom is checked before V8 is asked for anything."""
    calls: list[str] = []

    class Session:
        def call(self, method: str) -> dict[str, int]:
            calls.append(method)
            return {"usedSize": 100 << 20}

    monkeypatch.setattr(node_heap_profile, "headroom", lambda pid: 150 << 20)
    told = node_heap_profile.snapshot(object(), 1, Session())  # type: ignore[arg-type]
    assert "headroom of 157 MB" in told["snapshot_skipped"] and calls == ["Runtime.getHeapUsage"]


UNHANDLED = "process.on('SIGUSR1', () => {}); process.removeAllListeners('SIGUSR1'); "


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--report-on-signal", "--report-signal=SIGUSR1"], "another meaning"),
        (["-r", "PRELOAD"], "no handler for SIGUSR1"),
    ],
)
def test_a_node_that_takes_sigusr1_for_something_else_is_told_and_not_sent_it(
    start: Callable[..., Any], tmp_path: Path, options: list[str], words: str
) -> None:
    preload = tmp_path / "preload.js"
    preload.write_text(UNHANDLED)
    options = [str(preload) if word == "PRELOAD" else word for word in options]
    run = start(QUIET, ["node", *options, LEAK, "80", "stay"])
    begun = run.wait_for("action.started", action="growth")
    until(lambda: run.evidence("*-growth.folded"), "growth by mapping")
    os.kill(begun["pid"], signal.SIGTERM)
    assert run.end() == 128 + signal.SIGTERM
    missing = run.wait_for("capability.missing", capability="inspector")
    assert words in missing["reason"] and "--inspect" in missing["hint"], missing
    assert run.wait_for("action.finished", action="growth")["engine"] == "mappings"


def test_no_inspector_is_opened_where_that_is_not_wanted(start: Callable[..., Any]) -> None:
    run = start([*QUIET, "--no-node-inspector"], [*NODE, LEAK, "80"])
    assert run.end() == 7
    assert run.wait_for("action.finished", action="growth")["engine"] == "mappings"
    assert not any("Debugger" in line for line in run.noise), run.noise


@pytest.mark.parametrize(("who", "function"), [("worker", "keep_in_python"), ("front", "rememberRequest")])
def test_a_node_with_a_python_worker_has_an_engine_for_each(
    start: Callable[..., Any], tmp_path: Path, who: str, function: str
) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import sys, time\nheld = []\ndef keep_in_python():\n    held.append(bytearray(b'x' * 1_000_000))\n"
        "for _ in range(150):\n    time.sleep(0.02)\n    if sys.argv[1] == 'worker': keep_in_python()\n"
    )
    front = tmp_path / "front.js"
    front.write_text(
        f"const made = require('child_process').spawn({sys.executable!r}, [{str(worker)!r}, {who!r}])\n"
        f"made.on('exit', () => process.exit(7))\n"
        f"process.argv[2] = {'90' if who == 'front' else '0'!r}; process.argv[3] = 'stay'; require({LEAK!r})\n"
    )
    run = start([*QUIET, "--warning", "75"], [*NODE, str(front)])
    assert run.end() == 7, run.noise
    assert run.record["suspect"]["function"] == function
    found = run.wait_for("action.finished", action="growth")
    assert (found["engine"] == "inspector") == (who == "front")


def test_a_second_node_whose_port_is_taken_is_left_alone(start: Callable[..., Any]) -> None:
    first = subprocess.Popen(
        ["node", "--inspect=127.0.0.1:0", "-e", "setInterval(() => {}, 1000)"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert first.stderr is not None
        port = first.stderr.readline().rpartition("/")[0].rpartition(":")[2]
        run = start(QUIET, ["node", f"--inspect-port={port}", LEAK, "80"])
        assert run.end() == 7
        missing = run.wait_for("capability.missing", capability="inspector")
        assert f"port {port}" in missing["reason"] and "is taken" in missing["reason"]
        assert not any("failed" in line for line in run.noise), run.noise
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()


def test_a_node_in_a_network_of_its_own_is_reached(start: Callable[..., Any]) -> None:
    script = f"ip link set lo up && exec node {LEAK} 80"
    if not shutil.which("ip") or subprocess.run(["unshare", "-n", "ip", "link"], capture_output=True).returncode:
        pytest.skip("no network namespace can be made here: it needs root and ip")
    run = start(QUIET, ["unshare", "-n", "sh", "-c", script])
    assert run.end() == 7, run.noise
    assert run.wait_for("action.finished", action="growth")["engine"] == "inspector"
    assert run.record["suspect"]["function"] == "rememberRequest"


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
