from __future__ import annotations

from typing import Any

import pytest

from supervisor.console import line

HEAD = {"timestamp": "t", "level": "info"}
CHANGE: dict[str, Any] = {
    **HEAD, "level": "warning", "event": "state.changed", "from": "ok", "to": "warning", "rss_bytes": 134 * 10**6,
    "use_bytes": 140 * 10**6, "threshold_bytes": 128 * 10**6, "metric": "rss",
    "reason": "second sample in a row past the threshold", "headroom_bytes": 10**9, "guilty_pid": 7,
    "guilty_name": ") Z\n\x1b[31m",
}  # fmt: skip


def test_a_change_of_state() -> None:
    shown = line(CHANGE)
    assert shown.startswith("guard 🟡 ok → warning: 134 MB, threshold 128 MB of rss; second sample")
    assert "\x1b" not in shown and "\n" not in shown and "; 7 () Z\\x0a" in shown
    assert line({**CHANGE, "metric": "cgroup"}).startswith("guard 🟡 ok → warning: 140 MB, threshold 128 MB of cgroup")


def test_an_event_without_words_of_its_own() -> None:
    event = {**HEAD, "level": "error", "event": "a.b", "x_bytes": 2000, "y_s": 0.5, "z": None, "reason": ""}
    assert line(event) == "guard error: a.b x 2 kB · y 500 ms"


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (
            {"event": "action.finished", "action": "growth", "pid": 7, "path": "/a/001-warning-growth.md",
             "elapsed_s": 19, "enough": True, "suspect": {"function": "leak", "share": 0.98}},
            "guard   growth of 7: done in 19 s, leak takes 98 % of the growth → 001-warning-growth.md",
        ),
        (
            {"event": "action.finished", "action": "heap-profile", "pid": 7, "path": "/a/2.md", "elapsed_s": 1,
             "grew": {"type": "bytes", "bytes": 5_000_000, "holder": "__main__.pages"}},
            "guard   heap-profile of 7: done in 1 s, bytes grew by 5 MB, held by __main__.pages → 2.md",
        ),
        (
            {"event": "action.finished", "action": "growth", "pid": 7, "elapsed_s": 19, "enough": True,
             "suspect": {"mapping": "[heap]", "share": 0.98, "share_of": "growth", "held_by": "keep (a.js:2)"}},
            "guard   growth of 7: done in 19 s, 98 % of the growth in [heap], held by keep (a.js:2)",
        ),
        (
            {"event": "action.finished", "action": "growth", "pid": 7, "elapsed_s": 19, "enough": True,
             "suspect": {"mapping": "[heap]", "share": 0.98, "share_of": "held"}},
            "guard   growth of 7: done in 19 s, 98 % of what it holds in [heap]",
        ),
        (
            {"event": "trigger.fired", "trigger": "cpu", "reason": "95 % of 2 cores over 30 s; the threshold is 90 %",
             "pid": 7, "name": "app\x1b"},
            "guard 🟡 cpu: 95 % of 2 cores over 30 s; the threshold is 90 %; process 7 (app\\x1b)",
        ),
        (
            {"event": "trigger.cleared", "trigger": "cpu", "elapsed_s": 65,
             "reason": "below 90 % of the threshold for 10 s"},
            "guard 🟢 cpu: below 90 % of the threshold for 10 s, after 1 min 5 s",
        ),
        (
            {"event": "probe.failed", "outcome": "refused", "reason": "refused: Connection refused", "in_a_row": 2},
            "guard 🟡 the probe fails: refused: Connection refused",
        ),
        (
            {"event": "probe.recovered", "elapsed_s": 12, "response_s": 0.1, "reason": "it answers"},
            "guard 🟢 the probe is answered again, after 12 s",
        ),
        (
            {"event": "action.failed", "action": "stacks", "pid": 7, "reason": "not-python", "said": "no", "hint": "x"},
            "guard   stacks of 7: failed, not-python (no); try: x",
        ),
        (
            {"event": "signal.forwarded", "signal": "SIGTERM", "sent": "SIGQUIT", "count": 2, "to": "group"},
            "guard   SIGTERM forwarded as SIGQUIT to the group 2 times",
        ),
        (
            {"event": "signal.kept", "signal": "SIGINT", "count": 1},
            "guard   SIGINT came to guard; watching ends; nothing was sent to what it watches",
        ),
        (
            {"event": "signal.kept", "signal": "SIGUSR1", "count": 1},
            "guard   SIGUSR1 came to guard; nothing was sent to what it watches",
        ),
        (
            {"event": "action.started", "action": "hook", "pid": None, "program": "/opt/page\x1b", "reason": "r"},
            "guard   hook page\\x1b: r",
        ),
        (
            {"event": "action.finished", "action": "notify", "pid": None, "url": "https://ntfy.sh/***",
             "elapsed_s": 0.422},
            "guard   notify to ntfy.sh: done in 422 ms",
        ),
        (
            {"event": "action.failed", "action": "hook", "pid": None, "program": "x", "reason": "deadline"},
            "guard   hook x: failed, deadline",
        ),
        (
            {"event": "run.exited", "outcome": "signalled", "signal": "SIGKILL", "code": 137, "elapsed_s": 5,
             "peak_bytes": 10**6},
            "guard ■ signalled by SIGKILL, code 137, after 5 s; peak 1 MB",
        ),
    ],
)  # fmt: skip
def test_short_lines(event: dict[str, Any], shown: str) -> None:
    assert line({**HEAD, **event}) == shown


@pytest.mark.parametrize(
    ("who", "shown"),
    [({"pid": 7}, "process 7"), ({"pid": None, "pids": [8]}, "process 8"), ({"pids": [8, 9]}, "processes 8, 9")],
)
def test_who_is_watched(who: dict[str, Any], shown: str) -> None:
    fields = {"thresholds": {}, "limit_bytes": 10**9, "environment": "ci", "evidence": None}
    assert f"watches {shown}: " in line({**HEAD, "event": "run.started", **fields, **who})


def test_bidi_marks_are_shown_not_obeyed() -> None:
    assert line({**HEAD, "event": "a.b", "name": "a\u202eb"}) == "guard a.b name=a\\u202eb"
