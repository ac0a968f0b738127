"""tracemalloc's files and lines as functions."""

from __future__ import annotations

from pathlib import Path

from supervisor.actions import heap_sites

SOURCE = """import app

class Bus:
    def subscribe(self):
        def listener():
            return 1
        return listener

async def serve():
    pass
"""


def test_functions_by_their_lines() -> None:
    found = heap_sites.functions(SOURCE)
    names = [heap_sites.function_at(found, line) for line in range(1, 11)]
    assert names == [
        "<module>", "<module>", "Bus", "Bus.subscribe", "Bus.subscribe.listener", "Bus.subscribe.listener",
        "Bus.subscribe", "<module>", "serve", "serve",
    ]  # fmt: skip
    assert heap_sites.functions("def broken(:") == []
    assert heap_sites.functions("\0") == []


def test_stacks_are_root_first_with_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "bus.py"
    path.write_text(SOURCE)
    stack = [[str(path), 6], [str(path), 7], [str(path), 1]]
    traces = {"sites": [[500, 2, stack], [100, 1, stack], [7, 1, [["/gone.py", 3]]], ["x"], [1, 1, []]]}
    assert heap_sites.counts(traces) == {
        f"<module> ({path}:1);Bus.subscribe ({path}:7);Bus.subscribe.listener ({path}:6)": 600,
        "<module> (/gone.py:3)": 7,
    }
    assert heap_sites.innermost(traces) == {f"{path}:6": 600, "/gone.py:3": 7}
    assert heap_sites.counts({"error": "no room"}) == {}
