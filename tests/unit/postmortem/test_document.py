"""The whole post-mortem on folders that anybody may have made: it answers, in JSON, on one screen."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor import evidence, postmortem
from supervisor.postmortem.kernel import Facts

RUN = "20261124T111644Z-app-42-abcd"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)
RECORD: dict[str, Any] = {
    "run": RUN, "command": ["app"], "pid": 43, "guard_pid": 42, "started": "2026-11-24T11:16:44Z", "version": "1",
    "limit_bytes": 100_000_000, "limit_source": "cgroup v2 /x", "outcome": "oom-killed", "signal": "SIGKILL",
    "code": 137, "oom_kills": 1, "host": "h", "boot_id": "b", "peak_bytes": 9 * 10**7, "peak_use_bytes": 9 * 10**7,
    "highest_state": "critical", "time_in_state_s": {"ok": 3.0}, "elapsed_s": 9.0, "ended": "2026-11-24T11:16:54Z",
    "suspect": {"pid": 43, "name": "app", "function": "f", "file": "a.py", "line": 3, "share": 1.0, "bytes": 8 * 10**7},
}  # fmt: skip
LINE: dict[str, Any] = {
    "at": "2026-11-24T11:16:50Z", "elapsed_s": 3.0, "state": "warning", "rss_bytes": 5 * 10**7, "use_bytes": 5 * 10**7,
    "limit_bytes": 10**8, "slope_bytes_per_s": 10**7, "oom_kills": 0, "process_count": 1,
    "processes": [{"pid": 43, "name": "app", "rss_bytes": 5 * 10**7, "cpu_ticks": 7}],
}  # fmt: skip
EVENT: dict[str, Any] = {
    "timestamp": "2026-11-24T11:16:50Z", "level": "info", "event": "action.finished", "action": "growth", "pid": 43,
    "state": "warning", "enough": True, "reason": "x", "said": "y", "hint": "z", "guilty_pid": 43, "guilty_name": "app",
    "outcome": "exited", "suspect": {"function": "f", "file": "a.py", "line": 3, "share": 1.0, "bytes": 8 * 10**7},
}  # fmt: skip
STACKS = {"pid": 43, "threads": [{"owns_gil": True, "active": True, "frames": [{"name": "f", "line": 3}]}]}
EVENTS = ("action.finished", "action.failed", "action.started", "state.changed", "run.exited", "capability.missing")


def write(root: Path, record: Any, lines: list[Any], events: list[Any], stacks: Any, noise: bytes) -> None:
    folder, memory = root / "monitored" / RUN, root / "auto-memory" / RUN
    folder.mkdir(parents=True)
    memory.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "flight.jsonl").write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in lines) + noise)
    (folder / "events.jsonl").write_bytes(b"".join(json.dumps(event).encode() + b"\n" for event in events) + noise)
    (memory / "001-warning-growth.folded").write_bytes(b"main (a.py);f (a.py:3) 80000000\n" + noise)
    (memory / "002-critical-stacks.stacks.json").write_text(json.dumps(stacks))
    (memory / "002-critical-stacks.meta.json").write_bytes(noise)


def mangled(known: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(sorted(known)), JSON, max_size=4).map(lambda changes: known | changes)


@settings(max_examples=150)
@given(
    mangled(RECORD),
    st.lists(mangled(LINE), max_size=5),
    st.lists(mangled(EVENT) | st.sampled_from(EVENTS).map(lambda name: EVENT | {"event": name}), max_size=5),
    st.just(STACKS) | mangled(STACKS) | JSON,
    st.binary(max_size=40),
)
def test_it_answers_whatever_is_in_the_files(record: Any, lines: Any, events: Any, stacks: Any, noise: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        write(Path(place), record, lines, events, stacks, noise)
        run = evidence.find(place)
        for facts in (Facts("here", log=()), Facts("elsewhere")):
            document = postmortem.examine(run, facts)
            json.dumps(document, allow_nan=False)
            assert document["ended"]["certainty"] in ("certain", "likely", "unknown")
            text = postmortem.text(document)
            assert text.isprintable() or set(text) - {"\n"} == {c for c in text if c.isprintable()}
            assert document["next"]["type"] in text.replace("\\\\", "\\") or not document["next"]["type"].isprintable()


def test_what_a_whole_run_says(tmp_path: Path) -> None:
    lines = [LINE | {"elapsed_s": float(n), "rss_bytes": 10**7 * n, "use_bytes": 10**7 * n,
                     "processes": [{"pid": 43, "name": "app", "rss_bytes": 10**7 * n, "cpu_ticks": n}]}
             for n in range(1, 10)]  # fmt: skip
    failed = EVENT | {"event": "action.failed", "action": "stacks", "reason": "ptrace-refused", "said": "EPERM",
                      "hint": "guard doctor"}  # fmt: skip
    write(tmp_path, RECORD, lines, [failed, failed | {"reason": "ptrace-refused"}], STACKS, b"")
    document = postmortem.examine(evidence.find(str(tmp_path)), Facts("here", log=()))
    assert document["ended"]["cause"] == "oom-kill" and document["ended"]["cgroup"] == "/x"
    growth = document["memory"]["growth"]
    assert (growth["rate_bytes_per_s"], growth["seconds"], growth["to_the_end"]) == (10**7, 8.0, True)
    holders = document["holders"]
    assert holders["processes"] == [
        {"pid": 43, "name": "app", "gained_bytes": 8 * 10**7, "bytes": 9 * 10**7, "share": 1.0}
    ]
    assert holders["growth"]["functions"] == [
        {"function": "f", "file": "a.py", "line": 3, "self": 8 * 10**7, "share": 1.0}
    ]
    assert document["running"]["stack"]["frames"][0]["function"] == "f"
    (trouble,) = document["failed"]
    assert (trouble["what"], trouble["times"], trouble["hint"]) == ("stacks", 2, "guard doctor")
    assert document["next"]["type"].endswith("001-warning-growth.folded")
    text = postmortem.text(document)
    for words in ("certain: OOM-killed", "grew 10 MB/s for 8 s", "process 43 (app): +80 MB", "growth: 100 %",
                  "stacks failed (2 times): ptrace-refused: EPERM", "try: guard doctor", "resources:"):  # fmt: skip
        assert words in text, words
    # Growth and heap come before whoever was busy.
    assert text.index("growth: 100 %") < text.index("running")
    assert len(text.splitlines()) <= 40


@pytest.mark.parametrize("of", ["growth", "held"])
def test_where_the_memory_lies_comes_before_functions_without_a_name(tmp_path: Path, of: str) -> None:
    lies = {"pid": 43, "name": "app", "mapping": "[heap]", "share": 0.98, "bytes": 8 * 10**7, "share_of": of}
    write(tmp_path, RECORD | {"suspect": lies}, [LINE], [], STACKS, b"")
    (tmp_path / "auto-memory" / RUN / "001-warning-growth.folded").write_text("app+0x10b0 (app) 80000000\n")
    document = postmortem.examine(evidence.find(str(tmp_path)), Facts("elsewhere"))
    assert document["holders"]["suspect"]["share_of"] == of
    text = postmortem.text(document)
    words = {"growth": "98 % of the growth (80 MB)", "held": "98 % of what it held (80 MB)"}[of]
    assert f"[heap], {words}" in text and text.index("[heap]") < text.index("app+0x10b0"), text


def test_growth_by_mapping_is_told_once(tmp_path: Path) -> None:
    lies = {"pid": 43, "name": "app", "mapping": "[heap]", "share": 0.98, "bytes": 8 * 10**7, "held_by": "f (a.js:2)"}
    write(tmp_path, RECORD | {"suspect": lies}, [LINE], [], STACKS, b"")
    (tmp_path / "auto-memory" / RUN / "001-warning-growth.folded").write_text("heap;[heap] 98\nfile;/app 2\n")
    text = postmortem.text(postmortem.examine(evidence.find(str(tmp_path)), Facts("elsewhere")))
    assert text.count("[heap]") == 1 and "80 MB), held by f (a.js:2)" in text and "/app" in text


def test_the_busy_function_is_named_last_and_as_such(tmp_path: Path) -> None:
    write(tmp_path, RECORD | {"suspect": None}, [LINE], [], STACKS, b"")
    memory = tmp_path / "auto-memory" / RUN
    (memory / "001-warning-growth.folded").unlink()
    (memory / "003-profiling-cpu-profile.folded").write_text("main (a.py);spin (a.py) 90\nmain (a.py) 10\n")
    document = postmortem.examine(evidence.find(str(tmp_path)), Facts("elsewhere"))
    assert document["holders"]["growth"] is None and document["holders"]["busy"]["functions"][0]["function"] == "spin"
    assert "not who holds memory" in postmortem.text(document)
    (memory / "004-profiling-heap-profile.folded").write_text("main (a.py);keep (a.py) 90\n")
    document = postmortem.examine(evidence.find(str(tmp_path)), Facts("elsewhere"))
    assert "heap: 100 %" in postmortem.text(document) and "spin" not in postmortem.text(document)


GREW = {"type": "bytearray", "bytes": 34 * 10**6, "holder": "__main__.Bus.listeners"}


@pytest.mark.parametrize("ended", [True, False])
def test_what_grew_and_who_holds_it_is_told_and_led_to(tmp_path: Path, ended: bool) -> None:
    """Where ptrace is denied growth has a stack or two; the heap agent knows better."""
    record = RECORD | {"suspect": {"pid": 43, "name": "app", "rss_bytes": 9, "grew": GREW}}
    if not ended:
        record = {key: value for key, value in record.items() if key not in ("suspect", "outcome", "ended")}
    growth = EVENT | {"enough": False, "suspect": EVENT["suspect"] | {"bytes": 1_100_000}}
    heap = EVENT | {"action": "heap-profile", "suspect": None, "grew": GREW}
    write(tmp_path, record, [LINE], [EVENT | {"event": "state.changed"}, growth, heap], STACKS, b"")
    memory = tmp_path / "auto-memory" / RUN
    (memory / "001-warning-growth.md").write_text("# Growth\n\nNot enough evidence\n")
    (memory / "001-warning-growth.meta.json").write_text(json.dumps({"kind": "growth", "enough": False}))
    (memory / "008-profiling-heap-profile.md").write_text("# What grew\n")
    (memory / "008-profiling-heap-profile.folded").write_text("__main__.Bus.listeners;bytearray 34000000\n")
    meta = {"kind": "heap-profile", "frames": "types", "grew": GREW}
    (memory / "008-profiling-heap-profile.meta.json").write_text(json.dumps(meta))
    document = postmortem.examine(evidence.find(str(tmp_path)), Facts("elsewhere"))
    suspect = document["holders"]["suspect"]
    assert suspect["grew"] == GREW and suspect["type"] == "bytearray"
    assert (suspect["pid"], suspect["name"], suspect["function"], suspect["enough"]) == (43, "app", None, True)
    text = postmortem.text(document)
    assert "objects: bytearray grew by 34 MB, held by __main__.Bus.listeners" in text
    assert document["next"]["type"].endswith("008-profiling-heap-profile.md")
    assert document["next"]["why"] == "it names what grew and who holds it"
    (memory / "001-warning-growth.meta.json").write_text(json.dumps({"kind": "growth", "enough": True}))
    document = postmortem.examine(evidence.find(str(tmp_path)), Facts("elsewhere"))
    assert document["next"]["type"].endswith("001-warning-growth.md")
    # A mapping says where it lies, and not what it is.
    suspect = {"pid": 43, "name": "app", "mapping": "[heap]", "share": 1.0, "bytes": 9, "grew": GREW}
    (tmp_path / "monitored" / RUN / "run.json").write_text(json.dumps(RECORD | {"suspect": suspect}))
    document = postmortem.examine(evidence.find(str(tmp_path)), Facts("elsewhere"))
    assert document["next"]["type"].endswith("008-profiling-heap-profile.md")


def test_a_process_frozen_below_its_limit_is_what_counts(tmp_path: Path) -> None:
    write(tmp_path, RECORD, [LINE], [], STACKS, b"")
    frozen = STACKS | {
        "frozen": True,
        "threads": [{"active": False, "frames": [{"name": "take", "short_filename": "a.py", "line": 6}]}],
        "mappings": [{"kind": "anonymous", "rss_bytes": 3 * 10**7}, {"kind": "anonymous", "rss_bytes": 10**7}, {}],
    }
    (tmp_path / "auto-memory" / RUN / "001-warning-growth.stacks.json").write_text(json.dumps(frozen))
    document = postmortem.examine(evidence.find(str(tmp_path)), Facts("elsewhere"))
    stack = document["running"]["stack"]
    assert stack["frozen"] and stack["frames"][0] == {"function": "take", "file": "a.py", "line": 6}
    assert stack["mappings"][0] == {"kind": "anonymous", "rss_bytes": 4 * 10**7}
    text = postmortem.text(document)
    assert "frozen below the limit, it was in take (a.py:6)" in text and "mapped anonymous 40 MB" in text


KERNEL = [{"name": "futex_do_wait", "filename": "[kernel]"}, {"name": "futex", "filename": "[syscall]"}]
OWN = [{"name": "keep", "filename": "/app/web", "short_filename": None, "line": 0}, {"name": "main", "filename": "x"}]


def stacks(*threads: dict[str, Any], **more: Any) -> str:
    return json.dumps({"pid": 43, "threads": threads, **more})


def test_the_programs_functions_come_before_the_kernels(tmp_path: Path) -> None:
    write(tmp_path, RECORD, [LINE], [], None, b"")
    memory = tmp_path / "auto-memory" / RUN
    waits, works = {"active": True, "frames": KERNEL}, {"active": False, "frames": [*KERNEL, *OWN]}
    (memory / "001-critical-stacks.stacks.json").write_text(stacks(waits, works, engine="native"))
    # What came later saw the process end, or stopped it where only the kernel could be asked.
    ends = {"active": True, "frames": [{"name": "do_exit", "filename": "[kernel]"}]}
    (memory / "003-critical-stacks.stacks.json").write_text(stacks(ends, engine="kernel"))
    sizes = [{"kind": "anonymous", "rss_bytes": 9}]
    (memory / "004-critical-growth.stacks.json").write_text(stacks(waits, frozen=True, mappings=sizes, engine="kernel"))
    document = postmortem.examine(evidence.find(str(tmp_path)), Facts("elsewhere"))
    stack = document["running"]["stack"]
    assert [frame["function"] for frame in stack["frames"]] == ["keep", "main"]
    assert (stack["waits_in"], stack["frozen"], stack["ending"]) == ("futex", False, False)
    assert stack["mappings"] == sizes and stack["path"].endswith("001-critical-stacks.stacks.json")
    assert "in keep (/app/web) < main (x)" in postmortem.text(document)


@pytest.mark.parametrize(
    ("frames", "engine", "words"),
    [
        (KERNEL, "inspector", "no JavaScript ran when it was looked at: it waited in futex"),
        (KERNEL, "kernel", "waiting in the kernel (futex), of its own functions nothing is known: ptrace: refused"),
        ([{"name": "do_exit", "filename": "[kernel]"}], "native", "it was ending when its stack was read"),
    ],
)
def test_where_only_the_kernel_is_known_it_says_what_that_means(
    tmp_path: Path, frames: list[Any], engine: str, words: str
) -> None:
    write(tmp_path, RECORD, [LINE], [], None, b"")
    memory = tmp_path / "auto-memory" / RUN
    (memory / "002-critical-stacks.stacks.json").write_text(stacks({"frames": frames}, engine=engine))
    (memory / "002-critical-stacks.meta.json").write_text(json.dumps({"last_error": "ptrace: refused"}))
    text = postmortem.text(postmortem.examine(evidence.find(str(tmp_path)), Facts("elsewhere")))
    assert words in text.replace("\n         ", " ") and "[kernel]" not in text


def test_what_the_next_guard_said_of_it(tmp_path: Path) -> None:
    """Its cgroup may be gone by now; when the next guard started in it, it was there and had counted."""
    write(tmp_path, RECORD | {"outcome": None}, [LINE], [], STACKS, b"")
    later = tmp_path / "monitored" / "20261124T111700Z-app-50-abcd"
    later.mkdir()
    said = {"event": "previous_run.found", "run": RUN, "oom_kills": 1, "reason": "the OOM killer struck once"}
    (later / "events.jsonl").write_text(json.dumps(said) + "\n")
    document = postmortem.examine(evidence.find(str(tmp_path), RUN), Facts("here", log=None))
    assert (document["ended"]["cause"], document["ended"]["certainty"]) == ("oom-kill", "likely")
    assert "the next guard here said: the OOM killer struck once" in document["ended"]["why"]
    (later / "events.jsonl").write_text(json.dumps(said | {"run": "another"}) + "\n")
    document = postmortem.examine(evidence.find(str(tmp_path), RUN), Facts("here", log=None))
    assert document["ended"]["cause"] == "guard-killed"


STARTED = EVENT | {"event": "run.started", "timestamp": "2026-11-24T11:16:44.018Z"}


def test_a_killed_guard_is_given_no_duration_and_one_sample_no_limit(tmp_path: Path) -> None:
    killed = {key: value for key, value in RECORD.items() if key not in ("outcome", "elapsed_s", "ended")}
    first = LINE | {"at": "2026-11-24T11:16:44.018Z", "elapsed_s": 0.018}
    write(tmp_path, killed, [first], [STARTED | {"interval_s": 5.0}], None, b"")
    document = postmortem.examine(evidence.find(str(tmp_path)), Facts("here", log=()))
    head = document["record"]
    assert (head["elapsed_s"], head["last_seen_s"], head["interval_s"]) == (None, 0.018, 5.0)
    assert document["limit"] is None
    text = postmortem.text(document)
    assert "last heard of 18 ms later (guard looks every 5 s at most)" in text and "ran 18" not in text
    assert "no advice: 1 sample of a run without an end" in text and "resources:" not in text


@pytest.mark.parametrize(("interval_s", "typed"), [(5.0, "guard run --warning 40%"), (0.5, "guard profile -- app")])
def test_nobody_is_told_to_look_as_often_as_he_did(tmp_path: Path, interval_s: float, typed: str) -> None:
    write(tmp_path, RECORD | {"suspect": None}, [LINE], [STARTED | {"interval_s": interval_s}], None, b"")
    (tmp_path / "auto-memory" / RUN / "001-warning-growth.folded").unlink()
    document = postmortem.examine(evidence.find(str(tmp_path)), Facts("here", log=()))
    assert document["next"]["type"].startswith(typed)


def test_oom_kills_under_a_target_that_lived_on(tmp_path: Path) -> None:
    seen = {"event": "oom.detected", "timestamp": "2026-11-24T11:16:50Z", "pid": 44, "name": "w", "rss_bytes": 10**7}
    write(tmp_path, RECORD | {"outcome": "exited", "code": 0, "signal": None}, [LINE], [seen], STACKS, b"")
    document = postmortem.examine(evidence.find(str(tmp_path)), Facts("elsewhere"))
    (kill,) = document["memory"]["oom_kills"]
    assert (kill["pid"], kill["name"], kill["elapsed_s"]) == (44, "w", 6.0)
    assert document["ended"]["cause"] == "exit" and any("outlived" in reason for reason in document["ended"]["why"])
    assert "the kernel OOM-killed process 44 (w) with 10 MB after 6 s" in postmortem.text(document)


NOTHING = Facts("nowhere")


@pytest.mark.parametrize(
    ("complete", "files", "line"),
    [
        (True, {"a/b": [1, 2]}, "shipped  all of it, to https://a.example/…"),
        (False, {"a/b": [1, 2]}, "shipped  not all of it, 1 files, to https://a.example/… (timeout)"),
        (False, {}, "shipped  none, to https://a.example/… (timeout)"),
    ],
)
def test_whether_it_was_shipped(tmp_path: Path, complete: bool, files: dict[str, list[int]], line: str) -> None:
    write(tmp_path, RECORD, [LINE], [EVENT | {"event": "ship.failed", "reason": "timeout"}], STACKS, b"")
    run = evidence.find(str(tmp_path), RUN)
    document = postmortem.examine(run, NOTHING)
    assert document["shipped"] is None and "\nshipped " not in postmortem.text(document)
    told = {"to": "https://a.example/…", "target": "t", "host": "h", "complete": complete, "files": files}
    (tmp_path / "monitored" / RUN / "shipped.json").write_text(json.dumps(told))
    assert line in postmortem.text(postmortem.examine(run, NOTHING)).splitlines()
