"""pprof as bytes: against the format's own definition, and damaged."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.analysis import pprof
from supervisor.analysis.reading import FormatError

COUNTS = {"main (a.py:1);work (a.py:7)": 60, "main (a.py:1);rest (b.py:2)": 30, "main (a.py:1)": 10}


def test_a_small_profile_byte_by_byte() -> None:
    # Worked out by hand from profile.proto: sample_type {samples, count}, a sample at location 1 with the value 300,
    # location 1 with the line {function 1, line 5}, function 1 {name, system name, file}, the string table.
    assert gzip.decompress(pprof.render({"f (a.py:5)": 300}, unit="samples")) == bytes.fromhex(
        "0a0408011002"  # 1: {1: 1, 2: 2}
        "12070a01011202ac02"  # 2: {1: packed [1], 2: packed [300]}
        "220808012204080110 05".replace(" ", "")  # 4: {1: 1, 4: {1: 1, 2: 5}}
        + "2a0808011003180320 04".replace(" ", "")  # 5: {1: 1, 2: 3, 3: 3, 4: 4}
        + "3200"
        + "320773616d706c6573"
        + "3205636f756e74"
        + "320166"
        + "3204612e7079"
    )


def test_the_same_profile_gives_the_same_bytes() -> None:
    other = dict(reversed(COUNTS.items()))
    assert pprof.render(COUNTS, unit="samples") == pprof.render(other, unit="samples")


def test_numbers_that_are_not_packed_and_inlined_lines_are_read() -> None:
    raw = bytes.fromhex(
        "0a0408011002" "1206080110 05 1002".replace(" ", "")  # location 1, values 5 and 2, each by itself
        + "220c0801" "22020801" "22040802 1003".replace(" ", "")  # lines of functions 1 and 2; 2 is the caller
        + "2a0408011003" "2a0408021004" "3200" "320773616d706c6573" "3205636f756e74" "320166" "320167"
    )  # fmt: skip
    assert pprof.read(raw, keep=True).stacks == {"g;f": 5}


def test_time_is_read_where_nothing_is_counted() -> None:
    data = gzip.decompress(pprof.render(COUNTS, unit="samples", seconds_per_sample=0.004, seconds=3.0))
    found = pprof.read(data)
    assert (found.unit, found.total, found.seconds_per_weight, found.seconds) == ("samples", 100, 0.004, 3.0)
    found = pprof.read(data.replace(b"\x32\x07samples", b"\x32\x07unknown"))
    assert (found.unit, found.seconds_per_weight) == ("seconds", 1e-9)
    assert found.samples == pytest.approx(100)


@given(st.integers(0, 2**64 - 1))
def test_numbers_survive(number: int) -> None:
    data = pprof._varint(number)
    assert pprof._read_varint(data, 0) == (number, len(data))


@given(st.data())
def test_a_cut_profile_is_explained(data: st.DataObject) -> None:
    whole = gzip.decompress(pprof.render(COUNTS, unit="samples"))
    at = data.draw(st.integers(0, len(whole) - 1))
    try:
        assert pprof.read(whole[:at]).total <= 100
    except FormatError as error:
        assert "pprof" in str(error)


@pytest.mark.skipif(shutil.which("go") is None, reason="go is not installed: the browser test reads it with speedscope")
def test_gos_own_pprof_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "x.pb.gz"
    path.write_bytes(pprof.render(COUNTS, unit="samples", seconds_per_sample=0.01, seconds=1.0))
    done = subprocess.run(["go", "tool", "pprof", "-top", str(path)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "600ms 60.00%" in done.stdout and "work" in done.stdout
