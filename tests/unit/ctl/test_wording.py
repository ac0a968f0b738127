"""guard ctl's words and its text."""

from __future__ import annotations

import pytest

from supervisor.ctl import documents, wording
from supervisor.ctl.server import parse
from supervisor.errors import UsageError


def test_a_run_may_stand_on_either_side() -> None:
    assert wording.verb_and_run(["state"]) == ("state", None)
    assert wording.verb_and_run(["web", "stop"]) == ("stop", "web")
    assert wording.verb_and_run(["stop", "web"]) == ("stop", "web")
    assert wording.verb_and_run(["state", "stop"]) == ("stop", "state")
    for words in (["web"], ["a", "b", "stop"], ["web", "explode"]):
        with pytest.raises(UsageError):
            wording.verb_and_run(words)


def test_what_is_asked_is_what_guard_takes() -> None:
    import json

    request = wording.request("profile", 7, "500ms", False)
    assert parse(json.dumps(request).encode()) == ("profile", 7, 0.5, False)
    assert parse(json.dumps(wording.request("state", None, None, True)).encode()) == ("state", None, None, True)


@pytest.mark.parametrize(
    ("verb", "pid", "duration"),
    [("stop", 7, None), ("state", 7, None), ("stacks", None, "5s"), ("profile", None, "soon"), ("heap", None, "1h")],
)
def test_what_says_nothing_is_refused(verb: str, pid: int | None, duration: str | None) -> None:
    with pytest.raises(UsageError):
        wording.request(verb, pid, duration, True)


def test_paths_are_for_programs_and_nothing_reaches_the_terminal_raw() -> None:
    assert wording.text("profile", {"paths": ["/a.md", "/a\x1b[2J.folded"]}).splitlines()[0] == "/a.md"
    assert "\x1b" not in wording.text("profile", {"paths": ["/a\x1b[2J.folded"]})
    assert wording.text("stacks", {"waited": False}) == "stacks: under way"
    assert wording.text("stop", {"outcome": "stopped", "code": 143}) == "stopped, code 143"


def test_between_two_lives() -> None:
    text = wording.text("state", documents.of_wait("r", 3, "--restart always, code 1", 2.5))
    assert "2.5 s" in text and "code 1" in text
    assert "when files change" in wording.text("state", documents.of_wait("r", 3, "it ended", None))
