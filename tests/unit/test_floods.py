"""Forwarded signals in the log: histories of (when, how many) and what is told."""

from __future__ import annotations

import errno
from typing import Any

from supervisor.floods import Floods
from supervisor.pid1 import Forwarded


def told(*history: tuple[float, Forwarded | None], to: str | None = "group") -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    floods = Floods(lambda level, name, **fields: lines.append({"level": level, "event": name, **fields}), to)
    for now_s, entry in history:
        if entry is None:
            floods.tell(now_s)
        else:
            floods.add(entry, now_s)
    return lines


def test_each_signal_is_told_at_once() -> None:
    lines = told((0.0, Forwarded(15, 15, 1, None)), (0.1, Forwarded(10, 12, 1, None)), (0.2, Forwarded(1, 0, 1, None)))
    common = {"level": "info", "event": "signal.forwarded", "to": "group", "count": 1}
    assert lines == [
        {**common, "signal": "SIGTERM", "sent": "SIGTERM"},
        {**common, "signal": "SIGUSR1", "sent": "SIGUSR2"},
        {**common, "signal": "SIGHUP", "sent": "dropped"},
    ]


def test_a_flood_is_a_line_a_second_and_none_is_uncounted() -> None:
    flood = [(number / 100, Forwarded(10, 10, 3, None)) for number in range(250)]
    lines = told(*flood, (float("inf"), None), (float("inf"), None))
    assert [line["count"] for line in lines] == [3, 300, 300, 147]


def test_what_was_not_told_is_told_when_its_second_has_passed() -> None:
    first, second = Forwarded(15, 15, 1, None), Forwarded(15, 15, 1, None)
    assert [line["count"] for line in told((0.0, first), (0.5, second), (0.9, None))] == [1]
    assert [line["count"] for line in told((0.0, first), (0.5, second), (1.0, None), (3.0, None))] == [1, 1]


def test_a_refusal_is_an_error_with_its_reason() -> None:
    (line,) = told((0.0, Forwarded(15, 15, 1, errno.EPERM)))
    assert (line["level"], line["event"], line["reason"]) == ("error", "signal.failed", "Operation not permitted")


def test_of_a_watch_a_signal_is_told_as_kept() -> None:
    lines = told((0.0, Forwarded(2, 2, 1, None)), to=None)
    assert lines == [{"level": "info", "event": "signal.kept", "signal": "SIGINT", "count": 1}]
