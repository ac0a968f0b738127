"""A run's record, `run.json`, and whether the run lives."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from supervisor.evidence.fields import decoded, mapping, moment, number, sequence, text, whole
from supervisor.evidence.model import Grown, Limit, Record, Run, Suspect
from supervisor.evidence.raw import MOST_RECORD_BYTES, open_file, read_bytes
from supervisor.model import STATES
from supervisor.store import MONITORED, began, lock_held


def read(path: str) -> Run:
    """The run whose folder this is. Never raises: what can't be read is in `problems`."""
    parent, name = os.path.split(path)
    root = os.path.dirname(parent) if os.path.basename(parent) == MONITORED else None
    problems: list[str] = []
    raw: Mapping[str, Any] = {}
    lives = False
    try:
        fd = open_file(path, "run.json")
    except OSError as error:
        problems.append(f"run.json: {os.strerror(error.errno or 0)}")
    else:
        try:
            lives = lock_held(fd) is True  # unknown: what is left of it is read all the same
            found = decoded(read_bytes(fd, MOST_RECORD_BYTES))
            raw = mapping(found)
            if not raw:
                problems.append("run.json: cut short or no JSON object")
        except OSError as error:
            problems.append(f"run.json: {os.strerror(error.errno or 0)}")
        finally:
            os.close(fd)
    record = _record(raw) if raw else _from_id(name)
    return Run(name, path, root, record, lives, tuple(problems))


def _from_id(name: str) -> Record:
    """What a run's id tells by itself (20261124T111644Z-<name>-<pid>-<4 hex>): when it began, and guard's pid."""
    started_s = began(name)
    if started_s is None:
        return Record()
    pid = name.rpartition("-")[0].rpartition("-")[2]
    return Record(started_s=started_s, guard_pid=int(pid) if pid.isascii() and pid.isdigit() and len(pid) < 9 else None)


def _record(raw: Mapping[str, Any]) -> Record:
    thresholds = {}
    for state in STATES[1:]:
        level = mapping(mapping(raw.get("thresholds")).get(state))
        size = whole(level.get("bytes"))
        if size is not None:
            thresholds[state] = Limit(size, text(level.get("metric")) or "rss", text(level.get("source")) or "")
    times = mapping(raw.get("time_in_state_s"))
    highest = text(raw.get("highest_state"))
    return Record(
        run=text(raw.get("run")),
        version=text(raw.get("version")),
        command=tuple(word for each in sequence(raw.get("command")) if (word := text(each)) is not None),
        pid=whole(raw.get("pid")),
        guard_pid=whole(raw.get("guard_pid")),
        started_s=moment(raw.get("started")),
        environment=text(raw.get("environment")),
        limit_bytes=whole(raw.get("limit_bytes")),
        limit_source=text(raw.get("limit_source")),
        cgroup=text(raw.get("cgroup")),
        thresholds=thresholds,
        boot_id=text(raw.get("boot_id")),
        host=text(raw.get("host")),
        outcome=text(raw.get("outcome")),
        code=whole(raw.get("code")),
        signal=text(raw.get("signal")),
        ended_s=moment(raw.get("ended")),
        elapsed_s=number(raw.get("elapsed_s")),
        peak_bytes=whole(raw.get("peak_bytes")),
        peak_use_bytes=whole(raw.get("peak_use_bytes")),
        samples=whole(raw.get("samples")),
        highest_state=highest if highest in STATES else None,
        time_in_state_s={name: value for name in STATES if (value := number(times.get(name))) is not None},
        oom_kills=whole(raw.get("oom_kills")),
        suspect=suspect(raw.get("suspect")),
        raw=raw,
    )


def suspect(found: object) -> Suspect | None:
    """A suspect from a record or from an event's field; None when there is none."""
    fields = mapping(found)
    pid = whole(fields.get("pid"))
    if pid is None:
        return None
    return Suspect(
        pid=pid,
        name=text(fields.get("name")) or "?",
        function=text(fields.get("function")) or None,
        file=text(fields.get("file")),
        line=whole(fields.get("line")),
        share=number(fields.get("share")),
        size_bytes=whole(fields.get("bytes")),
        mapping=text(fields.get("mapping")) or None,
        enough=fields.get("enough") is not False,
        type=text(fields.get("type")) or None,
        grew=grown(fields.get("grew")),
        share_of="held" if fields.get("share_of") == "held" else "growth",
        held_by=text(fields.get("held_by")) or None,
    )


def grown(found: object) -> Grown | None:
    """What grew, from a suspect or from a heap profile's event; None when there is nothing."""
    fields = mapping(found)
    type_, size = text(fields.get("type")), whole(fields.get("bytes"))
    return Grown(type_, size, text(fields.get("holder")) or None) if type_ and size is not None else None
