"""Folded stacks as a pprof profile (`.pb.gz`) and back.

The format is github.com/google/pprof/proto/profile.proto; field numbers are those of that file. Only what a sampled
profile needs is written: sample types, samples, one line a location, functions, strings. Everything else is skipped
when read.
"""

from __future__ import annotations

from supervisor.analysis.folded import split_frame
from supervisor.analysis.reading import FormatError, Tally, frame_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervisor.analysis.folded import Counts
    from supervisor.analysis.reading import Reading

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SECONDS = {"nanoseconds": 1e-9, "microseconds": 1e-6, "milliseconds": 1e-3, "seconds": 1.0}
_MOST_DEPTH = 10_000


def render(
    counts: Counts, *, unit: str, seconds_per_sample: float | None = None, seconds: float | None = None
) -> bytes:
    """The gzipped profile, the same bytes for the same input.

    `unit` is `samples` (then each sample carries its CPU time too where `seconds_per_sample` is known) or `bytes`.
    `seconds` is how long was recorded.
    """
    import gzip

    texts: dict[str, int] = {"": 0}

    def text(value: str) -> int:
        return texts.setdefault(value, len(texts))

    timed = unit == "samples" and seconds_per_sample is not None
    period = round(seconds_per_sample * 1e9) if timed and seconds_per_sample is not None else 0
    kinds = [("samples", "count")] if unit == "samples" else [("space", "bytes")]
    if timed:
        kinds.append(("cpu", "nanoseconds"))
    out = bytearray()
    for kind, measure in kinds:
        _put(out, 1, _value_type(text(kind), text(measure)))
    functions: dict[tuple[str, str | None], int] = {}
    locations: dict[str, int] = {}
    function_part, location_part = bytearray(), bytearray()
    for stack, weight in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        path = []
        for frame in stack.split(";"):
            number = locations.get(frame)
            if number is None:
                name, file, line = split_frame(frame)
                function = functions.get((name, file))
                if function is None:
                    function = functions[name, file] = len(functions) + 1
                    entry = _numbers((1, function), (2, text(name)), (3, text(name)), (4, text(file or "")))
                    _put(function_part, 5, entry)
                number = locations[frame] = len(locations) + 1
                entry = _numbers((1, number))
                _put(entry, 4, _numbers((1, function), (2, line or 0)))
                _put(location_part, 4, entry)
            path.append(number)
        sample = bytearray()
        _put(sample, 1, b"".join(map(_varint, reversed(path))))  # the leaf comes first
        _put(sample, 2, b"".join(map(_varint, [weight, weight * period] if timed else [weight])))
        _put(out, 2, sample)
    out += location_part
    out += function_part
    if timed:
        _put(out, 11, _value_type(text("cpu"), text("nanoseconds")))
        out += _numbers((12, period))
    if seconds is not None:
        out += _numbers((10, round(seconds * 1e9)))
    for value in texts:
        _put(out, 6, value.encode("utf-8", "backslashreplace"))
    return gzip.compress(bytes(out), 6, mtime=0)


def _value_type(kind: int, unit: int) -> bytearray:
    return _numbers((1, kind), (2, unit))


def _numbers(*fields: tuple[int, int]) -> bytearray:
    out = bytearray()
    for field, value in fields:
        out += _varint(field << 3 | _VARINT) + _varint(value)
    return out


def _put(out: bytearray, field: int, data: bytes | bytearray) -> None:
    out += _varint(field << 3 | _BYTES)
    out += _varint(len(data))
    out += data


def _varint(value: int) -> bytes:
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class _Raw:
    """The parts of a profile that are needed, by number."""

    def __init__(self) -> None:
        self.types: list[tuple[int, int]] = []
        self.samples: list[tuple[list[int], list[int]]] = []
        self.lines: dict[int, list[tuple[int, int]]] = {}
        self.functions: dict[int, tuple[int, int]] = {}
        self.texts: list[str] = []
        self.period_type = (0, 0)
        self.period = 0
        self.duration = 0
        self.default_type = 0


def read(data: bytes, *, keep: bool = False) -> Reading:
    """The profile in the bytes of an (unpacked) pprof file. Raises FormatError.

    Of several sample types the one that counts samples is taken, with the period as its time; else CPU or wall
    time; else the file's default, or its last type.
    """
    raw = _parse(data)
    index, unit, seconds = _choose(raw)
    tally = Tally(keep=keep)
    frames: dict[int, str] = {}
    stacks: list[bytes] = []
    weights: list[int] = []
    rows = 0
    for path, values in raw.samples:
        if index >= len(values):
            raise FormatError(f"a sample has {len(values)} values where the head lists {len(raw.types)}")
        weight = max(0, values[index])
        for number in path[:_MOST_DEPTH]:
            if number not in frames:
                frames[number] = _location(raw, number)
        stack = ";".join([frames[number] for number in reversed(path[:_MOST_DEPTH])])
        if stack and weight:
            stacks.append(stack.encode("utf-8", "backslashreplace"))
            weights.append(weight)
            rows += 1
    tally.add_all(stacks, weights)
    found = tally.reading("pprof")
    found.seconds_per_weight = seconds
    found.seconds = raw.duration * 1e-9 if raw.duration > 0 else None
    found.unit = unit
    if unit == "bytes":
        found.kind = "memory"
    if unit != "samples" and rows:
        # Without a count each row of the file is taken for one sample, which understates how many there were.
        found.weight_per_sample = max(1.0, found.total / rows)
        if unit == "seconds" and _text(raw, raw.period_type[1]) in _SECONDS and raw.period > 0 and seconds:
            found.weight_per_sample = max(1.0, raw.period * _SECONDS[_text(raw, raw.period_type[1])] / seconds)
    return found


