"""Folded stacks as a file for https://www.speedscope.app.

The format: https://github.com/jlfwong/speedscope/blob/main/src/lib/file-format-spec.ts, a profile of type
`sampled`.
"""

from __future__ import annotations

from supervisor.analysis.folded import frame, is_marker, split_frame
from supervisor.analysis.reading import FormatError, Tally, frame_name, inflation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from supervisor.analysis.folded import Counts
    from supervisor.analysis.reading import Reading

SCHEMA = "https://www.speedscope.app/file-format-schema.json"
UNITS = ("none", "seconds", "bytes")
_MOST_IN_A_ROW = 10  # samples of one row, on average, of a file that writes equal ones in a row as one


def render(counts: Counts, *, name: str, unit: str, scale: float = 1.0, exporter: str, taken: int | None = None) -> str:
    """One JSON document in ASCII. A sample is one distinct stack, heaviest first; it weighs its weight times
    `scale`.

    `unit` is what a scaled weight is in: `none`, `seconds` or `bytes`. `taken` is how many samples stand behind the
    weights, where these don't count samples themselves. Raises `ValueError` for another unit and for a scale that is
    not a finite number above 0.
    """
    import json

    if unit not in UNITS:
        raise ValueError(f"speedscope's unit is one of {', '.join(UNITS)}; saw {unit!r}")
    if not 0 < scale < float("inf"):
        raise ValueError(f"a scale is a finite number above 0; saw {scale!r}")
    frames: list[dict[str, str | int]] = []
    places: dict[str, int] = {}
    samples: list[list[int]] = []
    weights: list[float] = []
    for stack, weight in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        sample = []
        for text in stack.split(";"):
            place = places.get(text)
            if place is None:
                place = places[text] = len(frames)
                frames.append(_frame(text))
            sample.append(place)
        samples.append(sample)
        weights.append(weight if scale == 1.0 else weight * scale)
    document = {
        "$schema": SCHEMA,
        "exporter": exporter,
        "name": name,
        "activeProfileIndex": 0,
        # speedscope leaves alone what it doesn't know
        "guard": {"weight_per_sample": sum(weights) / taken if taken and sum(weights) else scale},
        "shared": {"frames": frames},
        "profiles": [
            {
                "type": "sampled",
                "name": name,
                "unit": unit,
                "startValue": 0,
                "endValue": sum(weights),
                "samples": samples,
                "weights": weights,
            }
        ],
    }
    return json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n"


def _frame(text: str) -> dict[str, str | int]:
    function, file, line = split_frame(text)
    written: dict[str, str | int] = {"name": function}
    if file is not None:
        written["file"] = file
    if line is not None:
        written["line"] = line
    return written


def read(document: dict[str, Any], *, keep: bool = False) -> Reading:
    """The profiles of a speedscope file (py-spy's, guard's, others') as one. Raises `FormatError`.

    Weights are µs, bytes or, without a unit, samples. All must have one unit.
    """
    frames = [_text_of(each) for each in _list(_field(document, "shared"), "frames")]
    units = {str(profile.get("unit")) for profile in _list(document, "profiles") if isinstance(profile, dict)}
    if len(units) != 1:
        raise FormatError(f"the profiles of the speedscope file have {len(units)} units: {', '.join(sorted(units))}")
    unit = units.pop()
    factor = {"nanoseconds": 1e-3, "microseconds": 1.0, "milliseconds": 1e3, "seconds": 1e6}.get(unit)
    tally = Tally(keep=keep)
    rows = 0
    squares = samples = weight_squares = 0.0
    for profile in document["profiles"]:
        kind = profile.get("type")
        if kind not in ("sampled", "evented"):
            raise FormatError(f"a profile of the speedscope file has type {kind!r}; sampled and evented are known")
        stacks: dict[tuple[int, ...], int] = {}
        sequence = []
        for stack, value in _sampled(profile) if kind == "sampled" else _evented(profile):
            if not 0 <= value <= 1e15 or any(not 0 <= place < len(frames) for place in stack):
                raise FormatError(f"a sample of the speedscope file is {stack[:8]} with the weight {value!r}")
            if stack:
                weight = round(value * factor) if factor else round(value)
                stacks[stack] = stacks.get(stack, 0) + weight
                sequence.append(stack[-1])
                weight_squares += weight * weight
        for places, weight in stacks.items():
            tally.add(";".join([frames[place] for place in places]), weight)
        # guard writes one row a distinct stack, heaviest first: then the order of rows says nothing.
        if len(stacks) < len(sequence):
            squares += inflation(sequence) * len(sequence)
            samples += len(sequence)
        rows += len(sequence)
    found = tally.reading("speedscope")
    if factor:
        found.unit, found.seconds_per_weight = "seconds", 1e-6
    elif unit == "bytes":
        found.unit, found.kind = "bytes", "memory"
    if found.unit != "samples" and rows:
        # Uneven samples are worth as many even ones as have the same relative variance; of weights that were summed up
        # by stack, in no order, that can't be told.
        row = weight_squares / found.total if samples and found.total else found.total / rows
        found.weight_per_sample = max(1.0, _sample(document, found, rows) or row)
    found.inflation = max(1.0, squares / samples) if samples else 1.0
    return found


