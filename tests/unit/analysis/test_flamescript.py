"""The script of a flame graph, run against a small DOM in Node."""

import json
import shutil
import subprocess
from typing import Any
from xml.etree import ElementTree

import pytest

from supervisor.analysis.flamegraph import render

SVG = "{http://www.w3.org/2000/svg}"
COUNTS = {
    "main (a.py:1);parse (b.py:2);loads (json.py:3)": 60,
    "main (a.py:1);parse (b.py:2)": 20,
    "main (a.py:1);render (c.py:9)": 15,
    "idle (d.py:4)": 5,
}
NARROW = {"main (a.py:1);slim_function (b.py:2);inner (c.py:3)": 1, "main (a.py:1);fat (b.py:9)": 99}

DOM = r"""
"use strict";
const vm = require("vm"), [tree, steps] = JSON.parse(require("fs").readFileSync(0, "utf8"));
class Element {
  constructor(tag, attributes, text, children) {
    this.tag = tag; this.attributes = new Map(Object.entries(attributes || {})); this.text = text || "";
    this.children = []; this.heard = {};
    for (const [t, a, x, c] of children || []) { this.appendChild(new Element(t, a, x, c)); }
    const element = this, classes = () => (element.getAttribute("class") || "").split(" ").filter(Boolean);
    this.classList = {
      contains: (name) => classes().includes(name),
      toggle(name, on) {
        element.setAttribute("class", [...classes().filter((c) => c !== name), ...(on ? [name] : [])].join(" "));
      },
    };
  }
  get textContent() { return this.text + this.children.map((c) => c.textContent).join(""); }
  set textContent(text) { this.text = String(text); this.children = []; }
  getAttribute(name) { return this.attributes.has(name) ? this.attributes.get(name) : null; }
  setAttribute(name, value) { this.attributes.set(name, String(value)); }
  appendChild(child) { child.parent = this; this.children.push(child); return child; }
  closest(tag) { return this.tag === tag ? this : this.parent ? this.parent.closest(tag) : null; }
  matches(s) { return s[0] === "." ? this.classList.contains(s.slice(1)) : this.tag === s; }
  querySelectorAll(s) {
    return this.children.flatMap((c) => [...(c.matches(s) ? [c] : []), ...c.querySelectorAll(s)]);
  }
  querySelector(s) { return this.querySelectorAll(s)[0] || null; }
  addEventListener(type, act) { (this.heard[type] = this.heard[type] || []).push(act); }
  fire(type, more) {
    const event = Object.assign({ stopped: false, preventDefault() { this.stopped = true; } }, more);
    for (let e = this; e; e = e.parent) { (e.heard[type] || []).forEach((act) => act(event)); }
    return event;
  }
}
const root = new Element(...tree), page = new Element("window"), script = root.querySelector("script");
const asked = [];
page.prompt = () => asked.shift();
const document = {
  documentElement: root, currentScript: script, createElementNS: (space, tag) => new Element(tag),
};
vm.runInNewContext(script.textContent, { document, window: page });
const frames = root.querySelectorAll(".guard-frame");
const nameOf = (g) => g.querySelector("title").text.split("\n")[0];
const frameOf = (g) => {
  const rect = g.querySelector("rect"), text = g.querySelector("text");
  return {
    x: +rect.getAttribute("x"), width: +rect.getAttribute("width"), label: text ? text.textContent : "",
    tab: g.getAttribute("tabindex"), match: g.classList.contains("guard-match"),
    under: g.classList.contains("guard-under"),
  };
};
const state = () => ({
  frames: Object.fromEntries(
    frames.filter((g) => !g.classList.contains("guard-gone")).map((g) => [nameOf(g), frameOf(g)])),
  matched: root.querySelector(".guard-matched").textContent,
  detail: root.querySelector(".guard-detail").textContent,
});
const target = (what) =>
  what === "window" ? page : what === "root" ? root :
  what[0] === "." ? root.querySelector(what) : frames.find((g) => nameOf(g) === what);
console.log(JSON.stringify(steps.map(([what, type, more, answer]) => {
  if (answer !== undefined) { asked.push(answer); }
  const event = target(what).fire(type, more || {});
  return Object.assign(state(), { stopped: event.stopped });
})));
"""


def as_list(element: ElementTree.Element) -> list[Any]:
    children = [as_list(child) for child in element]
    return [element.tag.removeprefix(SVG), element.attrib, element.text, children]


