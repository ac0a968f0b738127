# ruff: noqa: E501 (the table is read by its lines)
"""Verdicts: evidence and what the kernel says in, cause and certainty out."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor.evidence import Event, FlightProcess, FlightSample, Record, Run
from supervisor.postmortem.ending import Known, judge, kill_of
from supervisor.postmortem.kernel import Facts, OomKill

START = 1_800_000_000.0
END = START + 60
LIMIT = 100_000_000
GROUP = "/pods/a"


def sample(elapsed_s: float, use: int, *, slope: float = 0.0, kills: int | None = 0, name: str = "app") -> FlightSample:
    return FlightSample(
        START + elapsed_s, elapsed_s, "ok", use, use, LIMIT, slope, kills, 1, (FlightProcess(43, name, use, 1),)
    )


def known(
    outcome: str | None = None,
    *,
    code: int | None = None,
    by: str | None = None,
    oom_kills: int | None = None,
    last: FlightSample | None = None,
    events: tuple[Event, ...] = (),
    facts: Facts | None = None,
    lives: bool = False,
    **record: Any,
) -> Known:
    fields: dict[str, Any] = {
        "pid": 43, "guard_pid": 42, "started_s": START, "limit_bytes": LIMIT, "raw": {"run": "r"},
        "limit_source": "cgroup v2 /sys/fs/cgroup/pods/a", "cgroup": "/sys/fs/cgroup/pods/a", "host": "h",
        "outcome": outcome, "code": code, "signal": by, "oom_kills": oom_kills,
        "ended_s": None if outcome is None else END,
    } | record  # fmt: skip
    run = Run("r", "/p/monitored/r", "/p", Record(**fields), lives)
    samples = [sample(50, 20_000_000), last or sample(59, 20_000_000)]
    return Known(run, samples, list(events), facts or Facts("here", log=()))


def kill(pid: int = 43, name: str = "app", at_s: float = END, group: str | None = GROUP, **more: Any) -> OomKill:
    return OomKill(at_s, pid, name, group, group, 90_000_000, **more)


def event(name: str, **fields: Any) -> Event:
    return Event(name, "info", END - 1, fields)


FULL = sample(59, 95_000_000)
FAST = sample(59, 60_000_000, slope=30_000_000)
BLIND = Facts("here", log=None, log_refused="Operation not permitted")

CASES: list[tuple[str, Known, str, str, str]] = [
    ("exit 0", known("exited", code=0, oom_kills=0), "exit", "certain", "exited with code 0"),
    ("exit 3", known("exited", code=3), "exit", "certain", "code 3"),
    ("a child's OOM kill outlived", known("exited", code=1, oom_kills=1), "exit", "certain", "code 1"),
    ("a shell's 143", known("exited", code=143), "exit", "certain", "SIGTERM ended"),
    ("a shell's 137 and the counter", known("exited", code=137, oom_kills=1), "oom-kill", "likely", "tree was OOM"),
    (
        "a shell's 137 and the log",
        known("exited", code=137, oom_kills=1, facts=Facts("here", log=(kill(),))),
        "oom-kill", "certain", "tree was OOM-killed",
    ),
    ("a shell's 137 alone", known("exited", code=137, oom_kills=0), "exit", "certain", "SIGKILL ended"),
    ("a fault", known("signalled", by="SIGSEGV", code=139), "signal", "certain", "a fault of its own"),
    (
        "a forwarded signal",
        known("signalled", by="SIGTERM", events=(event("signal.forwarded", sent="SIGTERM", signal="SIGTERM"),)),
        "signal", "certain", "guard passed on",
    ),
    ("somebody's kill -9", known("signalled", by="SIGKILL", oom_kills=0), "signal", "certain", "guard didn't send"),
    (
        "SIGKILL that the log explains",
        known("signalled", by="SIGKILL", facts=Facts("here", log=(kill(group=None, machine=True),))),
        "oom-kill", "certain", "the machine's memory was used up",
    ),
    (
        "SIGKILL near the limit, nobody counted",
        known("signalled", by="SIGKILL", last=sample(59, 95_000_000, kills=None), facts=BLIND),
        "oom-kill", "likely", "it seems",
    ),
    ("counter and a full limit", known("oom-killed", oom_kills=1, last=FULL, facts=BLIND), "oom-kill", "certain", "/pods/a"),
    ("counter and a steep slope", known("oom-killed", oom_kills=1, last=FAST, facts=BLIND), "oom-kill", "certain", "limit of 100 MB"),
    ("counter alone", known("oom-killed", oom_kills=1, facts=BLIND), "oom-kill", "likely", "was reached"),
    ("counter in guard's own container", known("oom-killed", oom_kills=1, facts=BLIND, guard_pid=1), "oom-kill", "certain", ""),
    (
        "counter and log",
        known("oom-killed", oom_kills=1, facts=Facts("here", log=(kill(),))),
        "oom-kill", "certain", GROUP,
    ),
    (
        "told to stop",
        known("stopped", by="SIGTERM", code=143, events=(event("signal.forwarded", signal="SIGTERM", sent="SIGTERM"),)),
        "stopped", "certain", "told to by SIGTERM",
    ),
    (
        "a restart",
        known("replaced", events=(event("restart.scheduled", reason="memory reached 95 %"),)),
        "restart", "certain", "memory reached 95 %",
    ),
    ("an outcome of a later guard", known("vanished"), "unknown", "unknown", "vanished"),
    ("alive", known(lives=True), "running", "certain", "guard watches"),
    ("guard killed", known(facts=Facts("here", log=(), target_lives=False)), "guard-killed", "certain", "itself was killed"),
    ("guard killed, target lives", known(facts=Facts("here", log=(), target_lives=True)), "guard-killed", "certain", "43) lives on"),
    ("marked so by a later guard", known("guard-killed", facts=Facts("here", log=())), "guard-killed", "certain", ""),
    (
        "guard OOM-killed",
        known(facts=Facts("here", log=(kill(42, "guard", END + 3),))),
        "oom-kill", "certain", "guard was hit",
    ),
    ("the counter rose since", known(facts=Facts("here", log=None, oom_kills=2)), "oom-kill", "likely", "together with guard"),
    ("full, and nobody to ask", known(last=FULL, facts=BLIND), "oom-kill", "likely", "95 % of the limit"),
    ("full, and the log says no", known(last=FULL, facts=Facts("here", log=())), "guard-killed", "certain", ""),
    ("lock lost", known(facts=Facts("here", log=(), guard_lives=True)), "running", "likely", "without its lock"),
    ("the machine went down", known(facts=Facts("rebooted")), "machine-gone", "likely", "machine went down"),
    ("full, then the machine", known(last=FULL, facts=Facts("rebooted")), "oom-kill", "likely", "together with guard"),
    ("from elsewhere", known(facts=Facts("elsewhere")), "guard-killed", "likely", "copy"),
    (
        "its end record could not be written",
        known(events=(event("run.exited", outcome="signalled", signal="SIGSEGV", code=139),)),
        "signal", "certain", "SIGSEGV",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "cause", "certainty", "words"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_verdict(given: Known, cause: str, certainty: str, words: str) -> None:
    verdict = judge(given)
    assert (verdict.cause, verdict.certainty) == (cause, certainty), verdict
    assert words in verdict.words
    assert verdict.why
    if cause == "oom-kill":
        assert verdict.group


def test_nothing_at_all() -> None:
    nothing = Known(Run("r", "/r", None, Record(), problems=("run.json: cut short",)), [], [], Facts("unknown"))
    verdict = judge(nothing)
    assert (verdict.cause, verdict.certainty) == ("unknown", "unknown") and verdict.why == ("run.json: cut short",)


@pytest.mark.parametrize(
    ("log", "found"),
    [
        ((kill(at_s=START - 60),), False),  # the pid was somebody else's before
        ((kill(at_s=END + 60),), False),
        ((kill(name="other"),), False),
        ((kill(pid=7),), True),  # another pid namespace: name, cgroup and time
        ((kill(pid=7, group="/other"),), False),
        ((kill(pid=7, at_s=END - 30),), False),
        ((kill(pid=42, name="guard"),), True),
    ],
)
def test_a_kill_is_the_runs_by_pid_name_and_time(log: tuple[OomKill, ...], found: bool) -> None:
    assert (kill_of(known("oom-killed", oom_kills=1, facts=Facts("here", log=log))) is not None) is found


def test_a_group_killed_together() -> None:
    """memory.oom.group: the largest is the one to look at, whichever the kernel names last."""
    member = OomKill(END + 3.05, 42, "guard", GROUP, GROUP, 11_000_000)
    log = (kill(at_s=END + 3), member)
    verdict = judge(known(facts=Facts("here", log=log)))
    assert (verdict.certainty, verdict.victim) == ("certain", 43) and "guard and its tree together" in verdict.words


def test_guard_killed_before_it_wrote_anything() -> None:
    """The folder's name tells its pid and when it began."""
    run = Run("r", "/r", None, Record(started_s=START, guard_pid=42), problems=("run.json: No such file",))
    verdict = judge(Known(run, [], [], Facts("unknown", log=(kill(42, "guard", START + 1),))))
    assert (verdict.cause, verdict.certainty, verdict.victim) == ("oom-kill", "certain", 42)
    later = judge(Known(run, [], [], Facts("unknown", log=(kill(42, "guard", START + 100),))))
    assert later.cause == "unknown"


def test_a_container_is_known_by_its_host_name() -> None:
    log = (OomKill(END, 9001, "app", "/docker/0123456789abcdef00", "/docker/0123456789abcdef00"),)
    inside = {"cgroup": "/sys/fs/cgroup", "facts": Facts("here", log=log)}
    assert kill_of(known("oom-killed", host="0123456789ab", **inside)) == log[0]
    assert kill_of(known("oom-killed", host="web-7", **inside)) is None


def test_names_longer_than_the_kernels() -> None:
    last = sample(59, 20_000_000, name="a-very-long-name-of-a-process")
    given = known("oom-killed", oom_kills=1, last=last, facts=Facts("here", log=(kill(name="a-very-long-nam"),)))
    assert judge(given).certainty == "certain"
