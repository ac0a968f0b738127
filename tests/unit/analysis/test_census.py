"""What grew between two censuses, and what is only chance."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.analysis import census

MIB = 1 << 20


def taken(*types: tuple[str, int, int, float]) -> dict[str, Any]:
    return {
        "types": [
            {"type": name, "count": count, "bytes": size, "spread": spread, "in": [{"type": "list", "bytes": size}]}
            for name, count, size, spread in types
        ]
    }


def test_what_grew_comes_in_the_order_of_bytes() -> None:
    before = taken(("str", 1000, 100_000, 10.0), ("dict", 100, 50_000, 3.0))
    after = taken(("str", 9000, 900_000, 30.0), ("dict", 100, 50_000, 3.0), ("app.Order", 5000, 4 * MIB, 20.0))
    grown = census.grew(before, after)
    assert [(row.type, row.more, row.more_bytes) for row in grown] == [
        ("app.Order", 5000, 4 * MIB),
        ("str", 8000, 800_000),
    ]
    assert grown[0].held_in == "list"


def test_what_sampling_explains_is_no_growth() -> None:
    before, after = taken(("str", 100_000, 10 * MIB, 5000.0)), taken(("str", 106_000, 10 * MIB + 600_000, 5000.0))
    assert census.grew(before, after) == []
    sure = taken(("str", 106_000, 10 * MIB + 600_000, 100.0))
    assert [row.type for row in census.grew(taken(("str", 100_000, 10 * MIB, 100.0)), sure)] == ["str"]


def test_one_object_that_grew_by_its_size() -> None:
    before, after = taken(("bytearray", 1, MIB, 1.0)), taken(("bytearray", 1, 9 * MIB, 1.0))
    (row,) = census.grew(before, after)
    assert (row.more, row.more_bytes) == (0, 8 * MIB)


def test_two_classes_of_one_name_are_one_row() -> None:
    (row,) = census.rows(taken(("app.Order", 2, 200, 1.0), ("app.Order", 3, 300, 1.0)))
    assert (row.count, row.size_bytes) == (5, 500)


def test_modules_of_classes() -> None:
    rows = census.rows(taken(("app.models.Order", 2, 200, 1.0), ("app.Cart", 3, 300, 1.0), ("str", 9, 90, 1.0)))
    assert census.by_module(rows) == [("app", 5, 500), ("builtins", 9, 90)]


@pytest.mark.parametrize(
    ("first", "last", "held", "expected"),
    [
        ((10, 1), (50, 2), (100, 140), ""),
        ((10, 1), (11, 2), (100, 140), "unseen"),  # C code's
        ((10, 1), (217, 2), (300, 330), "coarse"),  # 207 MiB more where it gained 30
        ((725, 1), (210, 2), (600, 630), "coarse"),  # more than it held
        ((10, 1), (10, 42), (100, 140), ""),
        ((10, 1, 1, 1), (22, 12, 12, 12), (100, 280), "unseen"),
        ((10, 1, 1, 1), (22, 12, 12, 12), (100, 150), "spread"),
        ((10, 1), (15, 1), (100, 103), ""),  # what is little isn't judged
        ((10, 1), (40, 1), (100, 103), "coarse"),
    ],
)
def test_a_type_is_named_only_where_the_counts_fit_the_process(
    first: tuple[int, ...], last: tuple[int, ...], held: tuple[int, int], expected: str
) -> None:
    before, after = (
        taken(*[(f"app.Type{number}", 1, size * MIB, 0.0) for number, size in enumerate(sizes)])
        for sizes in (first, last)
    )
    assert census.doubt(before, after, (held[0] * MIB, held[1] * MIB)) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["types", "type", "count", "bytes", "in"]), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.just("types"), JSON))
def test_an_answer_that_makes_no_sense_is_no_row(answer: dict[str, Any]) -> None:
    for row in census.rows(answer):
        assert isinstance(row.type, str) and isinstance(row.count, int) and isinstance(row.size_bytes, int)
