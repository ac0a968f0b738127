"""Checked against the types in speedscope's src/lib/file-format-spec.ts."""

import json
import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.analysis import compare
from supervisor.analysis.outcome import UNCHANGED
from supervisor.analysis.reading import Reading
from supervisor.analysis.speedscope import read, render

COUNTS = {"main (/srv/a.py:1);work (/srv/b.py)": 30, "main (/srv/a.py:1)": 10, "bare": 2}


def check(text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text)
    assert document["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    assert set(document) == {"$schema", "exporter", "name", "activeProfileIndex", "guard", "shared", "profiles"}
    frames = document["shared"]["frames"]
    for frame in frames:
        assert set(frame) <= {"name", "file", "line"}
        assert isinstance(frame["name"], str)
        assert isinstance(frame.get("file", ""), str)
        assert type(frame.get("line", 1)) is int
    (profile,) = document["profiles"]
    assert set(profile) == {"type", "name", "unit", "startValue", "endValue", "samples", "weights"}
    assert profile["type"] == "sampled"
    assert profile["unit"] in ("none", "seconds", "bytes")
    assert len(profile["samples"]) == len(profile["weights"])
    assert all(0 <= index < len(frames) for sample in profile["samples"] for index in sample)
    assert profile["endValue"] - profile["startValue"] == pytest.approx(sum(profile["weights"]))
    return document


def test_the_document() -> None:
    document = check(render(COUNTS, name="app cpu", unit="seconds", scale=0.01, exporter="guard 1.0"))
    assert document["name"] == document["profiles"][0]["name"] == "app cpu"
    assert document["exporter"] == "guard 1.0"
    assert document["shared"]["frames"] == [
        {"name": "main", "file": "/srv/a.py", "line": 1},
        {"name": "work", "file": "/srv/b.py"},
        {"name": "bare"},
    ]
    assert document["profiles"][0]["samples"] == [[0, 1], [0], [2]]
    assert document["profiles"][0]["weights"] == pytest.approx([0.3, 0.1, 0.02])


def test_bytes_stay_whole_numbers() -> None:
    document = check(render({"a": 123456789012345}, name="n", unit="bytes", exporter="guard"))
    assert document["profiles"][0]["weights"] == [123456789012345]
    assert type(document["profiles"][0]["weights"][0]) is int


def test_an_empty_profile_is_a_document_too() -> None:
    profile = check(render({}, name="n", unit="none", exporter="guard"))["profiles"][0]
    assert (profile["samples"], profile["weights"], profile["endValue"]) == ([], [], 0)


@pytest.mark.parametrize("unit", ["", "samples", "milliseconds"])
def test_another_unit_is_refused(unit: str) -> None:
    with pytest.raises(ValueError, match="none, seconds, bytes"):
        render(COUNTS, name="n", unit=unit, exporter="guard")


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="finite number above 0"):
        render(COUNTS, name="n", unit="none", scale=scale, exporter="guard")


def test_a_weight_past_what_a_number_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        render({"a": 100}, name="n", unit="none", scale=1e308, exporter="guard")


@given(st.dictionaries(st.text(max_size=30), st.integers(0, 1 << 60), max_size=8), st.text())
def test_any_profile_gives_a_document(counts: dict[str, int], name: str) -> None:
    text = render(counts, name=name, unit="none", exporter=name)
    assert text.isascii()
    document = check(text)
    assert document["name"] == name
    assert sum(document["profiles"][0]["weights"]) == sum(counts.values())


def others(rows: Iterable[tuple[int, float]], unit: str = "milliseconds") -> Reading:
    """Somebody else's file, a frame and a weight a row."""
    samples, weights = zip(*rows, strict=True)
    frames = [{"name": f"f{number}"} for number in range(6)]
    profile = {"type": "sampled", "name": "x", "unit": unit, "startValue": 0, "endValue": sum(weights)}
    profile |= {"samples": [[place] for place in samples], "weights": list(weights)}
    return read({"$schema": "speedscope", "shared": {"frames": frames}, "profiles": [profile]})


def drawn(dice: random.Random, spread: float) -> list[tuple[int, float]]:
    """1,500 samples of 10 ms, give or take."""
    places = dice.choices(range(6), [0.3, 0.25, 0.2, 0.1, 0.1, 0.05], k=1500)
    return [(place, max(0.001, round(dice.gauss(10, spread), 3))) for place in places]


@pytest.mark.parametrize("spread", [0.0, 0.4, 6.0])
def test_uneven_weights_are_no_more_samples_and_raise_no_alarm(spread: float) -> None:
    dice = random.Random(5)
    alarms = 0
    for _ in range(30):
        sides = [others(drawn(dice, spread)) for _ in range(2)]
        assert all(900 < each.samples < 1501 for each in sides)
        alarms += compare.compare(sides[:1], sides[1:]).verdict != UNCHANGED
    assert alarms <= 1


def test_equal_samples_in_a_row_may_be_one_row() -> None:
    even = others([(0, 10.0), (1, 30.0), (2, 10.0), (0, 10.0), (1, 20.0), (2, 10.0)])
    assert even.samples == pytest.approx(9)
    # In milliseconds of three digits everything is a multiple of a microsecond.
    assert others([(0, 10.001), (1, 30.0), (0, 9.998), (1, 20.0)]).samples < 4


def test_what_was_summed_up_counts_a_row_as_one_sample_at_least() -> None:
    assert others([(0, 4000.0), (1, 2000.0), (2, 10.0)]).samples == pytest.approx(3)


def test_bytes_tell_their_samples() -> None:
    counts = {"a;b": 4096 * 300, "a;c": 4096 * 100 + 7}
    found = read(json.loads(render(counts, name="n", unit="bytes", exporter="guard", taken=40)))
    assert (found.unit, found.samples) == ("bytes", pytest.approx(40))
    older = read(json.loads(render(counts, name="n", unit="bytes", exporter="guard")))
    assert older.samples == pytest.approx(2)  # it said that each byte was one
