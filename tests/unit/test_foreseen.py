"""What can be seen at the start to be missing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.foreseen import foreseen


def names(tmp_path: Path, **settings: Any) -> list[str]:
    nothing = dict.fromkeys(("on_warning", "on_critical", "on_profiling", "on_exit", "ship"))
    config: Any = SimpleNamespace(directory=str(tmp_path), **(nothing | settings))
    found = foreseen(config, {"PATH": f"{tmp_path}/bin:relative"})
    assert all(each["reason"] and each["hint"] for each in found)
    return [each["setting"] for each in found]


@pytest.mark.parametrize(
    ("program", "there"),
    [("tool", True), ("./bin/tool", True), ("near", True), ("plain", False), ("bin", False), ("../tool", False)],
)
def test_programs_of_hooks(tmp_path: Path, program: str, there: bool) -> None:
    for folder, name, mode in (("bin", "tool", 0o755), ("bin", "plain", 0o644), ("relative", "near", 0o755)):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).touch(mode)
    assert names(tmp_path, on_critical=(program, "x")) == ([] if there else ["on-critical"])


def test_directories_to_ship_to(tmp_path: Path) -> None:
    assert names(tmp_path, ship=str(tmp_path)) == []
    assert names(tmp_path, ship=f"file://{tmp_path}/away") == ["ship"]
    assert names(tmp_path, ship="https://a.example/in") == []
