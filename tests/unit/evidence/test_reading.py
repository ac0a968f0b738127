"""The reading layer: what runs leave, and what time, accidents and strangers make of it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor import evidence
from supervisor.errors import UsageError
from supervisor.evidence import fields

RUN = "20261124T111644Z-leak-42-abcd"
RECORD: dict[str, Any] = {
    "schema_version": 1, "run": RUN, "version": "0.1.0", "command": ["python", "leak.py"], "pid": 43, "guard_pid": 42,
    "started": "2026-11-24T11:16:44.000Z", "environment": "ci", "limit_bytes": 500, "limit_source": "machine",
    "cgroup": "/sys/fs/cgroup/x", "thresholds": {"warning": {"bytes": 100, "metric": "rss", "source": "--warning"}},
    "boot_id": "b", "host": "h", "outcome": "exited", "code": 3, "signal": None, "ended": "2026-11-24T11:16:54.500Z",
    "elapsed_s": 10.5, "peak_bytes": 300, "peak_use_bytes": 290, "samples": 2, "highest_state": "warning",
    "time_in_state_s": {"ok": 1.5, "warning": 9.0}, "oom_kills": 0,
    "suspect": {"pid": 43, "name": "python", "function": "f", "file": "leak.py", "line": 3, "share": 0.9, "bytes": 200},
    "evidence": ["/elsewhere/auto-memory/x.md"],
}  # fmt: skip
LINE: dict[str, Any] = {
    "at": "2026-11-24T11:16:45.000Z", "elapsed_s": 1.0, "state": "warning", "rss_bytes": 300, "use_bytes": 290,
    "limit_bytes": 500, "slope_bytes_per_s": 21, "oom_kills": 0, "process_count": 3, "pss_bytes": 280,
    "pressure_percent": 1.25,
    "processes": [{"pid": 43, "name": "python", "rss_bytes": 250, "cpu_ticks": 7}],
}  # fmt: skip
EVENT = {"timestamp": "2026-11-24T11:16:45.5Z", "level": "warning", "event": "state.changed", "to": "warning"}


def make(root: Path, run: str = RUN, **changes: Any) -> Path:
    folder = root / "monitored" / run
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(RECORD | {"run": run} | changes))
    (folder / "flight.jsonl").write_text(json.dumps(LINE) + "\n" + json.dumps(LINE | {"elapsed_s": 2.0}) + "\n")
    (folder / "events.jsonl").write_text(json.dumps(EVENT) + "\n")
    memory = root / "auto-memory" / run
    memory.mkdir(parents=True)
    (memory / "002-warning-growth.md").write_text("# Growth\n")
    meta = {"kind": "growth", "pid": 43, "started": "2026-11-24T11:16:46Z"}
    (memory / "002-warning-growth.meta.json").write_text(json.dumps(meta))
    (memory / "001-warning-snapshot.snapshot.json").write_text("{}")
    return folder


def test_a_whole_run(tmp_path: Path) -> None:
    make(tmp_path)
    run = evidence.find(str(tmp_path))
    assert (run.id, run.root, run.lives, run.problems) == (RUN, str(tmp_path), False, ())
    record = run.record
    assert record.command == ("python", "leak.py") and record.started_s == 1795519004.0
    assert record.ended_s == 1795519014.5 and record.elapsed_s == 10.5 and record.cgroup == "/sys/fs/cgroup/x"
    assert record.thresholds == {"warning": evidence.Limit(100, "rss", "--warning")}
    assert record.suspect == evidence.Suspect(43, "python", "f", "leak.py", 3, 0.9, 200)
    assert record.time_in_state_s == {"ok": 1.5, "warning": 9.0}
    first, second = evidence.flight(run)
    assert first.processes == (evidence.FlightProcess(43, "python", 250, 7),)
    assert first.pressure_percent == 1.25
    assert first.headroom_bytes == 210 and first.time_to_limit_s == 10.0 and first.dear == {"pss": 280}
    assert second.elapsed_s == 2.0
    (event,) = evidence.events(run)
    assert (event.name, event.level, event.at_s, event.fields) == (
        "state.changed", "warning", 1795519005.5, {"to": "warning"}
    )  # fmt: skip
    snapshot, growth = evidence.items(run)
    assert (snapshot.number, snapshot.state, snapshot.kind, snapshot.pid) == (1, "warning", "snapshot", None)
    assert (growth.kind, growth.pid, growth.at_s) == ("growth", 43, 1795519006.0)
    assert Path(growth.files[".md"]).read_text() == "# Growth\n"


def test_what_grew_is_read_with_who_holds_it(tmp_path: Path) -> None:
    grew = {"type": "bytes", "bytes": 5, "holder": "__main__.pages"}
    folder = make(tmp_path, suspect={"pid": 43, "name": "python", "rss_bytes": 9, "grew": grew})
    suspect = evidence.read(str(folder)).record.suspect
    assert suspect is not None and suspect.grew == evidence.Grown("bytes", 5, "__main__.pages")
    assert suspect.named == "bytes in __main__.pages"
    assert evidence.grown({"type": "bytes"}) is None and evidence.grown("x") is None


def test_a_run_is_found_by_id_prefix_end_path_and_latest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older, root = "20261123T000000Z-web-7-0001", str(tmp_path)
    make(tmp_path, older)
    folder = make(tmp_path)
    (tmp_path / "monitored" / "notes").mkdir()
    assert evidence.run_ids(root) == [RUN, older]
    assert [run.id for run in evidence.runs(root)] == [RUN, older]
    paths = [str(folder), f"{folder}/", f"{folder}/run.json"]
    for wanted in ("latest", RUN, "20261124", "leak", "abcd", *paths, root, f"{root}/monitored"):
        assert evidence.find(root, wanted).id == RUN, wanted
    monkeypatch.chdir(tmp_path / "monitored")
    assert evidence.find("nowhere", f"./{older}").id == older
    assert evidence.find("nowhere", older).id == older  # a directory of this name here


@pytest.mark.parametrize(
    ("wanted", "said"),
    [("2026", "fits 2 runs"), ("x", "no run in"), ("", "empty"), ("a\0b", "empty"), ("/nowhere/x", "is no directory")],
)
def test_what_is_not_found_is_explained(tmp_path: Path, wanted: str, said: str) -> None:
    make(tmp_path)
    make(tmp_path, "20261123T000000Z-web-7-0001")
    with pytest.raises(UsageError) as caught:
        evidence.find(str(tmp_path), wanted)
    assert said in caught.value.what and caught.value.hint and caught.value.code == 2


def test_no_runs_and_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no run in"):
        evidence.find(str(tmp_path))
    (tmp_path / "monitored").write_text("a file")
    with pytest.raises(UsageError, match="can't be read"):
        evidence.run_ids(str(tmp_path))
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match="is no run's folder"):
        evidence.find(str(tmp_path), str(tmp_path / "other"))


def test_a_copied_folder(tmp_path: Path) -> None:
    """The run's folder by itself has no evidence beside it; the whole profiles directory has, wherever it lies."""
    make(tmp_path / "a")
    shutil.copytree(tmp_path / "a" / "monitored" / RUN, tmp_path / "alone")
    alone = evidence.find("nowhere", str(tmp_path / "alone"))
    assert alone.root is None and alone.record.code == 3 and evidence.items(alone) == []
    assert len(list(evidence.flight(alone))) == 2
    os.rename(tmp_path / "a", tmp_path / "b")
    moved = evidence.find("nowhere", str(tmp_path / "b"))
    assert [os.path.exists(path) for item in evidence.items(moved) for path in item.files.values()] == [True] * 3


