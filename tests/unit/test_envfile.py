from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import envfile
from supervisor.errors import UsageError


def values(text: str | bytes) -> dict[str, str]:
    data = text.encode() if isinstance(text, str) else text
    return {name: entry.value for name, entry in envfile.parse(data, "f").items()}


@pytest.mark.parametrize(
    "text",
    [
        "A=1\nexport B=two\n",
        'A=\'single # no comment\' # comment\nB="double \\" quote"\n',
        "# only a comment\n\n   A=1   \n",
        "A=a\\ b\nB=c'd'\"e\"\n",
        "A=1; B=2 # both\n",
        "A=\nB=''\n",
        "A=1\nA=2\n",
        "A=one\\\ntwo\n",
        "A='multi\nline'\nB=3\n",
        "A=x#y\n",
    ],
)
def test_it_reads_what_a_shell_reads(text: str, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text(text)
    names = sorted(values(text))
    script = f". {file}; for n in {' '.join(names)}; do eval printf '%s\\\\0' '\"$'$n'\"'; done"
    shell = subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout
    assert shell.decode().split("\0")[:-1] == [values(text)[name] for name in names]


def test_bom_and_crlf() -> None:
    assert values(b"\xef\xbb\xbfA=1\r\nB=2\r\n") == {"A": "1", "B": "2"}


def test_line_numbers_count_all_lines() -> None:
    entries = envfile.parse(b"\n# c\nA='x\ny'\nB=1\n", "f")
    assert (entries["A"].line, entries["B"].line) == (3, 5)


@pytest.mark.parametrize("text", ["A=$(touch x)", "A=`touch x`", 'A="$HOME"', "A=$HOME"])
def test_what_a_shell_would_expand_is_marked(text: str) -> None:
    assert envfile.parse(text.encode(), "f")["A"].expands


def test_single_quotes_expand_nothing() -> None:
    entry = envfile.parse(b"A='$(touch x)'", "f")["A"]
    assert (entry.value, entry.expands) == ("$(touch x)", False)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"A=1\0", "NUL"),
        (b"A=\xff", "line 1: not UTF-8"),
        (b"A='", "never closed"),
        (b'A="x', "never closed"),
        (b"\nfoo bar", "line 2: not an"),
        (b"1A=2", "not an"),
        (b"if true", "not an"),
    ],
)
def test_what_is_no_file_of_settings(data: bytes, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        envfile.parse(data, "f")
    assert why in caught.value.what
    assert "--env-file" in caught.value.hint


def test_files(tmp_path: Path) -> None:
    assert envfile.read(str(tmp_path / "none"), explicit=False) is None
    with pytest.raises(UsageError, match="no such file"):
        envfile.read(str(tmp_path / "none"), explicit=True)
    with pytest.raises(UsageError, match="directory"):
        envfile.read(str(tmp_path), explicit=False)
    big = tmp_path / "big"
    big.write_bytes(b"A=" + b"x" * (2 << 20))
    with pytest.raises(UsageError, match="larger than 1 MiB"):
        envfile.read(str(big), explicit=False)


@given(st.binary(max_size=200))
def test_any_bytes_are_settings_or_an_explained_error(data: bytes) -> None:
    try:
        entries = envfile.parse(data, "f")
    except UsageError as error:
        assert error.hint
    else:
        assert all(name and entry.line >= 1 for name, entry in entries.items())


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True),
        st.text(st.characters(exclude_characters="\0\r'", exclude_categories=("Cs",))),
    )
)
def test_quoted_values_come_back(wanted: dict[str, str]) -> None:
    text = "".join(f"{name}='{value}'\n" for name, value in wanted.items())
    assert values(text) == wanted
