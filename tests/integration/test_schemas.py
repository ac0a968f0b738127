"""docs/schemas describes what guard writes: a real run through every state, each file and line held against it."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from supervisor.analysis.block import read_block
from tests.integration import stepping

pytestmark = pytest.mark.integration

# A signal the target doesn't handle, hooks that go well and badly, a webhook where nobody listens.
REACTING = [
    "--signal-at",
    "warning:USR2",
    "--on-warning",
    "true",
    "--on-exit",
    "false",
    "--notify",
    "http://127.0.0.1:9/",
]
SCHEMAS = stepping.ROOT / "docs" / "schemas"


def closed(schema: Any) -> Any:
    """The schema with every described object closed: a field that it doesn't name is refused."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    kind = result.get("type")
    if "properties" in result and (kind == "object" or (isinstance(kind, list) and "object" in kind)):
        result["unevaluatedProperties"] = False
    return result


def schema(name: str) -> dict[str, Any]:
    return dict(json.loads((SCHEMAS / f"{name}.schema.json").read_text()))


def faults(name: str, document: object) -> list[str]:
    validator = Draft202012Validator(closed(schema(name)))
    return [f"{name} {error.json_path}: {error.message[:300]}" for error in validator.iter_errors(document)]


def documents(profiles: Path) -> Iterator[tuple[str, Any]]:
    """All that a profiles directory holds as (schema, document)."""
    for path in sorted(profiles.rglob("*")):
        if path.is_dir():
            continue
        text = path.read_text() if path.suffix in (".json", ".jsonl", ".md") else ""
        if path.name == "run.json":
            yield "run", json.loads(text)
        elif path.name in ("budget.json", "shipped.json"):
            yield path.stem, json.loads(text)
        elif path.suffix == ".jsonl":
            for line in text.splitlines():
                yield {"flight": "flight", "events": "event"}[path.stem], json.loads(line)
        elif path.suffix == ".md":
            yield "profile-block", read_block(text)
        elif path.suffix == ".json" and path.parent.name != "spool" and not path.name.endswith(".speedscope.json"):
            yield path.name.split(".")[-2], json.loads(text)


def test_every_file_of_a_real_run_is_as_its_schema_says(start: Callable[..., Any], tmp_path: Path) -> None:
    options = [*stepping.FULL, *REACTING, "--heap-agent", "census", "--log-level", "debug", "--ship", str(tmp_path)]
    run = stepping.begin(start, options)
    for one in documents(run.profiles):  # the start record, a run that lives
        assert faults(*one) == []
    stepping.grow_until_attributed(run)
    stepping.tell(run, "spin")
    stepping.tell(run, "grow 130")
    run.wait_for("state.changed", to="profiling")
    run.wait_for("action.finished", action="cpu-profile")
    run.wait_for("action.finished", action="heap-profile", state="profiling")
    stepping.order(run, "exit 0")
    assert run.end() == 0, run.events
    found = list(documents(run.profiles))
    assert [fault for one in found for fault in faults(*one)] == []
    kinds = {name for name, _ in found}
    assert kinds == {path.name.split(".")[0] for path in SCHEMAS.glob("*.json")}, (
        "a schema that nothing was held against"
    )
    metas = {document["kind"] for name, document in found if name == "meta"}
    assert metas == {"snapshot", "stacks", "growth", "cpu-profile", "heap-profile"}


def test_a_field_that_is_missing_or_unknown_is_found() -> None:
    """The check itself: each schema refuses a document without one of its fields and with one more."""
    for path in SCHEMAS.glob("*.json"):
        Draft202012Validator.check_schema(json.loads(path.read_text()))
    line = {"at": "2026-11-26T00:24:11.278Z", "elapsed_s": 0.05, "state": "ok", "rss_bytes": 1, "use_bytes": 1,
            "limit_bytes": 2, "slope_bytes_per_s": 0, "oom_kills": None, "process_count": 1,
            "processes": [{"pid": 1, "name": "a", "rss_bytes": 1, "cpu_ticks": 1}]}  # fmt: skip
    assert faults("flight", line) == []
    for name in schema("flight")["required"]:
        assert faults("flight", {key: value for key, value in line.items() if key != name})
    more = copy.deepcopy(line)
    more["processes"][0]["new"] = 1  # type: ignore[index]
    assert faults("flight", more)
    assert faults("flight", line | {"state": "bad"})


def test_the_page_names_every_schema_and_its_example_runs(tmp_path: Path) -> None:
    page = (stepping.ROOT / "docs" / "formats.md").read_text()
    for path in SCHEMAS.glob("*.json"):
        assert f"(schemas/{path.name})" in page
    (command,) = re.findall(r"^```sh run\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for name in ("a", "b"):
        folder = tmp_path / "profiles" / "monitored" / name
        folder.mkdir(parents=True)
        (folder / "events.jsonl").write_text('{"event": "state.changed", "to": "critical", "reason": "r"}\n')
    done = subprocess.run(["sh", "-euc", command], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["critical r", "critical r"]
