"""Whatever numbers a file holds, it is a profile that can be compared and shown, or it is explained."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.analysis import compare, comparison, comparison_page, formats, markdown, pprof, speedscope
from supervisor.analysis.reading import FormatError, Reading

COUNTS = {"main (a.py:1);work (a.py:7)": 600, "main (a.py:1);rest (b.py:2)": 300, "main (a.py:1)": 100}
HOSTILE = st.sampled_from(
    [0, -1, 1, 7, 0.5, 10**6, 2**63, 10**18, 10**30, 10**400, 1e15, 1e-15, 1e308, 5e-324, -1e308, float("nan"),
     float("inf"), float("-inf"), True, None, "7", [], {}]
)  # fmt: skip
INTEGERS = st.sampled_from([0, 1, 7, 1000, 2**31, 10**15, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
SENSE = ("only shares", "how long was recorded", "weigh bytes")  # what a comparison refuses with a reason


def node(number: int, children: list[int]) -> dict[str, Any]:
    call = {"functionName": f"f{number}", "url": "a.js", "lineNumber": number}
    return {"id": number, "callFrame": call, "hitCount": 3, "children": children}


def scope(**profile: Any) -> dict[str, Any]:
    head = {"name": "x", "unit": "seconds", "startValue": 0, "endValue": 6}
    frames = [{"name": "f", "file": "a.py", "line": 3}, {"name": "g"}]
    guards = {"weight_per_sample": 0.5}
    return {"$schema": speedscope.SCHEMA, "guard": guards, "shared": {"frames": frames}, "profiles": [head | profile]}


HEAP_CALL = {"functionName": "f", "url": "a.js", "lineNumber": 3}
EVENTS = [{"type": kind, "frame": at // 2, "at": at} for kind, at in (("O", 0), ("O", 2), ("C", 3))]
DOCUMENTS: dict[str, dict[str, Any]] = {
    "sampled": scope(type="sampled", samples=[[0], [0, 1], [0]], weights=[1.5, 2.0, 2.5]),
    "bytes": scope(type="sampled", unit="bytes", samples=[[0], [0, 1]], weights=[4096, 8192]),
    "evented": scope(type="evented", events=EVENTS),
    "cpuprofile": {
        "nodes": [node(1, [2, 3]), node(2, []), node(3, [])],
        "startTime": 0, "endTime": 4000, "samples": [2, 3, 2, 3], "timeDeltas": [1000, 1000, 1000, 1000],
    },
    "hits": {"nodes": [node(1, [2]), node(2, [])], "startTime": 0, "endTime": 4000},
    "heapprofile": {
        "head": {"id": 1, "callFrame": HEAP_CALL, "selfSize": 4096, "children": []},
        "samples": [{"nodeId": 1, "ordinal": 1, "size": 4096}],
    },
}  # fmt: skip
BLOCK = markdown.render(
    markdown.Profile(
        title="t", kind="cpu", counts=COUNTS, unit="samples", head=[], notes=[], seconds_per_sample=0.001,
        data={"used_rate_hz": 1000, "achieved_rate_hz": 900, "samples_missed": 5, "samples_taken": 900, "seconds": 1.5,
              "whole": False},
    )
).partition("```json guard-profile\n")[2].partition("```")[0]  # fmt: skip
DOCUMENTS["block"] = json.loads(BLOCK)
FACTS = {"kind": "cpu-profile", **DOCUMENTS["block"]["data"], "samples": 900}


def numbers(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a document numbers are."""
    if isinstance(value, dict):
        return [found for key in value for found in numbers(value[key], (*path, key))]
    if isinstance(value, list):
        return [found for place, each in enumerate(value) for found in numbers(each, (*path, place))]
    return [path] if isinstance(value, int | float) else []


def replaced(document: dict[str, Any], path: tuple[Any, ...], value: object) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    inner: Any = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return changed


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


