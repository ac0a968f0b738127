"""Which files a word means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from supervisor import profiles
from supervisor.errors import UsageError

RUN = "20261124T111644Z-app-4242-ab12"


def put(path: Path, at: int = 1000) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("main 5\n")
    os.utime(path, (at, at))
    return str(path)


def whole_run(root: Path) -> Path:
    folder = root / "development" / RUN
    for name in ("001-cpu-cpu-profile", "002-warning-growth"):
        for suffix in (".folded", ".md", ".speedscope.json", ".svg", ".meta.json"):
            put(folder / (name + suffix))
    return folder


def test_a_file_is_itself(tmp_path: Path) -> None:
    path = put(tmp_path / "any.name")
    assert profiles.chosen(path, "nowhere") == [path]


def test_a_directory_is_one_file_a_profile_and_cpu_before_memory(tmp_path: Path) -> None:
    folder = whole_run(tmp_path)
    expected = [str(folder / "001-cpu-cpu-profile.folded")]
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
    assert profiles.chosen(word, str(tmp_path)) == [str(folder / "001-cpu-cpu-profile.folded")]


def test_the_beginning_of_two_runs_is_neither(tmp_path: Path) -> None:
    for end in ("ab12", "cd34"):
        put(tmp_path / "ci" / (RUN[:-4] + end) / "001-cpu-cpu-profile.folded")
    with pytest.raises(UsageError, match="the beginning of 2 runs"):
        profiles.chosen(RUN[:-4], str(tmp_path))


def test_a_run_without_a_profile(tmp_path: Path) -> None:
    put(tmp_path / "monitored" / RUN / "run.json.other")
    with pytest.raises(UsageError, match="left no profile"):
        profiles.chosen(RUN, str(tmp_path))


def test_the_newest_is_the_newest_and_not_the_baseline(tmp_path: Path) -> None:
    old = put(tmp_path / "ci" / "a" / "001-cpu-cpu-profile.folded", at=1000)
    new = put(tmp_path / "development" / "b" / "001-cpu-cpu-profile.folded", at=2000)
    baseline = put(tmp_path / "baseline.md", at=3000)
    put(tmp_path / "baseline.folded", at=3000)
    assert profiles.newest(str(tmp_path), [baseline]) == new
    assert profiles.newest(str(tmp_path), [baseline, new]) == old
    with pytest.raises(UsageError, match="but the baseline"):
        profiles.newest(str(tmp_path), [baseline, new, old])


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
