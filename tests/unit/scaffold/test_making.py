"""Files are written whole and all or none; what differs, and what is no file, stays as it is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from supervisor import files
from supervisor.errors import UsageError
from supervisor.scaffold import making, placing, settings_file
from supervisor.scaffold.wish import Wish

KINDS = list(making.KINDS)


def wish(directory: Path) -> Wish:
    return Wish(str(directory), "app", "app", "", ("python", "app.py"), 512 << 20, "guard", "/guard", False, False)


def call(directory: Path, *kinds: str, force: bool = False, dry_run: bool = False) -> making.Outcome:
    fd = placing.open_directory(str(directory))
    try:
        return making.carry_out(fd, wish(directory), kinds, force=force, dry_run=dry_run)
    finally:
        os.close(fd)


def tree(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def statuses(outcome: making.Outcome) -> dict[str, str]:
    return {each.path: status for each, status in outcome.done}


def test_all_of_them_then_nothing_to_do(tmp_path: Path) -> None:
    first = call(tmp_path, *KINDS)
    assert set(statuses(first).values()) == {"written"} and not first.refused
    written = tree(tmp_path)
    assert set(written) == set(statuses(first))
    second = call(tmp_path, *KINDS)
    assert set(statuses(second).values()) == {"same"}
    assert tree(tmp_path) == written


def test_what_differs_stays_and_holds_up_the_rest(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile.guard").write_text("FROM mine\n")
    outcome = call(tmp_path, "compose", "dockerfile")
    assert outcome.refused
    assert statuses(outcome) == {
        ".env.profiling": "would-write",
        "compose.guard.yaml": "would-write",
        "Dockerfile.guard": "differs",
    }
    assert tree(tmp_path) == {"Dockerfile.guard": b"FROM mine\n"}
    shown = making.text(outcome, diffs=False, colour=False, terminal=False)
    assert shown.startswith("--- a/Dockerfile.guard\n+++ b/Dockerfile.guard\n@@ ") and "\n-FROM mine\n" in shown
    assert "compose.guard.yaml: new" in shown and "--force" in shown.splitlines()[-1]
    replaced = call(tmp_path, "compose", "dockerfile", force=True)
    assert statuses(replaced)["Dockerfile.guard"] == "replaced" and not replaced.refused
    assert tree(tmp_path)["Dockerfile.guard"] != b"FROM mine\n"


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    outcome = call(tmp_path, *KINDS, dry_run=True)
    assert not outcome.refused and tree(tmp_path) == {} and list(tmp_path.iterdir()) == []
    shown = making.text(outcome, diffs=True, colour=False, terminal=False)
    assert shown.count("--- /dev/null\n") == len(KINDS) + 1


def test_settings_that_were_set_stay_set(tmp_path: Path) -> None:
    file = tmp_path / ".env.profiling"
    file.write_text("export MEMORY_WARNING_THRESHOLD='60%'   # mine\n")
    assert call(tmp_path).refused
    assert statuses(call(tmp_path, "compose"))[".env.profiling"] == "kept"
    assert file.read_text().startswith("export MEMORY")
    assert statuses(call(tmp_path, force=True)) == {".env.profiling": "replaced"}
    assert file.read_text().replace("MEMORY_WARNING_THRESHOLD=60%", "#MEMORY_WARNING_THRESHOLD=128") == (
        settings_file.render({})
    )
    assert statuses(call(tmp_path)) == {".env.profiling": "same"}


@pytest.mark.parametrize("path", ["Dockerfile.guard", ".env.profiling", ".github", ".github/workflows"])
def test_no_link_is_followed(tmp_path: Path, path: str) -> None:
    outside, place = tmp_path / "outside", tmp_path / "place"
    outside.mkdir()
    (place / path).parent.mkdir(parents=True)
    target = outside if path.startswith(".github") else outside / "file"
    (place / path).symlink_to(target)
    for force in (False, True):
        with pytest.raises(UsageError, match="is a link"):
            call(place, *KINDS, force=force)
    assert list(outside.iterdir()) == [] and tree(place) == {}


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_refused(tmp_path: Path, make: object) -> None:
    make(tmp_path / "compose.guard.yaml")  # type: ignore[operator]
    with pytest.raises(UsageError, match="is no file"):
        call(tmp_path, "compose", force=True)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "compose.guard.yaml", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError, match="larger than 1 MiB"):
        call(tmp_path, "compose")


def test_modes(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        call(tmp_path, "compose", "github-actions")
        assert stat.S_IMODE((tmp_path / "compose.guard.yaml").stat().st_mode) == 0o640
        assert stat.S_IMODE((tmp_path / ".github" / "workflows").stat().st_mode) == 0o750
        (tmp_path / "compose.guard.yaml").write_text("old")
        (tmp_path / "compose.guard.yaml").chmod(0o604)
        call(tmp_path, "compose", force=True)
        assert stat.S_IMODE((tmp_path / "compose.guard.yaml").stat().st_mode) == 0o604
    finally:
        os.umask(before)


def test_a_file_that_comes_up_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    fd = placing.open_directory(str(tmp_path))
    planned = placing.plan(fd, "compose.guard.yaml", "ours\n")
    (tmp_path / "compose.guard.yaml").write_text("theirs\n")
    with pytest.raises(UsageError, match="can't be written: File exists"):
        try:
            placing.put(fd, [planned])
        except UsageError as error:
            raise UsageError(error.lines()[0]) from None
    os.close(fd)
    assert tree(tmp_path) == {"compose.guard.yaml": b"theirs\n"}


def test_the_same_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    fd = placing.open_directory(str(tmp_path))
    files.put(fd, "new", b"ours", replace=False)
    with pytest.raises(FileExistsError):
        files.put(fd, "new", b"others", replace=False)
    os.close(fd)
    assert tree(tmp_path) == {"new": b"ours"}


def test_a_diff_for_a_terminal_moves_no_cursor(tmp_path: Path) -> None:
    (tmp_path / "compose.guard.yaml").write_bytes(b"\x1b]0;title\x07\x1b[2J\xff\xe2\x80\xae hidden\r\nlast line")
    (each, _) = call(tmp_path, "compose").done[1]
    shown = placing.diff(each, colour=False, terminal=True)
    assert all(line.replace("\t", "").isprintable() for line in shown.split("\n"))
    assert "-\\x1b]0;title\\x07\\x1b[2J\\xff\\u202e hidden\\x0d" in shown
    assert "\n-last line\n\\ No newline at end of file\n" in shown
    coloured = placing.diff(each, colour=True, terminal=True).split("\n")
    assert coloured[0].startswith("\033[1m--- ") and coloured[3].startswith("\033[31m-")


def test_a_diff_is_a_patch(tmp_path: Path) -> None:
    import shutil
    import subprocess

    if shutil.which("patch") is None:
        pytest.skip("no patch here")
    (tmp_path / "compose.guard.yaml").write_text("services:\n  # mine\n\x0c\u2028 odd separators\nlast")
    shown = making.text(call(tmp_path, "compose", dry_run=True), diffs=True, colour=False, terminal=False)
    subprocess.run(["patch", "-p1"], input=shown.encode(), cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert not call(tmp_path, "compose").refused
    assert set(statuses(call(tmp_path, "compose")).values()) == {"same"}
