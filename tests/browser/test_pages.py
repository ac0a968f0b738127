"""What guard writes for browsers, in one: speedscope opens its files, the comparison page shows its graphs."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from supervisor.analysis import compare, comparison_page, foldedfile, pprof
from supervisor.analysis import speedscope as writer
from supervisor.analysis.reading import Reading

from .conftest import Page

pytestmark = pytest.mark.browser
COUNTS = {
    "main (app.py:1);serve (app.py:9);parse (app.py:20)": 60,
    "main (app.py:1);serve (app.py:9);render <b> \\x1b (app.py:30)": 30,
    "main (app.py:1);idle (other.py:3)": 10,
}
# Speedscope keeps what it has imported in a store; its table of functions is text in the page.
TABLE = "document.body.innerText"


@pytest.mark.parametrize("kind", ["speedscope", "pprof"])
def test_speedscope_opens_it(page: Page, speedscope: Path, tmp_path: Path, kind: str) -> None:
    if kind == "speedscope":
        text = writer.render(COUNTS, name="CPU", unit="seconds", scale=0.01, exporter="guard")
        name, data = "p.speedscope.json", text.encode()
    else:
        name, data = "p.pb.gz", pprof.render(COUNTS, unit="samples", seconds_per_sample=0.01, seconds=2.0)
    # As speedscope's own command does it: a script beside the page hands the file over.
    loader = tmp_path / "load.js"
    encoded = base64.b64encode(data).decode()
    loader.write_text(f"speedscope.loadFileFromBase64({json.dumps(name)}, {json.dumps(encoded)})")
    page.open(f"{(speedscope / 'index.html').as_uri()}#localProfilePath={loader}")
    page.wait_for("document.body && document.body.innerText.includes('Sandwich')")
    page.press("3")  # the sandwich view: a table of functions
    page.wait_for("document.body.innerText.includes('parse')")
    text = page.value(TABLE)
    for words in ("parse", "render <b> \\x1b", "serve", "main", "idle"):
        assert words in text
    assert "600.00ms" in text and "60%" in text  # parse's self time, and of all
    assert page.errors == []


def reading(path: Path, counts: dict[str, int]) -> Reading:
    path.write_text("".join(f"{stack} {weight}\n" for stack, weight in counts.items()))
    with open(path, "rb") as file:
        found = foldedfile.read(file, b"", keep=True)
    found.seconds_per_weight = 0.01
    found.origin = path.name
    return found


def test_the_comparison_page_shows_zooms_and_reaches_for_nothing(page: Page, tmp_path: Path) -> None:
    before = reading(tmp_path / "a", {stack: weight * 200 for stack, weight in COUNTS.items()})
    doubled = {stack: weight * (400 if "parse" in stack else 200) for stack, weight in COUNTS.items()}
    after = reading(tmp_path / "b", doubled)
    path = tmp_path / "comparison.html"
    path.write_text(comparison_page.render(compare.compare([before], [after])))
    page.open(path.as_uri())
    page.wait_for("document.readyState == 'complete' && document.querySelectorAll('svg').length == 2")
    frame = (
        "[...document.querySelector('svg').querySelectorAll('.guard-frame')]"
        ".find(each => each.querySelector('title').textContent.startsWith('parse'))"
    )
    width = f"{frame}.querySelector('rect').getBoundingClientRect().width"
    assert "slower: parse +100.0 %" in page.value("document.querySelector('.verdict').innerText")
    narrow = page.value(width)
    page.value(f"{frame}.dispatchEvent(new MouseEvent('click', {{bubbles: true}}))")
    assert page.value(width) > narrow * 1.2  # zoomed: it is as wide as the whole now
    assert page.value("performance.getEntriesByType('resource').length") == 0
    assert page.errors == []
