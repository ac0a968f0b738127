"""What py-spy writes, read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor.analysis import folded
from supervisor.profilers import recorder


def test_samples_without_a_stack_are_errors_and_cost_nothing_else() -> None:
    kept, empty = recorder.without_empty(["main (a.py:1);work (a.py:2) 41", " 3", "main (a.py:1) 1", " 1"])
    assert folded.parse(kept) == {"main (a.py:1);work (a.py:2)": 41, "main (a.py:1)": 1}
    assert empty == 4


@given(st.dictionaries(st.text("ab;", min_size=1).filter(lambda text: text.strip("; ")), st.integers(0, 10**9)))
def test_stacks_stay(counts: dict[str, int]) -> None:
    lines = folded.render(counts).splitlines()
    assert recorder.without_empty(lines) == (lines, 0)