def test_a_live_run_is_known_by_its_lock_and_asking_leaves_it(tmp_path: Path) -> None:
    folder = make(tmp_path, outcome=None)
    assert not evidence.find(str(tmp_path)).lives
    with open(folder / "run.json") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert evidence.find(str(tmp_path)).lives
    assert not evidence.find(str(tmp_path)).lives


def test_half_written_lines(tmp_path: Path) -> None:
    folder = make(tmp_path)
    whole = json.dumps(LINE).encode() + b"\n"
    (folder / "flight.jsonl").write_bytes(whole + b"\xff\xfe{]\n\n[1]\n" + whole + whole[:50])
    problems: list[str] = []
    assert len(list(evidence.flight(evidence.find(str(tmp_path)), problems))) == 2
    assert problems == ["flight.jsonl: its last line is cut short", "flight.jsonl: 2 lines are no JSON object"]


@pytest.mark.parametrize("cut", [0, 1, 30, 200])
def test_a_record_cut_short(tmp_path: Path, cut: int) -> None:
    folder = make(tmp_path)
    (folder / "run.json").write_text(json.dumps(RECORD)[:cut])
    run = evidence.find(str(tmp_path))
    # What the id tells is left.
    assert run.record == evidence.Record(started_s=1795519004.0, guard_pid=42) and run.problems == (
        "run.json: cut short or no JSON object",
    )
    assert len(list(evidence.flight(run))) == 2


@pytest.mark.parametrize("name", ["20261124T111644Z", "20261124T111644Z-", "20261399T111644Z-a-1-x", "x", "2026-b-c"])
def test_a_folder_with_another_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert evidence.read(str(tmp_path / name)).record.guard_pid is None


def test_missing_files(tmp_path: Path) -> None:
    folder = tmp_path / "monitored" / RUN
    folder.mkdir(parents=True)
    run = evidence.find(str(tmp_path))
    problems: list[str] = []
    assert list(evidence.flight(run, problems)) == [] and list(evidence.events(run, problems)) == []
    assert run.problems == ("run.json: No such file or directory",) and len(problems) == 2
    assert evidence.items(run) == []


