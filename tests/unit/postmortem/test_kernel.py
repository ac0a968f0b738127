"""The kernel's log: real lines of several kernels, lines that a hostile name made, noise."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.evidence import Record, Run
from supervisor.postmortem import kernel
from supervisor.postmortem.kernel import OomKill, oom_kills
from supervisor.store import boot_id

GROUP = "/process_api/guard-pm"
MEMCG = [
    "6,900,2393410834,-;[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
    "6,901,2393410845,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,"
    f"oom_memcg={GROUP},task_memcg={GROUP}/inner,task=python,pid=16624,uid=0\n SUBSYSTEM=x",
    "3,902,2393410864,-;Memory cgroup out of memory: Killed process 16624 (python) total-vm:57596kB, anon-rss:47744kB, "
    "file-rss:5912kB, shmem-rss:16kB, UID:0 pgtables:160kB oom_score_adj:0",
    "6,903,2393420000,-;oom_reaper: reaped process 16624 (python), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB",
]


def test_a_limit_of_a_cgroup() -> None:
    (kill,) = oom_kills(MEMCG, 1000.0)
    assert kill == OomKill(3393.410845, 16624, "python", GROUP, GROUP + "/inner", (47744 + 5912 + 16) * 1024)


def test_the_machines_memory() -> None:
    lines = [
        "6,1,5000000,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,"
        "task_memcg=/user.slice,task=chrome,pid=77,uid=1000",
        "3,2,5000100,-;Out of memory: Killed process 77 (chrome) total-vm:1kB, anon-rss:2kB, file-rss:0kB, "
        "shmem-rss:0kB, UID:1000 pgtables:8kB oom_score_adj:300",
    ]
    (kill,) = oom_kills(lines, 0.0)
    assert (kill.pid, kill.group, kill.task_group, kill.machine, kill.rss_bytes) == (
        77,
        None,
        "/user.slice",
        True,
        2048,
    )


def test_a_whole_group_is_killed_with_its_first() -> None:
    member = MEMCG[2].replace("16624 (python)", "16621 (guard)").replace("3,902,2393410864", "3,903,2393410900")
    first, second = oom_kills([*MEMCG[:3], member], 0.0)
    assert (first.pid, second.pid, second.name, second.group) == (16624, 16621, "guard", GROUP)
    late = member.replace("2393410900", "2399999999")
    assert oom_kills([*MEMCG[:3], late], 0.0)[1].group is None
    old = [MEMCG[2]]  # kernels before 5.0 have no oom-kill: line
    assert oom_kills(old, 0.0)[0].group is None and not oom_kills(old, 0.0)[0].machine


@pytest.mark.parametrize("name", ["a,pid=1,uid=0", "x,task=y", ")", "(", "a b", " total-vm:", "\\x1b[31m"])
def test_a_hostile_name_hides_no_pid(name: str) -> None:
    lines = [MEMCG[1].replace("task=python", f"task={name}"), MEMCG[2].replace("(python)", f"({name})")]
    kills = oom_kills(lines, 0.0)
    assert [kill.pid for kill in kills] == [16624]
    assert kills[0].name == name and kills[0].group == GROUP and kills[0].rss_bytes


@given(st.lists(st.text(alphabet="oom-kill:constraint=,;pid=task1234567890 Killed process()-rss:kB", max_size=80)))
def test_noise_trips_nobody(lines: list[str]) -> None:
    for kill in oom_kills([*lines, *(f"6,1,2,-;oom-kill:constraint={line}" for line in lines)], 0.0):
        assert kill.pid >= 0


def test_the_log_is_read_or_refused() -> None:
    try:
        messages = kernel.read_log()
    except OSError as error:
        pytest.skip(f"/dev/kmsg: {os.strerror(error.errno or 0)}")
    assert all(";" in message for message in messages)
    with pytest.raises(OSError):
        kernel.read_log("/nowhere")


def run_of(**fields: object) -> Run:
    return Run("r", "/r", None, Record(**fields))  # type: ignore[arg-type]


def test_where_a_run_was() -> None:
    here, host = boot_id(), os.uname().nodename
    assert kernel.place_of(run_of(boot_id=here, host="x")) == "here"
    assert kernel.place_of(run_of(boot_id="other", host=host)) == "rebooted"
    assert kernel.place_of(run_of(boot_id="other", host="x")) == "elsewhere"
    assert kernel.place_of(run_of()) == "unknown"
    assert kernel.ask(run_of(boot_id="other", host="x")).log is None


def test_a_pid_that_is_another_process_by_now_is_not_alive() -> None:
    own, host = os.getpid(), os.uname().nodename
    with open(f"/proc/{own}/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    began = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
    facts = kernel.ask(run_of(boot_id=boot_id(), host=host, guard_pid=own, pid=own, started_s=began))
    assert facts.guard_lives is True and facts.target_lives is True
    facts = kernel.ask(run_of(boot_id=boot_id(), host=host, guard_pid=own, pid=own, started_s=began - 60))
    assert facts.guard_lives is False and facts.target_lives is False
    facts = kernel.ask(run_of(boot_id=boot_id(), host="another container", guard_pid=own, started_s=began))
    assert facts.guard_lives is None


def test_counters_are_read_only_below_the_cgroup_mount(tmp_path: Path) -> None:
    (tmp_path / "memory.oom_control").write_text("oom_kill 7\n")
    for directory in (str(tmp_path), "/sys/fs/cgroup/../../../etc", "relative", "/sys/fs/cgroup/nowhere"):
        assert kernel.ask(run_of(boot_id=boot_id(), cgroup=directory)).oom_kills is None
