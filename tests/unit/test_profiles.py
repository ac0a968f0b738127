"""Which files a word means."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from supervisor import model, profiles
from supervisor.actions import ways
from supervisor.analysis import glance, markdown
from supervisor.errors import UsageError

RUN = "20261124T111644Z-app-4242-ab12"


def put(path: Path, at: int = 1000, text: str = "main 5\n") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (at, at))
    return str(path)


def whole_run(root: Path) -> Path:
    folder = root / "development" / RUN
    for name in ("001-profiling-cpu-profile", "002-warning-growth"):
        for suffix in (".folded", ".md", ".speedscope.json", ".svg", ".meta.json"):
            put(folder / (name + suffix))
    return folder


def test_a_file_is_itself(tmp_path: Path) -> None:
    path = put(tmp_path / "any.name")
    assert profiles.chosen(path, "nowhere") == [path]


def test_a_directory_is_one_file_a_profile_and_cpu_before_memory(tmp_path: Path) -> None:
    folder = whole_run(tmp_path)
    expected = [str(folder / "001-profiling-cpu-profile.folded")]
    assert profiles.chosen(str(tmp_path), "nowhere") == expected
    assert profiles.chosen(str(folder), "nowhere") == expected


def test_a_directory_of_several_profiles_is_several(tmp_path: Path) -> None:
    paths = [put(tmp_path / f"{n}.folded") for n in range(3)] + [put(tmp_path / "x.cpuprofile")]
    put(tmp_path / "0.md")
    put(tmp_path / "notes.doc")
    put(tmp_path / ".0.folded.77.tmp")
    assert profiles.chosen(str(tmp_path), "nowhere") == paths


def test_only_growth_profiles_are_taken_when_there_is_nothing_else(tmp_path: Path) -> None:
    path = put(tmp_path / "002-warning-growth.folded")
    assert profiles.chosen(str(tmp_path), "nowhere") == [path]


def test_a_glob_with_and_without_its_suffix(tmp_path: Path) -> None:
    for number in range(2):
        put(tmp_path / f"a{number}.folded")
        put(tmp_path / f"a{number}.md")
    assert profiles.chosen(f"{tmp_path}/a*.md", "nowhere") == [f"{tmp_path}/a0.md", f"{tmp_path}/a1.md"]
    assert profiles.chosen(f"{tmp_path}/a*", "nowhere") == [f"{tmp_path}/a0.folded", f"{tmp_path}/a1.folded"]
    with pytest.raises(UsageError, match="no profile is named like"):
        profiles.chosen(f"{tmp_path}/b*", "nowhere")


@pytest.mark.parametrize("word", [RUN, RUN[:12], RUN[:-3]])
def test_a_run_by_its_id(tmp_path: Path, word: str) -> None:
    folder = whole_run(tmp_path)
    assert profiles.chosen(word, str(tmp_path)) == [str(folder / "001-profiling-cpu-profile.folded")]


def test_the_beginning_of_two_runs_is_neither(tmp_path: Path) -> None:
    for end in ("ab12", "cd34"):
        put(tmp_path / "ci" / (RUN[:-4] + end) / "001-profiling-cpu-profile.folded")
    with pytest.raises(UsageError, match="the beginning of 2 runs"):
        profiles.chosen(RUN[:-4], str(tmp_path))


def test_a_run_without_a_profile(tmp_path: Path) -> None:
    put(tmp_path / "monitored" / RUN / "run.json.other")
    with pytest.raises(UsageError, match="left no profile"):
        profiles.chosen(RUN, str(tmp_path))


def test_the_newest_is_the_newest_and_not_the_baseline(tmp_path: Path) -> None:
    old = put(tmp_path / "ci" / "a" / "001-profiling-cpu-profile.folded", at=1000)
    new = put(tmp_path / "development" / "b" / "001-profiling-cpu-profile.folded", at=2000)
    baseline = put(tmp_path / "baseline.md", at=3000)
    put(tmp_path / "baseline.folded", at=3000)
    put(Path(old), at=1000, text="old 5\n")
    without = profiles.Baseline([os.path.relpath(baseline)])
    assert profiles.newest(str(tmp_path), without) == new
    assert profiles.chosen("latest", str(tmp_path), without) == [new]
    assert profiles.newest(str(tmp_path), profiles.Baseline([baseline, new])) == old
    with pytest.raises(UsageError, match="but the baseline"):
        profiles.newest(str(tmp_path), profiles.Baseline([baseline, new, old]))


def put_run(root: Path, run: str, kind: str = "cpu", at: int = 1000) -> str:
    """The Markdown and the folded stacks of a run; the path of the Markdown."""
    unit = "samples" if kind == "cpu" else "bytes"
    profile = markdown.Profile(
        title="t", kind=kind, counts={"main;work": at}, unit=unit, head=[("Run", run)], notes=[],
        seconds_per_sample=None, data={"run": run},
    )  # fmt: skip
    stem = root / "production" / run / f"001-profiling-{kind}-profile"
    put(stem.with_suffix(".meta.json"), at, json.dumps({"run": run, "kind": f"{kind}-profile"}))
    put(stem.with_suffix(".folded"), at, f"main;work {at}\n")
    return put(stem.with_suffix(".md"), at, markdown.render(profile))


def test_latest_is_not_the_run_that_the_baseline_is_a_copy_of(tmp_path: Path) -> None:
    own = put_run(tmp_path, RUN, at=2000)
    baseline = put(tmp_path / "baseline.md", 2001, Path(own).read_text())
    for copy in (baseline, put(tmp_path / "elsewhere" / "x.folded", 2002, "main;work 2000\n")):
        with pytest.raises(UsageError, match="the newest profile is the baseline's own run") as caught:
            profiles.chosen("latest", str(tmp_path / "production"), profiles.Baseline([copy]))
        assert caught.value.code == 2 and caught.value.hint == "guard profile -- COMMAND"
    (tmp_path / "elsewhere" / "x.folded").unlink()
    older = put_run(tmp_path, RUN.replace("ab12", "0000"), at=1000)
    notes: list[str] = []
    found = profiles.newest(str(tmp_path), profiles.Baseline([baseline]), notes)
    assert found == older.replace(".md", ".folded")
    assert notes == ["The newest profile is the baseline's own run; this one is older."]
    newer = put_run(tmp_path, RUN.replace("ab12", "ffff"), at=3000)
    assert profiles.newest(str(tmp_path), profiles.Baseline([baseline])) == newer.replace(".md", ".folded")


def test_latest_is_of_the_baselines_kind(tmp_path: Path) -> None:
    own = put_run(tmp_path, RUN, "heap", at=1000)
    baseline = put(tmp_path / "baseline.md", 1001, Path(own).read_text())
    with pytest.raises(UsageError) as caught:
        profiles.newest(str(tmp_path), profiles.Baseline([baseline]))
    assert caught.value.hint == "guard profile --heap -- COMMAND"
    second = RUN.replace("ab12", "ffff")
    newer = put_run(tmp_path, second, "heap", at=2000).replace(".md", ".folded")
    of_time = put_run(tmp_path, second, "cpu", at=3000).replace(".md", ".folded")
    assert profiles.newest(str(tmp_path), profiles.Baseline([baseline])) == newer
    assert profiles.newest(str(tmp_path)) == of_time
    for word in (second, str(tmp_path / "production" / second)):
        assert profiles.chosen(word, str(tmp_path), profiles.Baseline([baseline])) == [newer]
        assert profiles.chosen(word, str(tmp_path)) == [of_time]
    Path(newer).unlink()
    put(tmp_path / "production" / second / "001-profiling-heap-profile.md", text="")
    with pytest.raises(UsageError, match="own run"):
        profiles.newest(str(tmp_path), profiles.Baseline([baseline]))


def test_text_that_is_no_profile_is_left_out(tmp_path: Path) -> None:
    profile = put_run(tmp_path, RUN, at=1000)
    put(tmp_path / "comparison.md", 5000, "# Performance comparison\n\nas before\n")
    put(tmp_path / "production" / RUN / "README.md", 5000, "About:\nthis and 5\n")
    put(tmp_path / "production" / RUN / "notes.txt", 5000, "")
    folded = profile.replace(".md", ".folded")
    assert profiles.newest(str(tmp_path)) == folded
    notes: list[str] = []
    assert profiles.chosen(str(tmp_path), "nowhere", notes=notes) == [folded]
    assert notes == [f"3 files that are no profiles are left out, {tmp_path / 'comparison.md'} first."]
    cut_off = put(tmp_path / "cut" / "1.md", 1000, Path(profile).read_text()[:400])
    assert profiles.chosen(str(tmp_path / "cut"), "nowhere") == [cut_off]  # reading it tells what is wrong
    put(tmp_path / "none" / "README.md", 1000, "# About\n")
    with pytest.raises(UsageError, match="no profile in the directory"):
        profiles.chosen(str(tmp_path / "none"), "nowhere")


def test_what_a_worker_thread_or_bun_wrote_is_no_second_profile(tmp_path: Path) -> None:
    folder = tmp_path / "production" / RUN
    main = put(folder / "001-profiling-cpu-profile.folded")
    put(folder / "001-profiling-cpu-profile-21328-1.cpuprofile")
    put(folder / "001-profiling-cpu-profile.bun.md", text="# CPU Profile\n")
    heap = put(folder / "002-profiling-heap-profile.heapprofile")
    put(folder / "002-profiling-heap-profile-21328-0.heapprofile")
    for word in (RUN, str(folder), f"{folder}/001*"):
        assert profiles.chosen(word, str(tmp_path)) == [main]
    os.unlink(main)
    assert profiles.chosen(f"{folder}/001*c*profile", str(tmp_path)) == [
        f"{folder}/001-profiling-cpu-profile-21328-1.cpuprofile"
    ]
    for path in folder.glob("001*"):
        path.unlink()
    assert profiles.chosen(RUN, str(tmp_path)) == [heap]
    others = [put(tmp_path / "mine" / f"{name}.cpuprofile") for name in ("a-1-2", "a")]
    assert profiles.chosen(str(tmp_path / "mine"), "nowhere") == others


def test_names_by_date_or_number_are_a_profile_each(tmp_path: Path) -> None:
    """Guard's names have a state and a kind that there are."""
    dated = [put(tmp_path / f"2026-11-{day}.folded", at=day, text=f"main {day}\n") for day in (24, 25, 26, 27)]
    notes: list[str] = []
    assert profiles.chosen(str(tmp_path), "nowhere", notes=notes) == dated
    assert profiles.chosen(f"{tmp_path}/2026*", "nowhere", notes=notes) == dated and notes == []
    baseline = profiles.Baseline([dated[2]])
    assert profiles.chosen("latest", str(tmp_path), baseline, notes) == [dated[3]] and notes == []
    names = [
        "100-bench-1-2",
        "100-bench-1-3",
        "100-ok-2-3",
        "100-ok-growthy-2-3",
        "100-ok-growth-2",
        "20-ok-growth-1-2",
    ]
    numbered = sorted(put(tmp_path / "n" / f"{name}.folded") for name in names)
    assert sorted(profiles.chosen(f"{tmp_path}/n/*", "nowhere")) == numbered
    for path in numbered:
        assert not glance.is_guards(path) and glance.run_of(path) is None


