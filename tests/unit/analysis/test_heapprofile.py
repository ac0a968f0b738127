import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.actions import node_heap
from supervisor.analysis import formats, heapprofile
from supervisor.analysis.reading import FormatError


def call(name: str, url: str, line: int, size: int, number: int, *children: Any) -> dict[str, Any]:
    frame = {"functionName": name, "url": url, "lineNumber": line, "columnNumber": 0, "scriptId": "1"}
    return {"callFrame": frame, "selfSize": size, "id": number, "children": list(children)}


DOCUMENT = {
    "head": call("(root)", "", -1, 0, 1,
                 call("serve", "file:///app/s.js", 4, 100, 2,
                      call("keep", "file:///app/s.js", 9, 2000, 3, call("push", "", -1, 500, 4))),
                 call("(V8 API)", "", -1, 30, 5)),
    "samples": [
        {"nodeId": 3, "size": 2000, "ordinal": 7},
        {"nodeId": 4, "size": 500, "ordinal": 9},
        {"nodeId": 2, "size": 100, "ordinal": 3},
        {"nodeId": 5, "size": 30, "ordinal": 12},
    ],
}  # fmt: skip
SERVE, KEEP = "serve (/app/s.js:5)", "serve (/app/s.js:5);keep (/app/s.js:10)"


def test_bytes_by_stack_and_what_v8_took_for_somebody_is_his() -> None:
    heap = heapprofile.parse(DOCUMENT)
    assert heap.counts == {SERVE: 100, KEEP: 2500, "(V8 API)": 30}
    assert heap.newest == 12
    assert heap.parted(7) == ({SERVE: 100, KEEP: 2000}, {KEEP: 500, "(V8 API)": 30})
    assert heap.parted(None) == (heap.counts, {})


def test_it_is_read_for_a_comparison(tmp_path: Path) -> None:
    path = tmp_path / "a.heapprofile"
    path.write_text(json.dumps(DOCUMENT))
    found = formats.read(str(path), keep=True)
    assert (found.kind, found.unit, found.total) == ("memory", "bytes", 2630)
    assert found.functions["keep", "/app/s.js"].self_weight == 2500
    assert found.functions["serve", "/app/s.js"].total_weight == 2600
    assert found.samples == 4 and found.stacks is not None and found.stacks[KEEP] == 2500


@pytest.mark.parametrize(
    "change",
    [
        {"head": {"callFrame": {}, "selfSize": "much", "children": []}},
        {"head": {"callFrame": {}, "selfSize": 1, "children": [3]}},
        {"samples": [{"nodeId": 3, "size": "large"}]},
        {"samples": [{"nodeId": 3, "size": 5, "ordinal": []}]},
        {"samples": [7]},
    ],
)
def test_a_damaged_one_is_told(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "a.heapprofile"
    path.write_text(json.dumps({**DOCUMENT, **change}))
    with pytest.raises(FormatError):
        formats.read(str(path))


def test_a_sample_of_a_call_that_is_not_in_the_tree_yet_is_left_out() -> None:
    ahead = {**DOCUMENT, "samples": [{"nodeId": 99, "size": 3, "ordinal": 1}, {"nodeId": 3, "size": 7, "ordinal": 2}]}
    assert heapprofile.parse(ahead).samples == [(2, KEEP, 7)]


def test_an_inlined_callee_gets_back_what_its_caller_was_charged() -> None:
    exact = {"timer;tick;keep": 90, "timer;tick": 10}
    assert heapprofile.refine(exact, {"timer;tick": 1000, "other": 5}) == {
        "timer;tick;keep": 90 + 900,
        "timer;tick": 10 + 100,
        "other": 5,
    }
    # The whole of `tick` was inlined into its caller.
    assert heapprofile.refine(exact, {"timer": 10}) == {"timer;tick;keep": 99, "timer;tick": 11}


STACKS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=4).map(";".join)
COUNTS = st.dictionaries(STACKS, st.integers(0, 10**9), max_size=8)


@given(COUNTS, COUNTS)
def test_refining_keeps_the_sum(exact: dict[str, int], vague: dict[str, int]) -> None:
    found = heapprofile.refine(exact, vague)
    assert sum(found.values()) == sum(exact.values()) + sum(vague.values())
    assert all(weight >= 0 for weight in found.values())


def test_the_interval_is_bounded_and_says_why() -> None:
    assert node_heap.interval(1 << 20, 100 << 20) == (1 << 20, "as asked")
    used, why = node_heap.interval(1024, 100 << 20)
    assert used == 65536 and "1024 bytes were asked" in why
    assert node_heap.interval(1024, 8 << 30)[0] == 512 << 10


def test_growth_outside_the_heap_is_told() -> None:
    start = {"rss_bytes": 50_000_000, "heap_bytes": 10_000_000}
    assert node_heap.outside_the_heap({"start": start}) == ""
    assert (
        node_heap.outside_the_heap({"start": start, "end": {"rss_bytes": 140_000_000, "heap_bytes": 90_000_000}}) == ""
    )
    said = node_heap.outside_the_heap({"start": start, "end": {"rss_bytes": 251_000_000, "heap_bytes": 11_000_000}})
    assert "grew by 200 MB, the heap by 1 MB" in said
    collected = {"rss_bytes": 251_000_000, "heap_bytes": 5_000_000}
    assert node_heap.outside_the_heap({"start": start, "end": collected}) == ""


def test_what_worker_threads_hold_is_not_outside_the_heap() -> None:
    """The figures are of the main thread's heap alone."""
    memory = {
        "start": {"rss_bytes": 50_000_000, "heap_bytes": 10_000_000},
        "end": {"rss_bytes": 251_000_000, "heap_bytes": 11_000_000},
    }
    assert node_heap.outside_the_heap(memory, 120_000_000) == ""  # and the rest may be their garbage
    assert "grew by 190 MB, the heap by 1 MB" in node_heap.outside_the_heap(memory, 10_000_000)
