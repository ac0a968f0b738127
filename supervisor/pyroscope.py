"""What `--pyroscope` pushes, pure: a profile of folded stacks as Pyroscope's `POST /ingest` takes it.

Checked against Grafana Pyroscope's source: ingest_handler.go (parameters) and ingest_adapter.go (the type of a profile
is the last part of its name) in pkg/ingester/pyroscope, pkg/og/convert/parser.go (stacks), api/model/labelset (names,
labels), pkg/og/util/attime (times).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from supervisor.analysis.folded import parse, render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervisor.analysis.folded import Counts

# kind of action -> (the part of the name that is the profile's type, unit)
TYPES = {"cpu-profile": ("cpu", "samples"), "growth": ("inuse_space", "bytes")}
# Its reader of lines stops for good, and silently, at one of 64 KiB; a profile may have 4 MiB by default.
MOST_LINE, MOST_BODY = 60_000, 4_000_000
MOST_LABEL = 64
_MOST_RATE_HZ = 1_000_000
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


class Push(NamedTuple):
    """A request: the path with its query, its body, and the share of the weight that found no room in that."""

    target: str
    body: bytes
    left_out: float


def push(
    kind: str,
    text: str,
    meta: Mapping[str, Any],
    started_s: float,
    ended_s: float,
    name: str,
    labels: Mapping[str, str],
) -> Push:
    """The request for a profile of this kind, from its folded stacks and its meta. Raises ValueError, KeyError."""
    profile_type, unit = TYPES[kind]
    counts = parse(text.splitlines())
    query: dict[str, Any] = {
        "name": f"{service(name)}.{profile_type}{{{_labels(labels)}}}",
        "from": int(started_s),
        "until": max(int(ended_s), int(started_s) + 1),
        "format": "groups",
        "spyName": "guard",
        "units": unit,
        "aggregationType": "sum",
    }
    if unit == "samples":
        query["sampleRate"], factor = whole_rate(float(meta["used_rate_hz"]))
        if factor != 1:
            counts = {stack: max(1, round(weight * factor)) for stack, weight in counts.items()}
    body, left_out = _body(counts)
    return Push("/ingest?" + urlencode(query), body, left_out)


def whole_rate(rate_hz: float) -> tuple[int, float]:
    """A rate that is a whole number, as it has to be, and by what samples are multiplied to fit it."""
    if not 0 < rate_hz <= _MOST_RATE_HZ:
        raise ValueError(f"a rate of {rate_hz} Hz")
    whole = round(rate_hz)
    if whole >= 1 and abs(whole - rate_hz) <= 1e-3 * rate_hz:
        return whole, 1
    return 1000, 1000 / rate_hz


def service(name: str) -> str:
    """A name as its services have: letters, digits, `_ . - /`."""
    clean = "".join(letter if letter in _LETTERS or letter in "_.-/" else "_" for letter in name)
    return clean.strip(".")[:MOST_LABEL] or "guard"


def _labels(labels: Mapping[str, str]) -> str:
    """`a=b,c=d`. Nothing is quoted there, so what would end a value is replaced."""
    shown = []
    for key, value in labels.items():
        clean = "".join(letter if letter in _LETTERS or letter in "_.-/:" else "_" for letter in value)[:MOST_LABEL]
        if clean:
            shown.append(f"{key}={clean}")
    return ",".join(shown)


def _body(counts: Counts) -> tuple[bytes, float]:
    """The heaviest stacks, as many as there is room for; long ones lose callers."""
    lines: list[bytes] = []
    size, kept = 0, 0
    for line in render({stack: weight for stack, weight in counts.items() if weight}).splitlines():
        stack, _, weight = line.rpartition(" ")
        data = f"{_shortened(stack)} {weight}\n".encode("utf-8", "backslashreplace")
        if size + len(data) > MOST_BODY:
            break
        size += len(data)
        kept += int(weight)
        lines.append(data)
    total = sum(counts.values())
    return b"".join(lines), 1 - kept / total if total else 0.0


def _shortened(stack: str) -> str:
    if len(stack) < MOST_LINE // 4 or len(stack.encode("utf-8", "backslashreplace")) <= MOST_LINE:
        return stack
    frames = stack.split(";")
    size, first = 0, len(frames)
    while first > 0 and size + len(frames[first - 1].encode("utf-8", "backslashreplace")) + 1 <= MOST_LINE - 8:
        first -= 1
        size += len(frames[first].encode("utf-8", "backslashreplace")) + 1
    return ";".join(["…", *frames[first:]])
