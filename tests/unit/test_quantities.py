from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import quantities as q


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512", 512 * 10**6),
        ("512MB", 512 * 10**6),
        ("512mb", 512 * 10**6),
        ("1.5GiB", 3 << 29),
        ("1.5GB", 1_500_000_000),
        ("64Mi", 64 << 20),
        ("2G", 2 * 10**9),
        (" 80 MB ", 80 * 10**6),
        ("1024B", 1024),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert q.parse_threshold(text) == q.Threshold(size, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "nan",
        "inf",
        "∞",
        "1e999",
        "1e3",
        "0",
        "0%",
        "101%",
        "-5%",
        "%",
        "80%%",
        "MB",
        "1.2.3",
        "1_000",
        "٣",
        "5 parsecs",
        "9" * 40,
        "0x10",
        "+5",
    ],
)
def test_what_is_no_threshold_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(q.BadValue, match="512MB"):
        q.parse_threshold(text)


def test_a_share_is_of_the_limit() -> None:
    assert q.parse_threshold("80%").resolve(1000) == 800
    assert q.parse_threshold("12.5 %").resolve(1000) == 125


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5), ("500ms", 0.5), ("2000", 2), ("1m", 60), ("100us", 1e-4), ("1h", 3600)]
)
def test_interval(text: str, seconds: float) -> None:
    assert q.parse_duration(text, 1e-3) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["0", "0s", "-1", "nan", "1e9", "", "s", "400d", "5 weeks"])
def test_no_interval(text: str) -> None:
    with pytest.raises(q.BadValue, match="such as 5s"):
        q.parse_duration(text, 1e-3)


def test_zero_patience_is_a_patience() -> None:
    assert q.parse_duration("0", 1.0, zero=True) == 0


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("15", 15),
        ("TERM", 15),
        ("SIGTERM", 15),
        ("sigusr1", 10),
        ("RTMIN+3", int(signal.SIGRTMIN) + 3),
        ("SIGRTMAX", int(signal.SIGRTMAX)),
    ],
)
def test_signals(text: str, number: int) -> None:
    assert q.parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "32", "TERMINATE", "-9", "RTMIN+99", "TERM+1", "1.5", "9999999"])
def test_no_signals(text: str) -> None:
    with pytest.raises(q.BadValue, match="SIGTERM"):
        q.parse_signal(text)


@pytest.mark.parametrize("number", sorted(signal.valid_signals()))
def test_every_signal_has_a_name_that_is_read_back(number: int) -> None:
    assert q.parse_signal(q.signal_name(number)) == number


def test_maps() -> None:
    assert q.parse_signal_map("15:3") == (15, 3)
    assert q.parse_signal_map("TERM:QUIT") == (15, 3)
    assert q.parse_signal_map("15:0") == (15, 0)
    assert q.parse_exit_map("143:0") == (143, 0)
    for bad in ("15", "15:", ":3", "0:3", "15:3:4"):
        with pytest.raises(q.BadValue):
            q.parse_signal_map(bad)
    for bad in ("256:0", "a:0", "1", "1:-1"):
        with pytest.raises(q.BadValue):
            q.parse_exit_map(bad)


def test_modes() -> None:
    assert q.parse_mode("0640") == 0o640
    for bad in ("0700", "0440", "888", "rw", "00640", ""):
        with pytest.raises(q.BadValue):
            q.parse_mode(bad)


@given(st.text(max_size=40))
def test_any_text_is_a_value_or_a_bad_value(text: str) -> None:
    for parse in (
        q.parse_threshold, q.parse_size, q.parse_share, q.parse_count, q.parse_switch, q.parse_mode, q.parse_signal,
        q.parse_signal_map, q.parse_exit_map, lambda t: q.parse_duration(t, 1.0),
    ):  # fmt: skip
        try:
            parse(text)  # type: ignore[operator]
        except q.BadValue as error:
            assert str(error)


@given(st.integers(1, 1 << 61))
def test_a_size_for_people_is_read_back_nearly(size: int) -> None:
    assert q.parse_size(q.human_bytes(size)) == pytest.approx(size, rel=0.006, abs=1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1e-4, "100 µs"), (0.5, "500 ms"), (5, "5 s"), (125, "2 min 5 s"), (300, "5 min"), (11040, "3 h 4 min")],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert q.human_duration(seconds) == text
