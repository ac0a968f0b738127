"""A run's samples and events, line by line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from supervisor.evidence.fields import mapping, moment, number, sequence, text, whole
from supervisor.evidence.model import Event, FlightProcess, FlightSample, Run
from supervisor.evidence.raw import lines
from supervisor.model import STATES

_MOST_PROCESSES = 1000


def flight(run: Run, problems: list[str] | None = None, *, tail_bytes: int | None = None) -> Iterator[FlightSample]:
    """The run's samples in the order written, or those of the file's last bytes.

    Lines that are none are skipped and counted in `problems`.
    """
    for found in lines(run.path, "flight.jsonl", problems, tail_bytes):
        sample = _flight_sample(found)
        if sample is not None:
            yield sample


def _flight_sample(found: Mapping[str, Any]) -> FlightSample | None:
    elapsed_s, rss = number(found.get("elapsed_s")), whole(found.get("rss_bytes"))
    at_s = moment(found.get("at"))
    if elapsed_s is None or rss is None or at_s is None:
        return None
    processes = []
    for each in sequence(found.get("processes"))[:_MOST_PROCESSES]:
        get = mapping(each).get
        pid = whole(get("pid"))
        if pid is not None:
            name = text(get("name")) or "?"
            processes.append(FlightProcess(pid, name, whole(get("rss_bytes")), whole(get("cpu_ticks")) or 0))
    state = text(found.get("state"))
    use = whole(found.get("use_bytes"))
    dear = {name: size for name in ("pss", "uss") if (size := whole(found.get(f"{name}_bytes"))) is not None}
    return FlightSample(
        at_s=at_s,
        elapsed_s=elapsed_s,
        state=state if state in STATES else "ok",
        rss_bytes=rss,
        use_bytes=rss if use is None else use,
        limit_bytes=whole(found.get("limit_bytes")),
        slope_bytes_per_s=number(found.get("slope_bytes_per_s")) or 0.0,
        oom_kills=whole(found.get("oom_kills")),
        process_count=whole(found.get("process_count")) or len(processes),
        processes=tuple(processes),
        dear=dear,
        pressure_percent=number(found.get("pressure_percent")),
    )


def events(run: Run, problems: list[str] | None = None, *, tail_bytes: int | None = None) -> Iterator[Event]:
    """The run's events in the order written, or those of the file's last bytes.

    Lines that are none are skipped and counted in `problems`.
    """
    for found in lines(run.path, "events.jsonl", problems, tail_bytes):
        event = event_of(found)
        if event is not None:
            yield event


def event_of(found: Mapping[str, Any]) -> Event | None:
    """The event of a line of the log; None when it is none."""
    name = text(found.get("event"))
    if not name:
        return None
    rest = {key: value for key, value in found.items() if key not in ("event", "level", "timestamp")}
    return Event(name, text(found.get("level")) or "info", moment(found.get("timestamp")), rest)
