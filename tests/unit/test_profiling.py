"""What `guard profile` puts where --output says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from supervisor import profiling
from supervisor.errors import UsageError

RUN = "/p/r"
HEAP = {"outcome": "ok", "paths": [f"{RUN}/002-profiling-heap-profile.md", f"{RUN}/002-profiling-heap-profile.folded"]}


def test_the_output_is_never_of_another_kind() -> None:
    failed: dict[str, Any] = {
        "cpu-profile": {"outcome": "failed", "paths": [f"{RUN}/001-profiling-cpu-profile.folded"]}
    }
    results = {**failed, "heap-profile": HEAP}
    assert profiling.to_deliver(results, "cpu-profile", ".md") is None
    assert profiling.to_deliver(results, "cpu-profile", ".folded") is None
    assert profiling.to_deliver(results, "heap-profile", ".md") == HEAP["paths"][0]
    assert profiling.to_deliver(results, "heap-profile", ".pb.gz") is None


def test_the_output_is_guards_own_and_not_what_the_runtime_wrote() -> None:
    paths = [f"{RUN}/001-profiling-cpu-profile{end}" for end in (".bun.md", ".md", "-12-1.cpuprofile")]
    assert profiling.to_deliver({"cpu-profile": {"outcome": "ok", "paths": paths}}, "cpu-profile", ".md") == paths[1]


@pytest.mark.parametrize(("cpu", "heap", "kind"), [(False, False, "cpu"), (True, True, "cpu"), (False, True, "heap")])
def test_which_kind_the_output_is_for(tmp_path: Path, cpu: bool, heap: bool, kind: str) -> None:
    def wish(name: str) -> profiling.Wish:
        output = str(tmp_path / name)
        return profiling.Wish(cpu=cpu, heap=heap, mode="smart", duration_s=None, output=output, flags={}, as_json=False)

    assert wish("x.md").delivered == f"{kind}-profile"
    if kind == "cpu":
        assert wish("x.pb.gz").output
    else:
        with pytest.raises(UsageError, match="no such form"):
            wish("x.pb.gz")