def hold(path: Path, per: str, *, other: Path | None = None) -> None:
    """Read a file, and compare it with itself and another in every way and form."""
    sides: list[Reading] = []
    try:
        sides = [formats.read(str(each), keep=True) for each in (path, other or path)]
    except FormatError as error:
        assert str(error)
        return
    for one, two in ((sides[0], sides[-1]), (sides[-1], sides[0])):
        try:
            found = compare.compare([one], [two], per=per)
        except ValueError as error:
            assert any(words in str(error) for words in SENSE), error
            continue
        assert comparison.line(found) and comparison.markdown(found)
        assert one is sides[0] or comparison_page.render(found)
        json.dumps(comparison.document(found), allow_nan=False)
        assert 0 <= found.score <= 100


PER = st.sampled_from(["auto", "run", "second", "share"])
ROOMY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
@ROOMY
@given(st.data())
def test_documents(place: Path, name: str, data: st.DataObject) -> None:
    document = DOCUMENTS[name]
    sane = place / f"{name}.sane"
    path = place / f"{name}.hostile"
    for _ in range(data.draw(st.integers(1, 3))):
        document = replaced(document, data.draw(st.sampled_from(numbers(DOCUMENTS[name]))), data.draw(HOSTILE))
    for target, value in ((sane, DOCUMENTS[name]), (path, document)):
        text = json.dumps(value)
        target.write_text(f"# t\n\n```json guard-profile\n{text}\n```\n" if name == "block" else text)
    hold(path, data.draw(PER), other=sane)


@ROOMY
@given(st.sampled_from(sorted(FACTS)), HOSTILE, st.lists(INTEGERS, min_size=1, max_size=3), PER)
def test_folded_stacks_and_their_meta(place: Path, name: str, value: object, weights: list[int], per: str) -> None:
    path, other = place / "x.folded", place / "y.folded"
    path.write_text("".join(f"main;f{index} {weight}\n" for index, weight in enumerate(weights)))
    (place / "x.meta.json").write_text(json.dumps(FACTS | {name: value}))
    other.write_text("main;f0 500\nmain;f1 500\n")
    hold(path, per, other=other)


@ROOMY
@given(
    st.lists(INTEGERS, min_size=1, max_size=3),
    INTEGERS,
    INTEGERS,
    st.sampled_from(["count", "nanoseconds", "bytes"]),
    PER,
)
def test_pprof(place: Path, weights: list[int], period: int, duration: int, unit: str, per: str) -> None:
    out = bytearray()
    texts = ["", "samples" if unit == "count" else "cpu", unit, "nanoseconds", "f"]
    pprof._put(out, 1, pprof._value_type(1, 2))
    for number, weight in enumerate(weights, 1):
        sample = bytearray()
        pprof._put(sample, 1, pprof._varint(number))
        pprof._put(sample, 2, pprof._varint(weight))
        pprof._put(out, 2, sample)
        line = pprof._numbers((1, number))
        pprof._put(line, 4, pprof._numbers((1, number), (2, weight)))
        pprof._put(out, 4, line)
        pprof._put(out, 5, pprof._numbers((1, number), (2, 4), (3, 4)))
    pprof._put(out, 11, pprof._value_type(1, 3))
    out += pprof._numbers((12, period), (10, duration))
    for text in texts:
        pprof._put(out, 6, text.encode())
    path, other = place / "p.pb", place / "q.pb"
    path.write_bytes(bytes(out))
    other.write_bytes(pprof.render(COUNTS, unit="samples", seconds_per_sample=0.01, seconds=2.0))
    hold(path, per, other=other)


def test_whole_numbers_of_any_length_in_folded_stacks(place: Path) -> None:
    path = place / "w.folded"
    for digits in (18, 19, 30, 400):
        path.write_text(f"a;b {'9' * digits}\na;c 7\n")
        hold(path, "auto")
        if digits > 18:
            with pytest.raises(FormatError, match="line 1"):
                formats.read(str(path))
