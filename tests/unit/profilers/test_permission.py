"""What lets profilers in: the hint fits the place."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from supervisor.profilers import permission
from supervisor.profilers.permission import PERFMON, SYS_ADMIN, SYS_PTRACE, Place


def place(*capabilities: int, filtered: bool = False, yama: int = 0, paranoid: int = 2) -> Place:
    return Place(sum(1 << capability for capability in capabilities), filtered, yama, paranoid)


@pytest.mark.parametrize(
    ("where", "telling", "beside_the_point"),
    [
        (place(), "--cap-add SYS_PTRACE", "seccomp"),
        (place(filtered=True), "--cap-add SYS_PTRACE", "--security-opt"),
        (place(filtered=True), "seccomp profile", "sysctl"),
        (place(SYS_PTRACE, filtered=True), "--security-opt seccomp=", "--cap-add"),
        (place(yama=1), "--allow-ptrace", "seccomp"),
        (place(yama=2), "ptrace_scope=1", "--allow-ptrace"),
        (place(SYS_PTRACE, filtered=True, yama=3), "reboot", "--cap-add"),
    ],
)
def test_ptrace(where: Place, telling: str, beside_the_point: str) -> None:
    hint = permission.ptrace_hint(where)
    assert telling in hint
    assert beside_the_point not in hint


@pytest.mark.parametrize(
    ("where", "telling", "beside_the_point"),
    [
        (place(), "--cap-add PERFMON", "sysctl"),
        (place(filtered=True), "--cap-add PERFMON", "sysctl"),
        (place(paranoid=3), "perf_event_paranoid=2", "seccomp"),
        (place(PERFMON, filtered=True), "--security-opt seccomp=", "--cap-add"),
        (place(SYS_ADMIN, filtered=True), "--security-opt seccomp=", "--cap-add"),
    ],
)
def test_perf_events(where: Place, telling: str, beside_the_point: str) -> None:
    hint = permission.perf_hint(where)
    assert telling in hint
    assert beside_the_point not in hint


def test_a_kernel_without_perf_events_lacks_no_capability() -> None:
    told = permission.perf_refusal(OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)))
    assert "add" not in told
    assert "CONFIG_PERF_EVENTS" in told["hint"]
    assert permission.perf_refusal(OSError(errno.EPERM, "no"))["add"] == "PERFMON"
    assert permission.ptrace_refusal("no")["add"] == "SYS_PTRACE"


def test_the_place_is_read_from_proc(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "status").write_text("Name:\tx\nCapEff:\t0000004000080000\nSeccomp:\t2\n")
    for path, text in (("yama/ptrace_scope", "1\n"), ("perf_event_paranoid", "-1\n")):
        file = tmp_path / "sys" / "kernel" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    found = permission.here(str(tmp_path))
    assert found == Place((1 << PERFMON) | (1 << SYS_PTRACE), True, 1, -1)
    assert found.has(PERFMON) and not found.has(SYS_ADMIN)
    assert permission.here(str(tmp_path / "nothing")) == Place(0, False, 0, 2)


def test_this_machine_can_be_read() -> None:
    assert permission.here().capabilities >= 0
