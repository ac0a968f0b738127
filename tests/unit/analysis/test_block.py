"""The block for programs at the end of a Markdown profile."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.analysis.block import read_block, render_block
from supervisor.analysis.folded import FunctionTotal

FUNCTIONS = [FunctionTotal("work", "/srv/b.py", 2, 30, 30), FunctionTotal("main", None, None, 10, 40)]
OPENING = "```json guard-profile"
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3), max_leaves=8
)


def good() -> dict[str, object]:
    text = render_block("cpu", "samples", 40, FUNCTIONS, 0.01, {"rate_hz": 100})
    loaded: dict[str, object] = json.loads(text.removeprefix(OPENING).removesuffix("```"))
    return loaded


def fenced(value: object) -> str:
    return f"{OPENING}\n{json.dumps(value)}\n```\n"


def test_what_is_written_is_read_back() -> None:
    text = "# Title\n\nprose\n\n" + render_block("cpu", "samples", 40, FUNCTIONS, 0.01, {"rate_hz": 100}) + "\n"
    assert read_block(text) == {
        "schema_version": 1,
        "kind": "cpu",
        "unit": "samples",
        "total": 40,
        "seconds_per_sample": 0.01,
        "functions": [
            {"function": "work", "file": "/srv/b.py", "line": 2, "self": 30, "total": 30},
            {"function": "main", "file": None, "line": None, "self": 10, "total": 40},
        ],
        "functions_left_out": 0,
        "data": {"rate_hz": 100},
    }


def test_line_ends_of_another_system_do_not_matter() -> None:
    text = "title\n" + render_block("cpu", "samples", 40, FUNCTIONS, None, {})
    assert read_block(text.replace("\n", "\r\n")) == read_block(text)


@given(st.dictionaries(st.text(), values, max_size=4), st.lists(st.text(), max_size=4))
def test_any_data_and_any_name_come_back(data: dict[str, object], names: list[str]) -> None:
    functions = [FunctionTotal(name, name, 1, 1, 1) for name in names]
    text = render_block("growth", "bytes", len(names), functions, None, data)
    assert text.isascii()
    assert text.split("\n").count("```") == 1
    found = read_block(text)
    assert found["data"] == data
    assert [each["function"] for each in found["functions"]] == names


def test_functions_past_the_first_2000_are_counted() -> None:
    found = read_block(render_block("cpu", "samples", 1, [FunctionTotal("f", None, None, 0, 0)] * 2005, None, {}))
    assert len(found["functions"]) == 2000
    assert found["functions_left_out"] == 5


def test_functions_that_are_heavy_without_library_frames_are_among_the_2000() -> None:
    functions = [FunctionTotal(f"f{index}", None, None, 2005 - index, 3000) for index in range(2005)]
    found = read_block(render_block("cpu", "samples", 3000, functions, None, {}, {("f2004", None): 2500}))
    rows = {row["function"]: row["folded_self"] for row in found["functions"]}
    assert (len(rows), rows["f2004"], rows["f0"], "f2003" in rows) == (2000, 2500, 0, False)
    assert [row["self"] for row in found["functions"]] == sorted(
        (row["self"] for row in found["functions"]), reverse=True
    )


def test_the_last_block_counts() -> None:
    text = fenced({**good(), "total": 1}) + fenced({**good(), "total": 2})
    assert read_block(text)["total"] == 2


@pytest.mark.parametrize("data", [{"x": float("nan")}, {"x": object()}])
def test_data_that_json_can_not_hold_is_refused(data: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        render_block("cpu", "samples", 1, [], None, data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the text is empty"),
        ("# A profile\n\nlast words\n", "no `.*` block; saw `last words`"),
        (f"x {OPENING}\n{{}}\n```", "no `.*` block"),
        (f"{OPENING}\n", "is not closed; saw ``"),
        (f'{OPENING}\n{{"schema', 'is not closed; saw `{"schema`'),
        (f"{OPENING}\n{{oops\n```", r"is not JSON \(.*\); saw `{oops`"),
        (f"{OPENING}\n{'[' * 200_000}\n```", r"is not JSON \(.*\); saw `\["),
        (f"{OPENING}\n{'9' * 5000}\n```", "is not JSON"),
        (fenced([1]), r"is not an object; saw `\[1\]`"),
        (fenced({}), "schema version None, not 1"),
        (fenced({**good(), "schema_version": 2}), "schema version 2, not 1"),
        (fenced({**good(), "schema_version": True}), "schema version True, not 1"),
        (fenced({**good(), "kind": 3}), "kind is 3"),
        (fenced({**good(), "data": []}), r"data is \[\]"),
        (fenced({**good(), "total": -1}), "total is -1"),
        (fenced({**good(), "total": True}), "total is True"),
        (fenced({**good(), "total": "7"}), "total is '7'"),
        (fenced({**good(), "seconds_per_sample": "x"}), "seconds_per_sample is 'x'"),
        (fenced({**good(), "functions": {}}), "functions is {}"),
        (fenced({**good(), "functions": [{"function": "f"}]}), "lists a function as"),
        (fenced({**good(), "functions": [[]]}), r"lists a function as \[\]"),
    ],
)
def test_what_is_wrong_is_said_with_what_was_seen(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read_block(text)
    assert len(str(caught.value)) < 400


@given(st.text() | st.text().map(lambda text: f"{OPENING}\n{text}\n```") | values.map(fenced))
def test_any_text_is_a_block_or_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="guard-profile"):
        read_block(text)
