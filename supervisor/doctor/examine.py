"""`guard doctor`: what works on this machine for this target, tried for real, and how to get the rest."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from typing import Any

from supervisor import facts, sample
from supervisor.actions.task import command_line
from supervisor.doctor import checks
from supervisor.doctor.tryout import ABSENT, REFUSED, WORKS, Scene, Throwaway, Verdict, absent, bounded
from supervisor.errors import UsageError
from supervisor.profilers import permission

SCHEMA_VERSION = 1
_MOST_HINTS = 5
# On a process that isn't ours to disturb, only what leaves it as it is.
_THROWAWAY_ONLY = ("growth names the function",)


@dataclass(frozen=True, slots=True)
class Finding:
    """A capability: `works`, `refused` (then `hint` says how to get it) or `absent` by nature."""

    name: str
    group: str
    status: str
    detail: str
    hint: str


@dataclass(frozen=True, slots=True)
class Report:
    """All findings. `target` is the process of --pid (pid, name, command), or None for the throw-away one."""

    findings: tuple[Finding, ...]
    target: dict[str, Any] | None

    def count(self, status: str) -> int:
        """How many findings have this status."""
        return sum(finding.status == status for finding in self.findings)

    @property
    def share(self) -> float:
        """The share of capabilities that work, 0 to 1."""
        return self.count(WORKS) / max(1, len(self.findings))


def examine(pid: int | None, profiles_dir: str) -> Report:
    """Try everything, on `pid` where given. Raises UsageError when there is no such process."""
    subject = None
    if pid is not None:
        subject = sample.read_process(pid)
        if subject is None or subject.state in ("Z", "X"):
            raise UsageError(f"there is no process {pid}", hint="guard doctor --pid PID, with a pid that ps shows")
    limit = facts.gather(dict(os.environ))
    scratch = tempfile.mkdtemp(prefix="guard-doctor-")
    try:
        if subject is not None:
            scene = Scene(os.getpid(), subject, subject.pid, profiles_dir, scratch, throwaway=False)
            return Report(_try_all(scene), {"pid": pid, "name": subject.name, "command": command_line(subject.pid)})
        with Throwaway(limit.limit_bytes) as made:
            trouble = made if isinstance(made, str) else ""
            process = None if isinstance(made, str) else made
            return Report(_try_all(Scene(os.getpid(), process, "self", profiles_dir, scratch, trouble)), None)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _try_all(scene: Scene) -> tuple[Finding, ...]:
    findings: list[Finding] = []
    not_python = ""
    for group, group_checks in checks.GROUPS.items():
        for check in group_checks:
            if not_python and check.python:
                verdict = absent(not_python)
            elif check.name in _THROWAWAY_ONLY and not scene.throwaway:
                verdict = absent("only tried on the throw-away process: guard doctor without --pid")
            else:
                verdict = bounded(check, scene)
            if check.python and not scene.throwaway and verdict.detail.startswith("not-python"):
                not_python = "the process is not Python"
                verdict = absent(not_python)
            findings.append(_finding(check.name, group, verdict))
    return tuple(findings)


def _finding(name: str, group: str, verdict: Verdict) -> Finding:
    hint = verdict.hint or (permission.ptrace_hint() if verdict.status == REFUSED else "")
    return Finding(name, group, verdict.status, verdict.detail, hint)


def text(report: Report) -> str:
    """The report for people: a table, the counts, and what to type to get the rest."""
    width = max(len(finding.name) for finding in report.findings)
    on = "a throw-away Python process"
    if report.target is not None:
        on = f"process {report.target['pid']} ({report.target['name']})"
    lines = [f"tried on {on}"]
    group = ""
    for finding in report.findings:
        if finding.group != group:
            group = finding.group
            lines += ["", group]
        lines.append(f"  {finding.name:<{width}}  {finding.status:<8}  {finding.detail}")
    total = len(report.findings)
    lines += [
        "",
        f"{total} capabilities: {report.count(WORKS)} work ({report.share * 100:.1f} %), "
        f"{report.count(REFUSED)} refused, {report.count(ABSENT)} absent by nature",
    ]
    hints = [f"  {finding.name}: {finding.hint}" for finding in report.findings if finding.status == REFUSED]
    if hints:
        lines += ["", "to get the rest", *hints[:_MOST_HINTS]]
        if len(hints) > _MOST_HINTS:
            lines.append(f"  and {len(hints) - _MOST_HINTS} more: guard doctor --json")
    return "\n".join(lines)


def document(report: Report) -> dict[str, Any]:
    """The report for programs."""
    return {
        "schema_version": SCHEMA_VERSION,
        "target": report.target,
        "counts": {
            "total": len(report.findings),
            "works": report.count(WORKS),
            "refused": report.count(REFUSED),
            "absent": report.count(ABSENT),
            "works_share": round(report.share, 4),
        },
        "capabilities": [asdict(finding) for finding in report.findings],
    }
