"""The docs are true: the settings page is the table's, modules and links exist."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_settings_page_is_the_tables() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/settings_page.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_architecture_page_has_a_place_for_every_module_and_for_none_that_is_gone() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = [line.split("|")[2] for line in page.splitlines() if line.startswith("| ") and "modules of" not in line]
    named = [name for row in rows for name in re.findall(r"`([\w/]+)`", row)]
    package = ROOT / "supervisor"
    there = [path.stem for path in package.glob("*.py")]
    there += [f"{path.parent.name}/" for path in package.glob("*/*.py")]
    assert [name for name in there if name not in named] == []
    assert sorted(set(named) - set(there)) == [] and len(named) == len(set(named))
    pictured = re.findall(r"\b([a-z_]\w+)\b", re.sub(r'"[^"]*"', "", page.split("```")[1]))
    known = {name.rstrip("/") for name in named} | {"mermaid", "flowchart", "bin", "target", "profiles", "reading"}
    assert set(pictured) <= known


def test_the_architecture_is_one_page() -> None:
    page = re.sub(r"```mermaid.*?```", "", (ROOT / "docs" / "architecture.md").read_text(), flags=re.DOTALL)
    assert len(page.replace("|", " ").split()) <= 650


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for part in page.read_text().split("](")[1:]:
            link = part.split(")")[0]
            if "://" not in link:
                file, _, heading = link.partition("#")
                target = page.parent / file if file else page
                assert target.exists(), f"{page.name}: {link}"
                assert not heading or heading in anchors(target), f"{page.name}: {link}"


def anchors(page: Path) -> set[str]:
    """The headings as GitHub names them in links."""
    headings = [line.lstrip("#").strip().lower() for line in page.read_text().splitlines() if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


def test_every_event_that_the_source_names_is_in_its_schema() -> None:
    """A new event: its name and the fields it always has go to docs/schemas/event.schema.json."""
    schema = json.loads((ROOT / "docs" / "schemas" / "event.schema.json").read_text())
    named: set[str] = set()
    for path in (ROOT / "supervisor").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and len(node.args) >= 2:
                called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                name = node.args[1]
                if called in ("emit", "_emit", "Event") and isinstance(name, ast.Constant):
                    named.add(str(name.value))
    assert len(named) > 20
    assert sorted(named - set(schema["properties"]["event"]["enum"])) == []


def test_figures_on_the_practices_page_stand_on_the_measured_pages() -> None:
    """After a new measurement: take its figures over into docs/practices.md."""
    docs = ROOT / "docs"
    measured = (docs / "performance.md").read_text() + (docs / "performance-profile.md").read_text()
    impact = (docs / "practices.md").read_text().partition("## Impact")[2]
    figures = re.findall(r"[+-][\d.]+ % \([^)]*\)|[\d.]+ (?:ms|µs|MiB)|0\.\d+ %", impact)
    assert len(figures) >= 10
    assert [figure for figure in figures if figure not in measured] == []