def _sample(document: dict[str, Any], found: Reading, rows: int) -> float | None:
    """What one sample weighs, in µs or bytes; None where the file doesn't tell.

    As guard wrote it; or the greatest weight that all are multiples of, if half of the rows weigh just that and none is
    missing from the sum but for a few in a row: any weights have a common measure, if only that of their digits.
    """
    own = document.get("guard")
    known = own.get("weight_per_sample") if isinstance(own, dict) else None
    profiles = [each for each in document["profiles"] if each["type"] == "sampled"]
    whole = sum(sum(each["weights"]) for each in profiles)
    if not whole > 0:
        return None
    if found.unit == "bytes":  # earlier files of guard's have 1 there
        return float(known) if isinstance(known, int | float) and 1 < known <= whole else None
    measure = _measure({weight for each in profiles for weight in each["weights"]})
    if isinstance(known, int | float) and 0 < known <= measure * 1.001 and whole < known * 1e9:
        return found.total * float(known) / whole
    single = sum(weight <= measure * 1.001 for each in profiles for weight in each["weights"])
    if measure > 0 and whole <= _MOST_IN_A_ROW * measure * rows and single * 2 >= rows:
        return found.total * measure / whole
    return None


def _measure(weights: set[float]) -> float:
    """The greatest number that all are multiples of, by Euclid's algorithm for rounded numbers; 0 for none."""
    measure = 0.0
    for weight in weights:
        larger, smaller = max(measure, weight), min(measure, weight)
        least = larger * 1e-6
        while smaller > least:
            rest = larger % smaller
            larger, smaller = smaller, rest if rest < smaller - least else 0.0
        measure = larger
    return measure


def _sampled(profile: dict[str, Any]) -> Iterator[tuple[tuple[int, ...], float]]:
    samples, weights = _list(profile, "samples"), _list(profile, "weights")
    if len(samples) != len(weights):
        raise FormatError(f"the speedscope file has {len(samples)} samples and {len(weights)} weights")
    for stack, weight in zip(samples, weights, strict=True):
        if not isinstance(stack, list) or not all(isinstance(place, int) for place in stack):
            raise FormatError(f"a sample of the speedscope file is {str(stack)[:80]}")
        if not isinstance(weight, int | float):
            raise FormatError(f"a weight of the speedscope file is {weight!r}")
        yield tuple(stack), weight


def _evented(profile: dict[str, Any]) -> Iterator[tuple[tuple[int, ...], float]]:
    stack: list[int] = []
    before: float | None = None
    for event in _list(profile, "events"):
        at, place, kind = (
            (event.get(name) for name in ("at", "frame", "type")) if isinstance(event, dict) else [None] * 3
        )
        if not isinstance(at, int | float) or not isinstance(place, int) or kind not in ("O", "C"):
            raise FormatError(f"an event of the speedscope file is {str(event)[:80]}")
        if stack and before is not None and at > before:
            yield tuple(stack), at - before
        before = at
        if kind == "O":
            stack.append(place)
        elif stack:
            stack.pop()


def _field(document: dict[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    if not isinstance(value, dict):
        raise FormatError(f"the speedscope file has no `{name}`")
    return value


def _list(document: dict[str, Any], name: str) -> list[Any]:
    value = document.get(name)
    if not isinstance(value, list):
        raise FormatError(f"the speedscope file has no list of `{name}`")
    return value


def _text_of(each: object) -> str:
    if not isinstance(each, dict) or not isinstance(each.get("name"), str):
        raise FormatError(f"a frame of the speedscope file is {str(each)[:80]}")
    file, line = each.get("file"), each.get("line")
    name = each["name"]
    if is_marker(name):
        return frame_name(name)
    return frame(frame_name(name), file if isinstance(file, str) else None, line if isinstance(line, int) else None)
