"""The report in a real browser: at the widths of a desktop and a phone, by mouse and keyboard, and against harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from supervisor import evidence, report
from tests.integration.driving import until
from tests.unit.evidence.test_reading import make
from tests.unit.report.test_page import make_hostile, page_of, write_lines
from tests.unit.report.test_series import MB, sample

from .conftest import Page

pytestmark = pytest.mark.browser
DESKTOP, PHONE = (1280, 900), (390, 844)
# What a script that got out of its place would leave, and what the policy had to stop.
TRAP = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
window.alert = () => { window.hit = true; };
"""
STARTED = 1795519004.0
STATES = ("ok", "warning", "critical", "profiling")


def make_run(root: Path) -> None:
    """A run of a minute: a leak beside a steady worker, evidence of each kind."""
    thresholds = {
        state: {"bytes": size * MB, "metric": "rss"} for state, size in zip(STATES[1:], (128, 256, 512), strict=True)
    }
    folder = make(root, thresholds=thresholds, limit_bytes=2000 * MB, elapsed_s=60.0, peak_bytes=700 * MB)
    lines = []
    for at in range(121):
        sizes = (90 * MB + at * 5 * MB, 20 * MB)
        state = STATES[sum(sum(sizes) > level["bytes"] for level in thresholds.values())]  # type: ignore[operator]
        lines.append(
            {
                "at": f"2026-11-24T11:{16 + (44 + at // 2) // 60:02}:{(44 + at // 2) % 60:02}.{at % 2 * 5}00Z",
                "elapsed_s": at / 2, "state": state, "rss_bytes": sum(sizes), "use_bytes": sum(sizes) + 30 * MB,
                "limit_bytes": 2000 * MB, "process_count": 2, "pressure_percent": at / 10,
                "processes": [
                    {"pid": 43 + n, "name": name, "rss_bytes": sizes[n], "cpu_ticks": at * (40 - 30 * n)}
                    for n, name in enumerate(("python", "worker"))
                ],
            }
        )  # fmt: skip
    write_lines(folder / "flight.jsonl", lines)
    memory = root / "auto-memory" / folder.name
    (memory / "002-warning-growth.folded").write_text(
        "main (a.py:1);hold (a.py:2) 4096\nmain (a.py:1);rest (a.py:3) 1024\n"
    )
    (memory / "003-profiling-cpu-profile.folded").write_text(
        "main (a.py:1);spin (b.py:2) 90\nmain (a.py:1);hold (a.py:2) 10\n"
    )
    meta = {"kind": "cpu-profile", "pid": 43, "started": "2026-11-24T11:17:31Z", "ended": "2026-11-24T11:17:40Z"}
    (memory / "003-profiling-cpu-profile.meta.json").write_text(json.dumps(meta))


def opened(page: Page, root: Path, size: tuple[int, int] = DESKTOP, scheme: str = "light", more: str = "") -> None:
    path = root / "report.html"
    path.write_text(page_of(root).replace("</main>", f"{more}</main>"))
    width, height = size
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.call("Page.addScriptToEvaluateOnNewDocument", source=TRAP)
    page.open(path.as_uri())
    page.wait_for("document.readyState == 'complete' && !!document.querySelector('footer')")


def unharmed(page: Page) -> None:
    assert page.value(
        "[window.violations, window.hit === undefined, performance.getEntriesByType('resource').length]"
    ) == [
        [],
        True,
        0,
    ]
    assert page.errors == []


def box(page: Page) -> list[float]:
    """The view box of the memory chart: from, −top, how long, top."""
    return [
        float(part) for part in page.value("document.querySelector('.memory .area').getAttribute('viewBox')").split()
    ]


def mouse(page: Page, kind: str, x: float, y: float) -> None:
    page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


