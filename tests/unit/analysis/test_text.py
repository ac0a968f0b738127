import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.analysis.text import binary_bytes, counted, percent, shorten, visible


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain näme 漢字", "plain näme 漢字"),
        ("a\nb\r\0", r"a\x0ab\x0d\x00"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("user\u202enimda", r"user\u202enimda"),
        ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
        ("\udc80", r"\udc80"),
        ("\U000e0001", r"\U000e0001"),
        ("\u2028\x85", r"\u2028\x85"),
    ],
)
def test_what_does_not_print_is_shown_as_an_escape(text: str, expected: str) -> None:
    assert visible(text) == expected


def test_characters_can_be_named_to_be_shown_as_escapes_too() -> None:
    assert visible("a;b", ";") == r"a\x3bb"


@given(st.text())
def test_visible_text_prints_on_one_line_encodes_and_stays_as_it_is(text: str) -> None:
    once = visible(text, ";")
    assert once.isprintable()
    assert ";" not in once
    assert len(once.splitlines()) <= 1
    once.encode()
    assert visible(once, ";") == once


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1536, "1.50 KiB"),
        (10 * 1024, "10.0 KiB"),
        (100 * 1024, "100 KiB"),
        (1024 * 1024 - 1, "1.00 MiB"),
        (12_897_484, "12.3 MiB"),
        (3 << 30, "3.00 GiB"),
        (5000 << 40, "5000 TiB"),
        (-(2 << 30), "-2.00 GiB"),
    ],
)
def test_bytes_have_three_significant_digits_in_binary_units(size: int, expected: str) -> None:
    assert binary_bytes(size) == expected


def test_a_share_of_nothing_is_nothing() -> None:
    assert percent(0, 0) == "0.0%"
    assert percent(1, 3) == "33.3%"


def test_only_long_text_is_shortened() -> None:
    assert shorten("abc", 3) == "abc"
    assert shorten("abcd", 3) == "ab…"


def test_one_is_singular() -> None:
    assert [counted(number, "frame", "frames") for number in (0, 1, 1200)] == ["0 frames", "1 frame", "1,200 frames"]