def _choose(raw: _Raw) -> tuple[int, str, float | None]:
    """Which value of a sample is its weight, the unit, and the seconds one of it is."""
    names = [(_text(raw, kind), _text(raw, unit)) for kind, unit in raw.types]
    period_s = raw.period * _SECONDS.get(_text(raw, raw.period_type[1]), 0.0)
    for index, (kind, unit) in enumerate(names):
        if unit == "count" and kind in ("samples", "sample", "cpu") and (period_s > 0 or len(names) == 1):
            return index, "samples", period_s if period_s > 0 else None
    for index, (_, unit) in enumerate(names):
        if unit in _SECONDS:
            return index, "seconds", _SECONDS[unit]
    default = _text(raw, raw.default_type)
    index = next((place for place, (kind, _) in enumerate(names) if kind == default), len(names) - 1)
    return index, "bytes" if names[index][1] == "bytes" else "samples", None


def _location(raw: _Raw, number: int) -> str:
    from supervisor.analysis.folded import frame

    lines = raw.lines.get(number)
    if not lines:
        return frame(f"location {number}", None)
    frames = []
    for function, line in reversed(lines):  # the last is the caller of those inlined into it
        name, file = raw.functions.get(function, (0, 0))
        frames.append(frame(frame_name(_text(raw, name)), _text(raw, file) or None, line))
    return ";".join(frames)


def _text(raw: _Raw, number: int) -> str:
    return raw.texts[number] if 0 <= number < len(raw.texts) else ""


def _parse(data: bytes) -> _Raw:
    raw = _Raw()
    try:
        for field, value in _fields(data):
            if isinstance(value, int):
                if field == 10:
                    raw.duration = _signed(value)
                elif field == 12:
                    raw.period = _signed(value)
                elif field == 14:
                    raw.default_type = value
            elif field == 1:
                raw.types.append(_pair(value, 1, 2))
            elif field == 2:
                raw.samples.append((_repeated(value, 1), [_signed(each) for each in _repeated(value, 2)]))
            elif field == 4:
                (number, lines) = _location_of(value)
                raw.lines[number] = lines
            elif field == 5:
                parts = {key: each for key, each in _fields(value) if isinstance(each, int)}
                raw.functions[parts.get(1, 0)] = (parts.get(2, 0), parts.get(4, 0))
            elif field == 6:
                raw.texts.append(value.decode("utf-8", "replace"))
            elif field == 11:
                raw.period_type = _pair(value, 1, 2)
    except IndexError:
        raise FormatError(f"the pprof data is cut off or damaged ({len(data):,} bytes unpacked)") from None
    if not raw.types or not raw.texts or raw.texts[0]:
        raise FormatError("it is no pprof profile: it has no sample types, or its table of strings begins with a text")
    return raw


def _location_of(data: bytes) -> tuple[int, list[tuple[int, int]]]:
    number, lines = 0, []
    for field, value in _fields(data):
        if field == 1 and isinstance(value, int):
            number = value
        elif field == 4 and not isinstance(value, int):
            lines.append(_pair(value, 1, 2))
    return number, lines


def _pair(data: bytes, first: int, second: int) -> tuple[int, int]:
    parts = {field: value for field, value in _fields(data) if isinstance(value, int)}
    return parts.get(first, 0), parts.get(second, 0)


def _repeated(data: bytes, wanted: int) -> list[int]:
    """A repeated number, packed or not."""
    found: list[int] = []
    for field, value in _fields(data):
        if field != wanted:
            continue
        if isinstance(value, int):
            found.append(value)
        else:
            position = 0
            while position < len(value):
                number, position = _read_varint(value, position)
                found.append(number)
    return found


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers with their values. Raises IndexError where the data ends too soon or isn't protobuf."""
    position = 0
    while position < len(data):
        key, position = _read_varint(data, position)
        kind = key & 7
        if kind == _VARINT:
            number, position = _read_varint(data, position)
            yield key >> 3, number
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(kind, 0)
        if kind == _BYTES:
            size, position = _read_varint(data, position)
        elif not size:
            raise IndexError
        if position + size > len(data) or key >> 3 == 0:
            raise IndexError
        if kind == _BYTES:
            yield key >> 3, data[position : position + size]
        position += size


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise IndexError
