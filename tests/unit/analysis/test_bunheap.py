from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.analysis import bunheap, formats
from supervisor.analysis.reading import FormatError

TEXT = """# Bun Heap Profile

## Summary

| Metric | Value |
|--------|------:|
| Total Heap Size | 1.4 MB (1558289 bytes) |
| Total Objects | 52682 |

## Top 50 Types by Retained Size

| Rank | Type | Count | Self Size | Retained Size | Largest Instance |
|-----:|------|------:|----------:|--------------:|-----------------:|
| 1 | `Array` | 10004 | 156.3 KB | 1.5 MB | 1.3 MB |
| 2 | `<root>` | 1 | 0 B | 1.4 MB | 1.4 MB |
| 3 | `Object` | 10008 | 1.0 MB | 1.3 MB | 1.2 KB |

## Top 50 Largest Objects

| Rank | ID | Type | Self Size | Retained Size | Out-Edges | In-Edges |
| 1 | 0 | `<root>` | 0 B | 1.4 MB | 2895 | 0 |
"""


def test_types_and_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "heap.md"
    path.write_text(TEXT)
    found = formats.read(str(path))
    assert (found.kind, found.unit, found.total) == ("memory", "bytes", 1558289)
    assert {name: each.self_weight for (name, _), each in found.functions.items()} == {
        "Array": 160051,
        "Object": 1 << 20,
        "(other types)": 1558289 - 160051 - (1 << 20),
    }
    total, rows = bunheap.rows(TEXT)
    assert total == 1558289 and rows[0].retained_bytes == round(1.5 * (1 << 20)) and rows[0].count == 10004


@pytest.mark.parametrize("text", [TEXT[:100], TEXT.replace("156.3 KB", "156.3 parsec")])
def test_what_is_damaged_is_told(text: str) -> None:
    with pytest.raises(FormatError):
        bunheap.read(text)


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(rest: str) -> None:
    try:
        bunheap.read(TEXT[:300] + rest)
    except FormatError:
        pass