CONTRAST = """
(() => {
  const light = (text) => {
    const rgb = text.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255);
    const [r, g, b] = rgb.map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (!/, 0\\)$/.test(colour)) { return colour; }
    }
  };
  let least = 21;
  for (const element of document.querySelectorAll("p, td, th, a, dt, dd, h1, h2, summary, button, span, code")) {
    if (element.closest("svg")) { continue; }
    const pair = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => b - a);
    least = Math.min(least, (pair[0] + 0.05) / (pair[1] + 0.05));
  }
  return least;
})()
"""


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(page: Page, tmp_path: Path, size: tuple[int, int], scheme: str) -> None:
    make_run(tmp_path)
    opened(page, tmp_path, size, scheme)
    assert page.value("document.documentElement.scrollWidth") <= size[0]
    areas = page.value("[...document.querySelectorAll('.area')].map(each => each.getBoundingClientRect().width)")
    assert len(areas) == 3 and all(0.9 * size[0] < width <= size[0] for width in areas)
    assert (page.value("getComputedStyle(document.body).backgroundColor") == "rgb(253, 253, 251)") is (
        scheme == "light"
    )
    assert page.value(CONTRAST) >= 4.5  # WCAG 2.1, 1.4.3
    unharmed(page)


def test_the_script_starts_with_what_was_drawn(page: Page, tmp_path: Path) -> None:
    make_run(tmp_path)
    texts = "document.querySelectorAll('.axis text, .over text')"
    labels = f"[...{texts}].map(each => each.textContent + each.getAttribute('y'))"
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    opened_without(page, tmp_path)
    drawn = page.value(labels), box(page)
    page.call("Emulation.setScriptExecutionDisabled", value=False)
    opened(page, tmp_path)
    assert (page.value(labels), box(page)) == drawn and len(drawn[0]) > 10


