"""What is pushed to Pyroscope, held against what its server takes (tests/integration/ingest.py)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import pyroscope, reactions
from supervisor.actions import pyroscope as action
from supervisor.analysis import folded
from tests.integration.ingest import Ingested, ingest

STARTED, ENDED = 1795716280.0, 1795716290.0
TEXT = "main (/srv/app.py:1);leak (/srv/app.py:9) 30\nmain (/srv/app.py:1);work (/srv/app.py:4) 10\n"


def pushed(
    kind: str = "cpu-profile", text: str = TEXT, rate: float = 100.0, name: str = "app", **labels: str
) -> Ingested:
    push = pyroscope.push(kind, text, {"used_rate_hz": rate}, STARTED, ENDED, name, labels)
    return ingest(push.target, push.body)


def test_a_cpu_profile_is_processor_time() -> None:
    found = pushed(environment="production", state="profiling", host="web-1")
    assert found[:5] == (
        "app", "process_cpu", "cpu", "nanoseconds", {"environment": "production", "state": "profiling", "host": "web-1"}
    )  # fmt: skip
    assert (found.started, found.ended) == (int(STARTED), int(ENDED))
    assert found.stacks == {
        "main (/srv/app.py:1);leak (/srv/app.py:9)": 300_000_000,
        "main (/srv/app.py:1);work (/srv/app.py:4)": 100_000_000,
    }


def test_growth_is_memory_in_use() -> None:
    found = pushed("growth")
    assert found[:4] == ("app", "memory", "inuse_space", "bytes")
    assert sum(found.stacks.values()) == 40


@given(st.floats(0.01, 20_000), st.integers(1, 10_000))
def test_any_rate_gives_the_same_time(rate: float, samples: int) -> None:
    found = pushed(text=f"a {samples}\n", rate=rate)
    assert sum(found.stacks.values()) / 1e9 == pytest.approx(samples / rate, rel=2e-3, abs=1e-3)


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_name_and_label_is_taken(name: str, host: str) -> None:
    found = pushed(name=name, host=host, state="ok")
    assert found.service and found.labels["state"] == "ok"
    assert len(found.labels.get("host", "")) <= pyroscope.MOST_LABEL


names = st.text(min_size=1, max_size=12)
stacks = st.dictionaries(
    st.lists(st.builds(folded.frame, names, names), min_size=1, max_size=4).map(";".join), st.integers(1, 1000),
    min_size=1, max_size=6,
)  # fmt: skip


@given(stacks)
def test_any_frames_are_taken(counts: dict[str, int]) -> None:
    found = pushed("growth", folded.render(counts))
    assert sum(found.stacks.values()) == sum(counts.values())


def test_a_deep_stack_keeps_its_inner_end() -> None:
    """Of a line of 64 KiB or more the server would drop all that follows."""
    deep = ";".join(f"function_{number} (/srv/app.py:{number})" for number in range(5000))
    found = pushed("growth", f"{deep} 7\nmain 1\n")
    assert sorted(found.stacks.values()) == [1, 7]
    (long,) = (stack for stack, weight in found.stacks.items() if weight == 7)
    assert long.startswith("…;") and long.endswith(";function_4999 (/srv/app.py:4999)")
    assert len(long) > 50_000


def test_too_many_stacks_lose_the_lightest() -> None:
    many = "".join(f"main;f{number:06};{'x' * 400} {number}\n" for number in range(1, 12_001))
    push = pyroscope.push("growth", many, {}, STARTED, ENDED, "app", {})
    found = ingest(push.target, push.body)
    assert 9000 < len(found.stacks) < 12_000
    assert min(found.stacks.values()) == 12_001 - len(found.stacks)
    assert push.left_out == pytest.approx(1 - sum(found.stacks.values()) / (12_000 * 12_001 / 2))


def test_an_empty_profile_is_no_request() -> None:
    assert pyroscope.push("growth", "", {}, STARTED, ENDED, "app", {}).body == b""


def test_the_watcher_asks_for_what_can_be_pushed() -> None:
    assert set(reactions.PROFILES) == set(pyroscope.TYPES)


def test_who_pushes() -> None:
    variables = {"PYROSCOPE_AUTH_TOKEN": "t", "PYROSCOPE_BASIC_AUTH_USER": "u", "PYROSCOPE_BASIC_AUTH_PASSWORD": "p"}
    plain, named = "https://example.org", "https://me:pw@example.org/x"
    assert action._headers({}, plain) == {}
    assert action._headers(variables, plain) == {"Authorization": "Bearer t"}
    assert action._headers(variables | {"PYROSCOPE_AUTH_TOKEN": ""}, plain) == {"Authorization": "Basic dTpw"}
    assert action._headers(variables | {"PYROSCOPE_TENANT_ID": "7"}, named) == {"X-Scope-OrgID": "7"}
