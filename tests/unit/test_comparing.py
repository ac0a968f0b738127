"""What `guard compare` makes of files: both sides read, brought into one form, judged."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from supervisor import comparing
from supervisor.analysis import compare, comparison, comparison_page, folded, markdown
from supervisor.analysis.outcome import REGRESSION, UNCHANGED, Comparison
from supervisor.errors import GuardError, UsageError

LIBRARY = "/usr/lib/python3.11/json/decoder.py"
STACKS = {
    "main (app.py:1);parse (app.py:3)": 500,
    f"main (app.py:1);parse (app.py:3);decode ({LIBRARY}:9);scan ({LIBRARY}:20)": 40_000,
    "main (app.py:1);render (app.py:5)": 20_000,
    f"serve ({LIBRARY}:70);poll ({LIBRARY}:80)": 1_000,
}


def compared(baseline: Path, *current: Path, fail_on: str = "5%") -> tuple[Comparison, list[str]]:
    wish = comparing.Wish([str(baseline)], [str(each) for each in current], fail_on=fail_on)
    found = comparing.run(wish, {})
    return found, comparing.failing(found, wish.fail_on)


def put_markdown(path: Path, counts: folded.Counts, *, library: bool, older: bool = False) -> Path:
    """A Markdown profile at 1000 Hz, with library frames or without."""
    if not library:
        counts, _ = folded.fold_library(counts)
    data: dict[str, object] = {"used_rate_hz": 1000, "seconds": 70.0, "whole": True, "library_frames": library}
    profile = markdown.Profile(
        title="t", kind="cpu", counts=counts, unit="samples", head=[], notes=[], seconds_per_sample=0.001, data=data
    )
    text = markdown.render(profile)
    if older:
        text = re.sub(r', "folded_self": \d+', "", text)
    path.write_text(text)
    return path


@pytest.mark.parametrize("swapped", [False, True])
def test_a_committed_markdown_with_library_frames_against_a_profile_without(tmp_path: Path, swapped: bool) -> None:
    sides = [put_markdown(tmp_path / f"{name}.md", STACKS, library=name == "dev") for name in ("dev", "ci")]
    found, fails = compared(*(sides[::-1] if swapped else sides))
    assert (found.verdict, fails, found.score) == (UNCHANGED, [], 100)
    assert {row.function for row in found.rows} == {"main", "parse", "render", "poll"}
    assert all(row.self_time.before == row.self_time.after for row in found.rows)
    assert all(row.total_time.before == row.total_time.after for row in found.rows)
    assert any("folded as well" in note for note in found.notes + found.sides[0][0].notes)
    slower = {stack: weight * 2 if "render" in stack else weight for stack, weight in STACKS.items()}
    found, fails = compared(sides[0], put_markdown(tmp_path / "slow.md", slower, library=False))
    assert [row.function for row in found.of(REGRESSION)] == ["render", "main"] and fails


def test_a_markdown_that_can_not_be_folded_is_refused(tmp_path: Path) -> None:
    old = put_markdown(tmp_path / "old.md", STACKS, library=True, older=True)
    bare = put_markdown(tmp_path / "ci.md", STACKS, library=False)
    with pytest.raises(UsageError) as caught:
        compared(old, bare)
    assert "library frames" in (caught.value.why or "") and str(old) in (caught.value.why or "")
    (tmp_path / "old.folded").write_text(folded.render(STACKS))  # its stacks lie beside it
    assert compared(old, bare)[0].verdict == UNCHANGED
    own = {stack: weight for stack, weight in STACKS.items() if LIBRARY not in stack}
    for name, library in (("x.md", True), ("y.md", False)):
        put_markdown(tmp_path / name, own, library=library, older=True)
    assert compared(tmp_path / "x.md", tmp_path / "y.md")[0].verdict == UNCHANGED  # nothing to be folded


def test_every_report_has_each_profiles_notes(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.folded" for name in "abc"]
    for path in paths[:2]:
        path.write_text("main;work 4000\nmain;rest 4000\n")
    paths[2].write_text("")
    wish = comparing.Wish([str(paths[0])], [str(each) for each in paths[1:]])
    paths[2].write_text("\n(idle) 0\n")
    found = comparing.run(wish, {})
    for written in (comparison.markdown(found), comparison_page.render(found), str(comparison.document(found))):
        assert "1 empty profiles of this side are left out" in written


def test_what_is_compared_with_itself_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        (tmp_path / f"{name}.folded").write_text("main;work 4000\n")

    def notes(baseline: list[str], current: list[str]) -> list[str]:
        return comparing.run(comparing.Wish(baseline, current), {}).sides[1][0].notes

    assert notes(["a.folded"], [str(tmp_path / "a.folded")]) == ["Both sides are the same files."]
    assert notes(["a.folded"], ["./a.folded", "b.folded"]) == ["1 of the files are on both sides."]
    assert notes(["a.folded"], ["b.folded"]) == []
    for name in "ab":
        (tmp_path / f"{name}.meta.json").write_text('{"run": "r"}')
    assert notes(["a.folded"], ["b.folded"]) == ["Both sides are of the same run."]


def test_latest_with_the_baseline_in_the_profiles_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GUARD_PROFILES_DIR", raising=False)
    (tmp_path / "profiles" / "ci" / "r").mkdir(parents=True)
    run = tmp_path / "profiles" / "ci" / "r" / "001-profiling-cpu-profile.folded"
    run.write_text("main;work 8000\n")
    put_markdown(tmp_path / "profiles" / "baseline.md", {"main;work": 4000}, library=True)
    os.utime(run, (1000, 1000))
    for baseline, current in ((["profiles/baseline.md"], ["latest"]), (["profiles/baseline.md"], []), ([], [])):
        found = comparing.run(comparing.Wish(baseline, current, profiles_dir=str(tmp_path / "profiles")), {})
        assert found.sides[1][0].origin == str(run)


def test_of_a_directory_empty_profiles_are_left_out(tmp_path: Path) -> None:
    for side in ("before", "after"):
        (tmp_path / side).mkdir()
        for name, text in (("a", "main;work 4000\n"), ("b", ""), ("c", "\n")):
            (tmp_path / side / f"{name}.folded").write_text(text)
    found, _ = compared(tmp_path / "before", tmp_path / "after")
    assert "2 empty profiles of this side are left out" in found.sides[0][0].notes[0]
    with pytest.raises(UsageError, match="can't be compared") as caught:
        compared(tmp_path / "before" / "b.folded", tmp_path / "after")
    assert "the profile is empty" in (caught.value.why or "")
    (tmp_path / "nothing").write_text("")
    with pytest.raises(UsageError, match="no profile that guard can read"):
        compared(tmp_path / "nothing", tmp_path / "after")


def test_a_fault_of_guards_own_is_one_line_and_no_regression(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.folded").write_text("main;work 4000\n")

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("float division by zero")

    monkeypatch.setattr(compare, "compare", broken)
    wish = comparing.Wish([str(tmp_path / "a.folded")], [str(tmp_path / "a.folded")], fail_on="5%")
    with pytest.raises(GuardError) as caught:
        comparing.execute(wish, {})
    assert caught.value.code == 125 and len(caught.value.lines()) == 1
    assert "ZeroDivisionError in test_comparing.py:" in caught.value.lines()[0]


def test_a_total_that_can_not_be_held_against_the_limit_is_told_on_the_line(tmp_path: Path) -> None:
    meta = '{"kind": "cpu-profile", "used_rate_hz": 100, "seconds": 60, "whole": %s}'
    for name, factor, whole in (("a", 1, "true"), ("b", 2, "false"), ("c", 1, "true")):
        (tmp_path / f"{name}.folded").write_text(f"main;work {4000 * factor}\nmain;rest {4000 * factor}\n")
        (tmp_path / f"{name}.meta.json").write_text(meta % whole)
    found, fails = compared(tmp_path / "a.folded", tmp_path / "b.folded")
    assert fails == [] and found.verdict == UNCHANGED  # so the exit code is 0
    assert comparing.sentence(found, 0.05, fails).endswith(
        "; none past 5 % among functions, and the total could not be held against it: some profiles are of a while, "
        "others of a whole life or don't say"
    )
    assert "could not be held" not in comparing.sentence(found, None, fails)
    found, fails = compared(tmp_path / "a.folded", tmp_path / "c.folded")
    assert comparing.sentence(found, 0.05, fails).endswith("; none past 5 %")
    for name in "ab":
        (tmp_path / f"{name}.meta.json").unlink()
    (tmp_path / "b.folded").write_text("".join(f"main;f{n} 9000\n" for n in range(6)))
    (tmp_path / "a.folded").write_text("".join(f"main;f{n} 4000\n" for n in range(6)))
    found, fails = compared(tmp_path / "a.folded", tmp_path / "b.folded")
    assert comparing.sentence(found, 0.05, fails).endswith("held against it: no profile says its rate")
    wish = comparing.Wish([str(tmp_path / "a.folded")], [str(tmp_path / "b.folded")], per="share")
    found = comparing.run(wish, {})
    assert comparing.sentence(found, 0.05, []).endswith("held against it: compared are shares")


def test_a_files_name_moves_no_cursor() -> None:
    error = UsageError("\x1b[2Ja\u202eb\u00e9\udcff.md can't be read", why="a\nb")
    assert error.lines() == ["guard: \\x1b[2Ja\\u202eb\u00e9\\udcff.md can't be read: a\\x0ab"]
