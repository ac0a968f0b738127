"""Whole cgroup trees as data: v1, v2, nested, seen from inside a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor import cgroup

MIB = 1 << 20


class Tree:
    """A fake /proc and a fake mount, with helpers to fill them."""

    def __init__(self, root: Path) -> None:
        self.proc = root / "proc"
        self.mount = root / "cgroup"
        (self.proc / "self").mkdir(parents=True)
        self.mount.mkdir()

    def write(self, groups: str, kind: str, options: str, root: str = "/") -> None:
        (self.proc / "self" / "cgroup").write_text(groups)
        other = "20 1 0:5 / /proc rw - proc proc rw\n"
        line = f"30 20 0:26 {root} {self.mount} rw,nosuid shared:4 - {kind} cgroup rw,{options}\n"
        (self.proc / "self" / "mountinfo").write_text(other + line)

    def group(self, path: str, **files: object) -> None:
        directory = self.mount / path
        directory.mkdir(parents=True, exist_ok=True)
        for name, value in files.items():
            (directory / name.replace("__", ".")).write_text(f"{value}\n")

    def v2(self, path: str, limit: object, current: int, inactive: int = 0, kills: int = 0) -> None:
        self.group(path, memory__max=limit, memory__current=current, memory__stat=f"anon 5\ninactive_file {inactive}",
                   memory__events=f"low 0\noom 1\noom_kill {kills}\noom_group_kill 0")  # fmt: skip

    def v1(self, path: str, limit: int, usage: int, inactive: int = 0, kills: int = 0) -> None:
        self.group(path, memory__limit_in_bytes=limit, memory__usage_in_bytes=usage,
                   memory__stat=f"cache 1\ntotal_inactive_file {inactive}",
                   memory__oom_control=f"oom_kill_disable 0\nunder_oom 0\noom_kill {kills}")  # fmt: skip

    def read(self) -> cgroup.Memory:
        return cgroup.read_memory(cgroup.find("self", str(self.proc)))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_v2_working_set_and_kills(tree: Tree) -> None:
    tree.write("0::/app\n", "cgroup2", "x")
    tree.v2("app", 100 * MIB, 80 * MIB, inactive=30 * MIB, kills=2)
    memory = tree.read()
    assert (memory.limit_bytes, memory.use_bytes, memory.oom_kills) == (100 * MIB, 50 * MIB, 2)


def test_v2_walks_up_to_the_group_that_binds(tree: Tree) -> None:
    tree.write("0::/pod/app/leaf\n", "cgroup2", "x")
    tree.v2("pod", 200 * MIB, 190 * MIB)
    tree.v2("pod/app", 150 * MIB, 20 * MIB)
    tree.v2("pod/app/leaf", "max", 10 * MIB)
    memory = tree.read()
    assert (memory.limit_bytes, memory.use_bytes) == (200 * MIB, 190 * MIB)
    assert memory.directory == str(tree.mount / "pod")


def test_v2_high_with_the_least_headroom_below_the_limit(tree: Tree) -> None:
    tree.write("0::/pod/app\n", "cgroup2", "x")
    tree.v2("pod", 200 * MIB, 100 * MIB)
    tree.v2("pod/app", "max", 80 * MIB, inactive=10 * MIB)
    assert tree.read().high is None
    tree.group("pod", memory__high=160 * MIB)
    tree.group("pod/app", memory__high=90 * MIB, memory__events="low 0\nhigh 7\nmax 0\noom 0\noom_kill 0")
    memory = tree.read()
    assert (memory.limit_bytes, memory.directory) == (200 * MIB, str(tree.mount / "pod"))
    assert memory.high is not None
    found = (memory.high.high_bytes, memory.high.use_bytes, memory.high.events, memory.high.directory)
    assert found == (90 * MIB, 70 * MIB, 7, str(tree.mount / "pod/app"))
    tree.group("pod/app", memory__high="max")
    tree.group("pod", memory__high=300 * MIB)
    assert tree.read().high is None  # memory.max comes first


def test_v2_a_neighbours_oom_kill_under_a_shared_limit_is_not_ours(tree: Tree) -> None:
    tree.write("0::/pod/app\n", "cgroup2", "x")
    tree.v2("pod", 200 * MIB, 190 * MIB, kills=5)
    tree.v2("pod/app", "max", 80 * MIB, kills=1)
    memory = tree.read()
    assert (memory.directory, memory.oom_kills) == (str(tree.mount / "pod"), 1)


def test_v2_without_a_limit_tells_the_innermost_use(tree: Tree) -> None:
    tree.write("0::/app\n", "cgroup2", "x")
    tree.v2("app", "max", 10 * MIB)
    memory = tree.read()
    assert (memory.limit_bytes, memory.use_bytes) == (None, 10 * MIB)


def test_v1_unlimited_is_no_limit(tree: Tree) -> None:
    tree.write("4:memory:/job\n0::/\n", "cgroup", "memory")
    tree.v1("job", 9223372036854771712, 10 * MIB)
    assert tree.read().limit_bytes is None
    tree.v1("job", 64 * MIB, 60 * MIB, inactive=MIB, kills=1)
    memory = tree.read()
    assert (memory.limit_bytes, memory.use_bytes, memory.oom_kills) == (64 * MIB, 59 * MIB, 1)


def test_inside_a_container_the_mounts_root_is_stripped(tree: Tree) -> None:
    tree.write("4:memory:/libpod_parent/libpod-1a2b\n", "cgroup", "memory", root="/libpod_parent/libpod-1a2b")
    tree.v1(".", 128 * MIB, 100 * MIB)
    assert tree.read().limit_bytes == 128 * MIB


def test_a_group_above_the_namespace_root_falls_back_to_the_mount(tree: Tree) -> None:
    tree.write("0::/../..\n", "cgroup2", "x")
    tree.v2(".", 128 * MIB, MIB)
    assert tree.read().limit_bytes == 128 * MIB


def test_names_with_spaces_are_unescaped(tree: Tree) -> None:
    assert cgroup._unescape("/a\\040b\\134c") == "/a b\\c"


@pytest.mark.parametrize("groups", ["", "nonsense", "0::/gone\n", "4:memory:/gone\n"])
def test_nothing_there_is_no_figure(tree: Tree, groups: str) -> None:
    tree.write(groups, "cgroup2", "x")
    memory = tree.read()
    assert (memory.limit_bytes, memory.use_bytes, memory.oom_kills) == (None, None, None)


def test_no_proc_at_all(tmp_path: Path) -> None:
    place = cgroup.find("self", str(tmp_path / "none"))
    assert (place.memory, place.cpu) == ([], [])
    assert cgroup.machine_memory(str(tmp_path)) is None


def test_garbage_in_files_is_no_figure(tree: Tree) -> None:
    tree.write("0::/app\n", "cgroup2", "x")
    tree.v2("app", "-5", 10 * MIB)
    assert tree.read().limit_bytes is None


def test_a_reader_sees_changes_and_a_group_that_goes_away(tree: Tree) -> None:
    tree.write("0::/app\n", "cgroup2", "x")
    tree.v2("app", 100 * MIB, 10 * MIB)
    reader = cgroup.Reader(cgroup.find("self", str(tree.proc)))
    assert reader.read().limit_bytes == 100 * MIB
    (tree.mount / "app" / "memory.max").write_text(f"{200 * MIB}\n")
    assert reader.read().limit_bytes == 200 * MIB
    reader.close()


def test_cores(tree: Tree) -> None:
    tree.write("0::/app/leaf\n", "cgroup2", "x")
    tree.group("app", cpu__max="150000 100000")
    tree.group("app/leaf", cpu__max="max 100000")
    assert cgroup.cores(cgroup.find("self", str(tree.proc)), 8) == 1.5
    tree.write("2:cpu,cpuacct:/job\n", "cgroup", "cpu,cpuacct")
    tree.group("job", cpu__cfs_quota_us=-1, cpu__cfs_period_us=100000)
    assert cgroup.cores(cgroup.find("self", str(tree.proc)), 8) == 8
    tree.group("job", cpu__cfs_quota_us=50000, cpu__cfs_period_us=100000)
    assert cgroup.cores(cgroup.find("self", str(tree.proc)), 8) == 0.5


def test_this_machine() -> None:
    assert (cgroup.machine_memory() or 0) > 1 << 28


def test_the_share_of_time_that_tasks_waited_for_memory() -> None:
    psi = "some avg10=12.34 avg60=0.59 avg300=0.43 total=38963966\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=2\n"
    assert cgroup.waiting_percent(psi) == 12.34
    assert [cgroup.waiting_percent(text) for text in ("", "full avg10=1.00", "some avg10=x y")] == [None, None, None]


def test_a_group_by_its_name(tree: Tree) -> None:
    tree.write("0::/\n", "cgroup2", "rw")
    tree.group("system.slice/app.service/below")
    proc = str(tree.proc)
    assert cgroup.named("/system.slice/app.service", proc) == f"{tree.mount}/system.slice/app.service"
    assert cgroup.named("/system.slice/other.service", proc) is None
    assert cgroup.named("/app.service", proc) is None
    tree.write("", "cgroup", "rw,memory")
    assert cgroup.named("/system.slice", proc) == f"{tree.mount}/system.slice"
    tree.write("", "cgroup", "rw,cpu")
    assert cgroup.named("/system.slice", proc) is None


def test_members_are_those_of_groups_below_as_well(tree: Tree) -> None:
    tree.group("a", cgroup__procs="1\n2")
    tree.group("a/b", cgroup__procs="3")
    tree.group("a/c")  # nothing to be read
    assert cgroup.members(str(tree.mount / "a"), 10) == [1, 2, 3]
    assert cgroup.members(str(tree.mount / "a"), 2) == [1, 2]
    assert cgroup.members(str(tree.mount / "gone"), 2) == []
