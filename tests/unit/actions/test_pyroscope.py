"""What is to be pushed is read from files that anybody may have put there."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.actions import pyroscope
from tests.unit.test_files import NOT_REGULAR, in_its_place


@pytest.mark.parametrize("kind", NOT_REGULAR)
def test_what_is_no_file_is_not_pushed(tmp_path: Path, kind: str) -> None:
    in_its_place(kind, tmp_path / "a.folded")
    with pytest.raises(OSError):
        pyroscope._read(str(tmp_path / "a.folded"))
