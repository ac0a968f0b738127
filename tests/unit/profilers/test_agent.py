"""Why no heap agent answers: from a command line, from an environment."""

from __future__ import annotations

import os

import pytest

from supervisor import launch
from supervisor.profilers import agent, engine


@pytest.mark.parametrize(
    ("command", "found"),
    [
        (["python3", "app.py", "-S"], ""),
        (["python3", "-I", "app.py"], "-I"),
        (["python3", "-IS", "app.py"], "-I"),
        (["python3", "-uE", "-c", "pass"], "-E"),
        (["python3", "-c", "pass", "-I"], ""),
        (["python3", "-m", "Import"], ""),
        (["python3", "-mSite"], ""),
        (["python3", "-W", "-I", "app.py"], ""),
        (["python3", "-WIgnore", "app.py"], ""),
        (["python3", "-X", "dev", "-S", "app.py"], "-S"),
        (["python3", "--check-hash-based-pycs", "app.py", "-I"], ""),
        (["python3", "-"], ""),
        (["python3"], ""),
    ],
)
def test_the_option_that_keeps_an_agent_out(command: list[str], found: str) -> None:
    assert agent.separate(command) == found


def test_why_it_is_silent() -> None:
    unarmed = agent.why_silent(["python3", "-I", "app.py"], False)
    assert unarmed.reason == "agent-silent" and "--heap-agent" in unarmed.hint
    assert agent.why_silent(["python3"], None).said == unarmed.said
    kept_out = agent.why_silent(["/usr/bin/python3", "-I", "app.py"], True)
    assert kept_out.said == "python3 was started with -I, which keeps the agent out"
    assert "doesn't answer" in agent.why_silent(["python3", "app.py"], True).said


def test_what_else_there_is_for_a_program_whose_heap_can_t_be_read() -> None:
    ruby = agent.no_heap(7, engine.RUBY)
    assert "is a Ruby" in ruby.said and ruby.hint.startswith("guard run -- COMMAND, or guard watch 7")
    assert agent.no_heap(7, engine.JAVA).hint == "guard profile --heap --pid 7"


@pytest.mark.parametrize("before", [None, b"", b"/srv/lib", b"/srv/lib:/opt"])
def test_the_environment_is_the_same_but_for_two_variables(before: bytes | None) -> None:
    environment = {b"LANG": b"C", b"\xff": b"\xfe"} | ({} if before is None else {b"PYTHONPATH": before})
    made = launch.with_heap_agent(environment, "census")
    path, mode = made.pop(b"PYTHONPATH"), made.pop(b"_GUARD_AGENT")
    assert made == {name: value for name, value in environment.items() if name != b"PYTHONPATH"}
    first, _, rest = path.partition(b":")
    assert first.endswith(b"/supervisor/agent") and rest == (before or b"")
    assert mode.startswith(b"census:") and launch.with_heap_agent(environment, "census")[b"_GUARD_AGENT"] != mode


def test_of_a_process_that_has_ended_it_says_so() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has asked for it yet
    try:
        assert agent.silence(pid).reason == "target-gone"
    finally:
        os.waitpid(pid, 0)
    assert agent.silence(pid).reason == "target-gone"