def opened_without(page: Page, root: Path) -> None:
    (root / "report.html").write_text(page_of(root))
    page.call("Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False)
    page.open((root / "report.html").as_uri())
    until(
        lambda: page.value("document.readyState == 'complete' && !!document.querySelector('footer')"), "it never opens"
    )


def test_without_scripts_all_is_there(page: Page, tmp_path: Path) -> None:
    make_run(tmp_path)
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    opened_without(page, tmp_path)
    text = page.value("document.body.innerText")
    for words in ("exited with code 3", "python leak.py", "Growth", "CPU profile", "state.changed"):
        assert words in text
    assert page.value("document.querySelectorAll('.area path').length") >= 5
    assert page.value("document.querySelectorAll('button, input').length") == 0
    assert page.value("document.querySelectorAll('details tr').length") > 40


def test_the_keyboard_reads_and_zooms(page: Page, tmp_path: Path) -> None:
    make_run(tmp_path)
    opened(page, tmp_path)
    page.value("document.getElementById('panes').focus()")
    whole = box(page)
    page.press("End")
    last = page.value("document.getElementById('panes').getAttribute('aria-valuetext')")
    assert "after 1 min" in last and "710 MB" in last and "state profiling" in last and "python (43) 690 MB" in last
    page.press("ArrowLeft")
    assert "after 59.5 s" in page.value("document.getElementById('reading').textContent")
    page.press("+")
    assert box(page)[2] == pytest.approx(whole[2] / 2)
    page.press("Home")  # out of view: it comes into view
    start, _, span, top = box(page)
    assert start == whole[0] and span == pytest.approx(whole[2] / 2) and top < whole[3]
    page.press("0")
    assert box(page) == whole
    unharmed(page)


def test_the_mouse_zooms_by_dragging_and_by_buttons(page: Page, tmp_path: Path) -> None:
    make_run(tmp_path)
    opened(page, tmp_path)
    page.value("document.getElementById('panes').scrollIntoView({behavior: 'instant'})")
    left, top, width = page.value(
        "(({left, top, width}) => [left, top, width])(document.getElementById('panes').getBoundingClientRect())"
    )
    mouse(page, "mousePressed", left + width * 0.25, top + 50)
    mouse(page, "mouseMoved", left + width * 0.4, top + 60)
    mouse(page, "mouseMoved", left + width * 0.5, top + 60)
    mouse(page, "mouseReleased", left + width * 0.5, top + 60)
    start, _, span, _ = box(page)
    assert start == pytest.approx(15_000, abs=200) and span == pytest.approx(15_000, abs=200)
    button = "[...document.querySelectorAll('.bar button')].find(each => each.textContent == '%s')"
    assert page.value(f"({button % 'All'}).disabled") is False
    page.value(f"({button % 'All'}).click()")
    assert box(page)[2] == 60_000 and page.value(f"({button % 'All'}).disabled")
    page.value(f"({button % 'Up to the limit'}).click()")
    assert box(page)[3] >= 2_000_000 and page.value(f"({button % 'Up to the limit'}).ariaPressed") == "true"
    unharmed(page)


def test_marks_lead_to_evidence_and_moments_lead_back(page: Page, tmp_path: Path) -> None:
    make_run(tmp_path)
    opened(page, tmp_path)
    page.value(
        "document.querySelector('.lane a[aria-label^=\"cpu-profile of 43\"]').dispatchEvent(new MouseEvent('click'))"
    )
    assert "who was busy" in page.value("document.querySelector('article:target').textContent")
    page.value("document.querySelector('article:target a[data-show]').click()")
    assert "after 47 s" in page.value("document.getElementById('reading').textContent")
    assert page.value("location.hash") == "#memory"


def test_one_search_marks_all_flame_graphs_and_each_zooms(page: Page, tmp_path: Path) -> None:
    make_run(tmp_path)
    opened(page, tmp_path)
    assert page.value("document.querySelectorAll('.flame .guard-flame').length") == 2
    page.value("document.getElementById('search').value = 'HOLD'")
    page.value("document.getElementById('search').dispatchEvent(new Event('input'))")
    assert page.value("document.querySelectorAll('.flame .guard-match').length") == 2
    assert (
        page.value("document.querySelector('[role=search] output').textContent") == "80.0% in 1 frame; 10.0% in 1 frame"
    )
    frame = "[...document.querySelectorAll('.guard-frame')].find(each => each.textContent.startsWith('spin'))"
    narrow = page.value(f"({frame}).querySelector('rect').getBoundingClientRect().width")
    page.value(f"({frame}).dispatchEvent(new KeyboardEvent('keydown', {{key: 'Enter', bubbles: true}}))")
    assert page.value(f"({frame}).querySelector('rect').getBoundingClientRect().width") > narrow * 1.05
    unharmed(page)


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_hostile_names_do_nothing(page: Page, tmp_path: Path, size: tuple[int, int]) -> None:
    make_hostile(tmp_path)
    opened(page, tmp_path, size)
    assert page.value("document.querySelectorAll('img, b, main script:not([type]):not(svg script)').length") == 0
    assert page.value("document.documentElement.scrollWidth") <= size[0]
    page.value("document.getElementById('panes').focus()")
    page.press("End")
    assert "<script>alert(1)</script>" in page.value("document.getElementById('reading').textContent")
    unharmed(page)


def test_the_policy_stops_what_would_get_in(page: Page, tmp_path: Path) -> None:
    make_run(tmp_path)
    evil = (
        "<script>alert(1)</script><img src='http://127.0.0.1:9/x' onerror='alert(1)'><svg onload='alert(1)'></svg>"
        "<style>body{display:none}</style><iframe src='data:text/html,x'></iframe><p id=styled style='color:red'>"
    )
    opened(page, tmp_path, more=evil)
    stopped = set(page.wait_for("window.violations.length >= 6 && window.violations"))
    assert {"script-src-elem", "script-src-attr", "style-src-elem", "style-src-attr", "img-src", "frame-src"} <= stopped
    assert page.value("window.hit === undefined && getComputedStyle(document.body).display") == "block"
    assert page.value("document.getElementById('reading') !== null")  # its own script ran


def test_a_hundred_thousand_samples_open(page: Page, tmp_path: Path) -> None:
    make_run(tmp_path)
    flight = tuple(
        sample(at / 2, *((pid, 10 * MB + at * pid * 7919 % (5 * MB)) for pid in range(1, 9))) for at in range(100_000)
    )
    material = report.material(evidence.find(str(tmp_path)))
    values: dict[str, Any] = {name: getattr(material, name) for name in material.__slots__}
    path = tmp_path / "report.html"
    path.write_text(report.render(report.Material(**values | {"samples": flight})))
    assert path.stat().st_size < 4_000_000
    page.open(path.as_uri())
    page.wait_for("document.readyState == 'complete' && !!document.getElementById('reading')")
    assert page.value("performance.getEntriesByType('navigation')[0].loadEventEnd") < 20_000  # 3 s where nobody else is
    assert "100,000 samples" in page.value("document.body.innerText")
