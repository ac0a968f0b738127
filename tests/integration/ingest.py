"""A Pyroscope server's `POST /ingest`, pure, as far as its source defines what it takes and what it makes of it.

Followed: pkg/ingester/pyroscope/{ingest_handler,ingest_adapter}.go, pkg/og/convert/parser.go, pkg/og/util/attime,
api/model/labelset of github.com/grafana/pyroscope. Stricter where the server is silent: a parameter that it ignores, a
line that it drops, an unknown unit are answered with 400 here.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

_SCANNER_BYTES = 64 * 1024  # bufio.MaxScanTokenSize
_PARAMETERS = {"name", "from", "until", "format", "sampleRate", "spyName", "units", "aggregationType"}
_TYPES = {
    "cpu": ("process_cpu", "samples", "count"), "wall": ("wall", "samples", "count"),
    "inuse_objects": ("memory", "inuse_objects", "count"), "inuse_space": ("memory", "inuse_space", "bytes"),
    "alloc_objects": ("memory", "alloc_objects", "count"), "alloc_space": ("memory", "alloc_space", "bytes"),
}  # fmt: skip


class Refused(Exception):
    """Status and reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Ingested(NamedTuple):
    """What the server would store."""

    service: str
    metric: str
    sample_type: str
    unit: str
    labels: dict[str, str]
    started: int
    ended: int
    stacks: dict[str, int]


def ingest(target: str, body: bytes) -> Ingested:
    """What comes of a request. Raises Refused."""
    parts = urlsplit(target)
    if parts.path != "/ingest":
        raise Refused(404, parts.path)
    given = parse_qs(parts.query, strict_parsing=True)
    if set(given) - _PARAMETERS or any(len(values) > 1 for values in given.values()):
        raise Refused(400, f"parameters {given}")
    query = {name: values[0] for name, values in given.items()}
    name, labels = _label_set(query.get("name", ""))
    started, ended = _time(query["from"]), _time(query["until"])
    if ended <= started:
        raise Refused(400, "until is not after from")
    if query.get("format") not in (None, "groups", "folded"):
        raise Refused(400, f"format {query['format']}")
    if query.get("units") not in ("samples", "bytes") or query.get("aggregationType") != "sum":
        raise Refused(400, "units, aggregationType")
    app, dot, last = name.rpartition(".")
    if not dot or last not in _TYPES:
        raise Refused(400, f"unknown profile type: {last}")
    metric, sample_type, unit = _TYPES[last]
    stacks = _groups(body)
    if metric == "process_cpu":  # scaled to nanoseconds, by a whole rate
        if not re.fullmatch(r"[1-9]\d*", query.get("sampleRate", "")):
            raise Refused(400, f"invalid sample rate: {query.get('sampleRate')!r}")
        period = 10**9 // int(query["sampleRate"])
        sample_type, unit = "cpu", "nanoseconds"
        stacks = {stack: weight * period for stack, weight in stacks.items()}
    return Ingested(app, metric, sample_type, unit, labels, started, ended, stacks)


def _label_set(text: str) -> tuple[str, dict[str, str]]:
    """`app.cpu{a=b,c=d}`: nothing is quoted, all of it is trimmed."""
    name, brace, rest = text.partition("{")
    if not re.fullmatch(r"[A-Za-z0-9_./-]+", name.strip()):
        raise Refused(400, f"invalid service name: {name}")
    if brace and not rest.endswith("}"):
        raise Refused(400, f"labels {rest}")
    labels = {}
    for pair in filter(None, rest.removesuffix("}").split(",")):
        key, equals, value = pair.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z0-9_.]+", key.strip()) or key == "__name__" or "=" in value:
            raise Refused(400, f"invalid label name: {pair}")
        labels[key.strip()] = value.strip()
    return name.strip(), labels


def _time(text: str) -> int:
    """Unix seconds; of other lengths the server would make a date or parts of a second."""
    if not re.fullmatch(r"\d{10}", text):
        raise Refused(400, f"time {text}")
    return int(text)


def _groups(body: bytes) -> dict[str, int]:
    if len(body) > 4 << 20:
        raise Refused(413, "request body too large")
    stacks: dict[str, int] = {}
    for line in body.decode("utf-8").removesuffix("\n").split("\n"):
        if len(line.encode()) >= _SCANNER_BYTES:
            raise Refused(400, "bufio.Scanner: token too long")
        stack, space, weight = line.rpartition(" ")
        if not space or not re.fullmatch(r"[1-9]\d*", weight):
            raise Refused(422, f"line {line[:80]!r}")
        stacks[stack] = stacks.get(stack, 0) + int(weight)
    return stacks