def played(counts: dict[str, int], *steps: list[Any]) -> list[dict[str, Any]]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node to run the script")
    tree = as_list(ElementTree.fromstring(render(counts, title="t", unit="samples")))
    result = subprocess.run([node, "-e", DOM], input=json.dumps([tree, steps]), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    states: list[dict[str, Any]] = json.loads(result.stdout)
    return states


def test_a_click_zooms_and_reset_goes_back() -> None:
    start, zoomed, back = played(COUNTS, ["root", "nothing"], ["parse (b.py:2)", "click"], [".guard-reset", "click"])
    assert set(zoomed["frames"]) == {"all", "main (a.py:1)", "parse (b.py:2)", "loads (json.py:3)"}
    boxes = zoomed["frames"]
    assert (boxes["parse (b.py:2)"]["x"], boxes["parse (b.py:2)"]["width"]) == (10, 1180)
    assert boxes["loads (json.py:3)"]["width"] == pytest.approx(0.75 * 1180, abs=0.1)
    assert boxes["main (a.py:1)"]["width"] == 1180
    assert [boxes[name]["under"] for name in ("all", "main (a.py:1)", "parse (b.py:2)")] == [True, True, False]
    assert back["frames"] == start["frames"]


def test_a_zoomed_frame_gets_the_label_that_it_had_no_room_for() -> None:
    start, zoomed, back = played(
        NARROW, ["root", "nothing"], ["slim_function (b.py:2)", "click"], ["root", "keydown", {"key": "Escape"}]
    )
    assert start["frames"]["inner (c.py:3)"]["label"] == ""
    assert zoomed["frames"]["inner (c.py:3)"]["label"] == "inner (c.py:3)"
    assert set(back["frames"]) == set(start["frames"])
    assert back["frames"]["inner (c.py:3)"]["label"] == ""


def test_the_script_labels_as_the_drawing_does() -> None:
    counts = {f"{'漢' * (n % 3)}name_{'x' * n};{'y' * n}漢字": n * n + 1 for n in range(30)}
    groups = ElementTree.fromstring(render(counts, title="t", unit="samples")).iter(f"{SVG}g")
    drawn = {
        (group.findtext(f"{SVG}title") or "").split("\n")[0]: group.findtext(f"{SVG}text") or "" for group in groups
    }
    (state,) = played(counts, [".guard-reset", "click"])
    assert {name: frame["label"] for name, frame in state["frames"].items()} == drawn


@pytest.mark.parametrize("key", ["Enter", " "])
def test_the_keyboard_zooms(key: str) -> None:
    zoomed, other = played(COUNTS, ["idle (d.py:4)", "keydown", {"key": key}], ["all", "keydown", {"key": "Tab"}])
    assert all(frame["tab"] == "0" for frame in zoomed["frames"].values())
    assert set(zoomed["frames"]) == {"all", "idle (d.py:4)"}
    assert zoomed["stopped"]
    assert not other["stopped"]
    assert other["frames"] == zoomed["frames"]


def test_a_search_marks_names_and_adds_up_what_they_cover_once() -> None:
    ctrl_f = {"key": "f", "ctrlKey": True}
    nested, other, nothing, dismissed, cleared = played(
        COUNTS,
        ["window", "keydown", ctrl_f, "PY:"],
        [".guard-search", "click", {}, "n"],
        [".guard-search", "click", {}, "no such name"],
        [".guard-search", "click", {}, None],
        [".guard-search", "keydown", {"key": "Enter"}, ""],
    )
    assert nested["stopped"]
    assert nested["matched"] == "Matched: 100.0% in 5 frames"
    assert {name for name, frame in other["frames"].items() if frame["match"]} == {
        "main (a.py:1)",
        "render (c.py:9)",
        "loads (json.py:3)",
    }
    assert other["matched"] == "Matched: 95.0% in 3 frames"
    assert nothing["matched"] == dismissed["matched"] == "Matched: 0.0% in 0 frames"
    assert cleared["matched"] == ""
    assert not any(frame["match"] for frame in cleared["frames"].values())


def test_a_search_takes_any_case_and_leaves_out_the_root() -> None:
    upper, lower, root = played(
        {"LoadAll": 1, "x": 3}, *([".guard-search", "click", {}, w] for w in ("LOADA", "loada", "al"))
    )
    assert upper["matched"] == lower["matched"] == root["matched"] == "Matched: 25.0% in 1 frame"


def test_a_search_is_no_pattern() -> None:
    plain, dots = played(
        {"a.b": 1, "axb": 1}, [".guard-search", "click", {}, "a.b"], [".guard-search", "click", {}, "(["]
    )
    assert plain["matched"] == "Matched: 50.0% in 1 frame"
    assert dots["matched"] == "Matched: 0.0% in 0 frames"


def test_a_frame_tells_its_figures_when_it_has_the_focus() -> None:
    focused, left = played(COUNTS, ["render (c.py:9)", "focus"], ["render (c.py:9)", "blur"])
    assert focused["detail"] == "render (c.py:9)  15 samples, 15.0%"
    assert left["detail"] == ""