def test_links_fifos_and_directories_in_place_of_files(tmp_path: Path) -> None:
    folder = make(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text(json.dumps(RECORD | {"host": "secret"}))
    (folder / "run.json").unlink()
    (folder / "run.json").symlink_to(secret)
    (folder / "flight.jsonl").unlink()
    os.mkfifo(folder / "flight.jsonl")
    (folder / "events.jsonl").unlink()
    (folder / "events.jsonl").mkdir()
    memory = tmp_path / "auto-memory" / RUN
    (memory / "003-warning-stacks.stacks.json").symlink_to(secret)
    os.mkfifo(memory / "004-x.md")
    (tmp_path / "auto-cpu").symlink_to(tmp_path / "auto-memory")
    run = evidence.find(str(tmp_path))
    problems: list[str] = []
    assert run.record.host is None and list(evidence.flight(run, problems)) == []
    assert list(evidence.events(run, problems)) == [] and len(problems) == 2
    assert [item.number for item in evidence.items(run)] == [1, 2]
    assert {item.category for item in evidence.items(run)} == {"auto-memory"}


def test_the_profiles_directory_is_the_one_a_run_here_would_take(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert evidence.profiles_root(None, {"TMPDIR": str(tmp_path)}) == str(tmp_path / "profiles")
    (tmp_path / ".env.profiling").write_text("GUARD_PROFILES_DIR=kept\nMEMORY_WARNING_THRESHOLD=nonsense\n")
    assert evidence.profiles_root(None, {"TMPDIR": str(tmp_path)}) == str(tmp_path / "kept")
    assert evidence.profiles_root(None, {"GUARD_PROFILES_DIR": "/a", "TMPDIR": "/x"}) == "/a"
    assert evidence.profiles_root("b", {"GUARD_PROFILES_DIR": "/a"}) == str(tmp_path / "b")
    fallback = tmp_path / f"guard-{os.getuid()}" / "profiles"
    (fallback / "monitored").mkdir(parents=True)
    assert evidence.profiles_root(None, {"TMPDIR": str(tmp_path)}) == str(fallback)
    (tmp_path / "kept" / "development").mkdir(parents=True)  # of guard profile, which has no record
    assert evidence.profiles_root(None, {"TMPDIR": str(tmp_path)}) == str(tmp_path / "kept")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def mangled(known: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(sorted(known)), JSON).map(lambda changes: known | changes)


@settings(max_examples=150, deadline=None)
@given(mangled(RECORD), mangled(LINE), mangled(EVENT), st.binary(max_size=60))
def test_nothing_in_the_files_raises(record: Any, line: Any, event: Any, noise: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        folder = make(Path(place))
        (folder / "run.json").write_text(json.dumps(record))
        (folder / "flight.jsonl").write_bytes(noise + b"\n" + json.dumps(line).encode() + b"\n" + noise)
        (folder / "events.jsonl").write_bytes(json.dumps(event).encode() + b"\n" + noise)
        run = evidence.find(place)
        for sample in evidence.flight(run):
            assert isinstance(sample.rss_bytes, int) and abs(sample.at_s) < 1e12
            assert sample.time_to_limit_s is None or sample.time_to_limit_s >= 0
        for found in evidence.events(run):
            assert isinstance(found.name, str)
        assert isinstance(run.record.code, int | None) and isinstance(run.record.host, str | None)


@given(JSON)
def test_fields_have_their_types(value: object) -> None:
    assert isinstance(fields.text(value), str | None)
    assert isinstance(fields.whole(value), int | None) and not isinstance(fields.whole(value), bool)
    found = fields.number(value)
    assert found is None or abs(found) <= 2**62
    assert isinstance(fields.moment(value), float | None)


def test_hostile_json() -> None:
    assert fields.decoded(b"[" * 100_000) is None
    assert fields.decoded(b"9" * 10_000) is None
    assert fields.number(fields.decoded(b"1e999")) is None and fields.whole(fields.decoded(b"NaN")) is None
    assert fields.text(fields.decoded(b'"\\ud800"')) == "\\ud800"
    assert fields.moment("9999-12-31T23:59:59+00:00") == 253402300799.0
    assert fields.moment("0001-01-01T00:00:00+23:59") is None


def test_of_a_place_that_runs_were_shipped_to_the_newest_is_meant(tmp_path: Path) -> None:
    for host, run in (("a", "20261124T111644Z-app-1-aaaa"), ("b", "20261125T111644Z-app-1-bbbb"), ("b", "notes")):
        (tmp_path / host / run).mkdir(parents=True)
        (tmp_path / host / run / "run.json").write_text(json.dumps({"run": run}))
    assert evidence.find("/nowhere", str(tmp_path)).id == "20261125T111644Z-app-1-bbbb"
    assert evidence.find("/nowhere", str(tmp_path / "a")).id == "20261124T111644Z-app-1-aaaa"
