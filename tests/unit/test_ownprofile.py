import os
from pathlib import Path

import pytest

from supervisor import ownprofile
from supervisor.actions import own_profile
from supervisor.errors import UsageError

BOTH = ("cpu-profile", "heap-profile")


def prepared(
    command: list[str], program: str, environment: dict[bytes, bytes] | None = None, kinds: tuple[str, ...] = BOTH,
    directory: str = "/e/own",
) -> ownprofile.Launch:  # fmt: skip
    return ownprofile.prepare(
        command, environment or {}, program, kinds, directory, cpu_interval_us=500, heap_interval=1024
    )


def test_a_node_gets_options() -> None:
    found = prepared(["node", "app.js", "--port", "1"], "/usr/bin/node")
    assert found.engine == "node" and found.kinds == BOTH and found.environment == {}
    assert found.command == [
        "node",
        "--cpu-prof", "--cpu-prof-dir=/e/own", "--cpu-prof-interval=500",
        "--heap-prof", "--heap-prof-dir=/e/own", "--heap-prof-interval=1024",
        "app.js", "--port", "1",
    ]  # fmt: skip


def test_a_bun_gets_a_variable_and_keeps_what_is_in_it() -> None:
    found = prepared(["bun", "app.ts"], "/opt/bun.exe", {b"BUN_OPTIONS": b"--silent", b"A": b"b"})
    assert found.command == ["bun", "app.ts"] and found.engine == "bun"
    assert found.environment == {
        b"A": b"b",
        b"BUN_OPTIONS": b"--silent --cpu-prof --cpu-prof-md --cpu-prof-dir=/e/own --cpu-prof-interval=500 "
        b"--heap-prof-md --heap-prof-dir=/e/own --heap-prof-interval=1024",
    }


def test_others_and_those_that_do_it_themselves_are_left_alone() -> None:
    assert prepared(["python", "app.py"], "/usr/bin/python3.11").engine == ""
    assert prepared(["node", "app.js"], "/usr/bin/node", kinds=()).engine == ""
    own = prepared(["node", "--cpu-prof", "app.js"], "/usr/bin/node", kinds=("cpu-profile",))
    assert (own.engine, own.command) == ("", ["node", "--cpu-prof", "app.js"])
    assert prepared(["node", "--cpu-prof", "app.js"], "/usr/bin/node").kinds == ("heap-profile",)
    assert prepared(["bun", "a.ts"], "/bun", {b"BUN_OPTIONS": b"--heap-prof"}).kinds == ("cpu-profile",)


def test_a_bun_and_a_directory_with_a_space_are_refused_before_the_start() -> None:
    with pytest.raises(UsageError) as refused:
        prepared(["bun", "a.ts"], "/bun", directory="/a b/own")
    assert "a space" in refused.value.why and "--profiles-dir" in refused.value.hint
    assert prepared(["bun", "a.ts"], "/bun", {b"BUN_OPTIONS": b"--cpu-prof --heap-prof"}, directory="/a b").engine == ""
    assert prepared(["node", "a.js"], "/node", directory="/a b/own").engine == "node"


def test_the_program_is_found_as_the_start_finds_it(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "node"
    program.parent.mkdir()
    program.touch(mode=0o755)
    (tmp_path / "link").symlink_to(program)
    path = {b"PATH": os.fsencode(program.parent)}
    assert ownprofile.program_of(["node"], path, None) == str(program)
    assert ownprofile.program_of(["./link"], path, str(tmp_path)) == str(program)
    assert ownprofile.program_of(["nodd"], path, None) == ""


def test_what_was_written_is_told_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "CPU.20261126.182107.9155.0.001.cpuprofile").write_text("{}")
    (tmp_path / "CPU.20261126.182107.9155.1.003.cpuprofile").write_text("{  }")
    (tmp_path / "CPU.20261126.182107.9155.1.004.cpuprofile").touch()
    (tmp_path / "Heap.20261126.182107.9155.0.002.heapprofile").write_text("{}")
    (tmp_path / "CPU.x.cpuprofile").write_text("{}")
    (tmp_path / "CPU.20261126.182107.9155.2.005.cpuprofile").symlink_to("/etc/passwd")
    found = own_profile.written(str(tmp_path), "CPU")
    assert [(each.pid, each.tid, each.suffix) for each in found] == [(9155, 1, ".cpuprofile"), (9155, 0, ".cpuprofile")]
    assert own_profile.written(str(tmp_path / "none"), "CPU") == []
