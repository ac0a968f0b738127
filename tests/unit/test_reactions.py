"""What an event asks for, and what is sent of it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from supervisor import config, messages, reactions
from supervisor.facts import gather
from supervisor.model import STATES

GIVEN = {
    "on-warning": ["w"], "on-critical": ["c --all"], "on-profiling": ["p"], "on-exit": ["x"],
    "signal-at": ["warning:USR1", "critical:USR2"], "notify": ["https://example.org/x"],
}  # fmt: skip
ALL = config.resolve(GIVEN, {}, None, gather({}))
NONE = config.resolve({}, {}, None, gather({}))
TOLD: dict[str, Any] = {
    "event": "state.changed", "state": "critical", "reason": "memory reached critical", "run": "R", "host": "h",
    "name": "app", "rss_bytes": 90_000_000, "limit_bytes": 100_000_000, "guilty_pid": 7, "guilty_name": "python",
}  # fmt: skip


def test_nothing_asked_nothing_done() -> None:
    assert not reactions.wanted(NONE) and reactions.wanted(ALL)
    assert reactions.to_event("state.changed", {"from": "ok", "to": "profiling"}, NONE) == []


@given(st.sampled_from(STATES), st.sampled_from(STATES))
def test_every_level_on_the_way_up_gets_its_own(before: str, now: str) -> None:
    found = reactions.to_event("state.changed", {"from": before, "to": now}, ALL)
    passed = STATES[STATES.index(before) + 1 : STATES.index(now) + 1]
    assert [reaction.command[0] for reaction in found if reaction.kind == "hook"] == [state[0] for state in passed]
    assert [reaction.state for reaction in found if reaction.kind == "signal"] == [
        state for state in passed if state != "profiling"
    ]
    assert [reaction.state for reaction in found if reaction.kind == "notify"] == ([now] if passed else [])


def test_an_end_that_went_well_is_no_message() -> None:
    for fields, kinds in (
        ({"code": 0, "outcome": "exited"}, ["hook"]),
        ({"code": 143, "outcome": "stopped"}, ["hook"]),
        ({"code": 1, "outcome": "exited"}, ["hook", "notify"]),
        ({"code": 137, "outcome": "oom-killed"}, ["hook", "notify"]),
    ):
        assert [reaction.kind for reaction in reactions.to_event("run.exited", fields, ALL)] == kinds


def test_an_oom_kill_is_a_message() -> None:
    assert reactions.listens_to("oom.detected") and not reactions.listens_to("sample.taken")
    assert [reaction.state for reaction in reactions.to_event("oom.detected", {}, ALL)] == ["oom"]


def test_a_trigger_that_fires_is_a_message() -> None:
    (found,) = reactions.to_event("trigger.fired", {"trigger": "cpu", "reason": "95 % of 2 cores over 30 s"}, ALL)
    assert (found.kind, found.state, found.reason) == ("notify", "trigger", "95 % of 2 cores over 30 s")
    assert not reactions.listens_to("trigger.cleared")


names = st.text("abc_", min_size=1, max_size=8)


@given(st.dictionaries(names, st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers())))
def test_variables_can_be_an_environment(told: dict[str, Any]) -> None:
    found = reactions.variables(told)
    assert all(name.startswith("GUARD_EVENT_") and "\0" not in value for name, value in found.items())
    assert {name for name, value in told.items() if isinstance(value, int)} <= {
        name.removeprefix("GUARD_EVENT_").lower() for name in found
    }


def test_the_receiver_is_known_by_prefix_or_host() -> None:
    assert messages.target("https://hooks.slack.com/services/x") == ("slack", "https://hooks.slack.com/services/x")
    assert messages.target("slack+https://mattermost.example/hooks/x") == (
        "slack",
        "https://mattermost.example/hooks/x",
    )
    assert messages.target("https://me:pw@ntfy.sh/topic")[0] == "ntfy"
    assert messages.target("https://example.org/slack+x")[0] == "json"


def test_bodies() -> None:
    body, headers = messages.request("json", TOLD)
    assert json.loads(body)["rss_bytes"] == 90_000_000 and headers["Content-Type"] == "application/json"
    assert "memory 90 MB, limit 100 MB" in json.loads(body)["text"]
    body, _ = messages.request("slack", TOLD | {"reason": "<!channel> & co"})
    assert json.loads(body)["text"].startswith("🟠 app on h: &lt;!channel&gt; &amp; co")
    body, headers = messages.request("ntfy", TOLD)
    assert body.decode().endswith("grows most: python 7\nguard postmortem R")
    assert all(value.isascii() for value in headers.values())


def test_the_suspect_is_named() -> None:
    suspect = {"pid": 7, "name": "python", "function": "fill (app.py:3)"}
    assert "suspect: python 7 in fill (app.py:3)" in messages.text(TOLD | {"suspect": suspect})
    grew = {"type": "bytes", "bytes": 5, "holder": "__main__.pages"}
    told = messages.text(TOLD | {"suspect": {"pid": 7, "name": "python", "grew": grew}})
    assert "suspect: python 7; bytes grew, held by __main__.pages" in told
