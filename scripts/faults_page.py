"""Writes docs/faults.md from the table of faults that tests walk; `--check` fails when the page is old."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.integration.faults.rows import ROWS  # noqa: E402
from tests.integration.faults.table import GROUPS, Row  # noqa: E402

PAGE = ROOT / "docs" / "faults.md"
HEAD = """# Faults

What can go wrong around guard, and what guard then tells. Made by `scripts/faults_page.py` from the table that
`tests/integration/faults` walks: every row is brought about with a real guard and a real target, and in every row the
target runs on, guard's exit code is the target's own, and no reader trips over anything half-written.

What guard tells is a log event; where stderr is the fault, it stands in the run's `run.json` and `events.jsonl`.
"""


def cell(text: str) -> str:
    """Text as it may stand in a table."""
    return text.replace("|", "\\\\|")


def told(row: Row) -> str:
    """The event with its fields."""
    if row.play is None:
        return f"not made: {row.cannot}"
    fields = ", ".join(f"{name}: {value}" for name, value in row.fields.items() if str(value) != "…  …")
    return f"`{row.told}`" + (f" ({fields})" if fields else "")


def page() -> str:
    """The page's text."""
    lines = [HEAD]
    for group, title in GROUPS.items():
        lines += [f"## {title}", "", "| fault | how the test makes it | guard tells |", "|---|---|---|"]
        for row in ROWS:
            if row.group == group:
                shown = told(row).encode("unicode_escape").decode() if not told(row).isprintable() else told(row)
                lines.append(f"| {cell(row.name)} | {cell(row.made) or '–'} | {cell(shown)} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.read_text() == page() else f"{PAGE} is old: python {sys.argv[0]}")
    PAGE.write_text(page())