def test_guards_names_have_every_state_and_kind() -> None:
    assert glance.STATES == model.STATES
    assert set(glance.KINDS) == {*ways.WAYS, "snapshot"} == {kind for kind in model.VERBS.values() if kind} | {"growth"}
    for state in glance.STATES:
        for kind in glance.KINDS:
            for end in ("", ".md", "-21-1.folded", ".bun.md", "-21-1.bun.md"):
                named = glance.Named(f"/p/001-{state}-{kind}{end}")
                assert named.key == f"/p/001-{state}-{kind}" and named.guards
                assert (named.main, named.apart) == (end in ("", ".md"), "-21-1" in end)


def test_what_is_merged_away_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "production" / RUN
    main = put(folder / "001-profiling-cpu-profile.folded")
    thread = put(folder / "001-profiling-cpu-profile-21328-1.cpuprofile")
    put(folder / "001-profiling-cpu-profile.speedscope.json")  # guard's own other form
    for word in (RUN, str(folder)):
        notes: list[str] = []
        assert profiles.chosen(word, str(tmp_path), notes=notes) == [main]
        assert notes == [f"1 files of other threads and processes are left out, {thread} first."]
    mine = put(tmp_path / "mine" / "a.folded")
    other = put(tmp_path / "mine" / "a.cpuprofile")
    put(tmp_path / "mine" / "a.md", text="# What a is\n")
    notes = []
    assert profiles.chosen(str(tmp_path / "mine"), "nowhere", notes=notes) == [mine]
    assert len(notes) == 1 and notes[0].startswith("1 files are taken for other forms") and other in notes[0]


@pytest.mark.parametrize("word", ["nothing-there", "a/b/c", ""])
def test_what_there_isnt(tmp_path: Path, word: str) -> None:
    with pytest.raises(UsageError) as caught:
        profiles.chosen(word, str(tmp_path))
    assert caught.value.code == 2 and caught.value.hint


def test_an_empty_directory_and_one_of_other_things(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no profile in the directory"):
        profiles.chosen(str(tmp_path), "nowhere")
    put(tmp_path / "picture.png")
    with pytest.raises(UsageError) as caught:
        profiles.chosen(str(tmp_path), "nowhere")
    assert "picture.png" in caught.value.why
