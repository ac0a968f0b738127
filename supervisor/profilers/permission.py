"""What a place refuses to profilers and what lets them in: ptrace, perf events; capabilities, seccomp, sysctl.

Sources: capabilities(7), proc_pid_status(5), ptrace(2) for Yama, perf_event_open(2) for its paranoia; the default
seccomp profiles of Docker and podman let ptrace and perf_event_open through for one capability each.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from supervisor import cgroup

SYS_PTRACE = 19
SYS_ADMIN = 21
PERFMON = 38


@dataclass(frozen=True, slots=True)
class Place:
    """What decides: the effective capabilities as bits, whether a seccomp filter holds, two sysctls."""

    capabilities: int
    filtered: bool
    yama: int
    paranoid: int

    def has(self, capability: int) -> bool:
        """Whether the capability is effective."""
        return bool(self.capabilities >> capability & 1)


def here(proc: str = "/proc") -> Place:
    """This process's place. What can't be read counts as the usual value."""
    lines = (line.partition(":") for line in (cgroup.read_text(f"{proc}/self/status") or "").splitlines())
    status = {name: value.strip() for name, _, value in lines}
    yama = cgroup.read_text(f"{proc}/sys/kernel/yama/ptrace_scope") or "0"
    paranoid = cgroup.read_text(f"{proc}/sys/kernel/perf_event_paranoid") or "2"
    return Place(
        int(status.get("CapEff", "0"), 16), status.get("Seccomp") == "2", _number(yama, 0), _number(paranoid, 2)
    )


def ptrace_hint(place: Place | None = None) -> str:
    """The setting that most likely lets a profiler read another process."""
    place = place or here()
    if place.yama >= 3:
        return "reboot with sysctl.kernel.yama.ptrace_scope=1 (3 can't be lowered while running)"
    if place.yama == 2:
        return "sysctl kernel.yama.ptrace_scope=1, or run guard with --cap-add SYS_PTRACE"
    if place.has(SYS_PTRACE) and place.filtered:
        return "docker run --security-opt seccomp=FILE, with a profile that allows ptrace and process_vm_readv"
    if place.yama == 1:
        return "guard run --allow-ptrace -- COMMAND, or docker run --cap-add SYS_PTRACE"
    hint = "docker run --cap-add SYS_PTRACE, or run guard as the target's user"
    return f"{hint}; a seccomp profile of your own must allow ptrace" if place.filtered else hint


def perf_hint(place: Place | None = None) -> str:
    """The setting that most likely lets guard count page faults."""
    place = place or here()
    if place.filtered and (place.has(PERFMON) or place.has(SYS_ADMIN)):
        return (
            "docker run --security-opt seccomp=FILE, with a profile that allows perf_event_open "
            "(this one is older than CAP_PERFMON)"
        )
    if place.paranoid > 2:
        return "sysctl kernel.perf_event_paranoid=2, or docker run --cap-add PERFMON"
    return "docker run --cap-add PERFMON"


def ptrace_refusal(said: str) -> dict[str, str]:
    """The fields of `capability.missing` where ptrace is refused."""
    return {"capability": "ptrace", "add": "SYS_PTRACE", "reason": said, "hint": ptrace_hint()}


def perf_refusal(error: OSError) -> dict[str, str]:
    """The same where the page-fault trap is."""
    said = f"perf_event_open: {error.strerror}"
    if error.errno in (errno.EPERM, errno.EACCES):
        return {"capability": "page-fault trap", "add": "PERFMON", "reason": said, "hint": perf_hint()}
    return {"capability": "page-fault trap", "reason": said, "hint": "a kernel with CONFIG_PERF_EVENTS"}


def _number(text: str, usual: int) -> int:
    try:
        return int(text)
    except ValueError:
        return usual
