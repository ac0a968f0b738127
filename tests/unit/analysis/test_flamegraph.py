"""Flame graphs: the drawing as XML, whatever the names hold."""

import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.analysis.flamegraph import render

SVG = "{http://www.w3.org/2000/svg}"
COUNTS = {
    "main (a.py:1);parse (b.py:2);loads (json.py:3)": 60,
    "main (a.py:1);parse (b.py:2)": 20,
    "main (a.py:1);render (c.py:9)": 15,
    "idle (d.py:4)": 5,
}
HOSTILE = [
    "<script>alert(1)</script>",
    "]]>",
    '"onload="x',
    "'&amp;",
    "\0nul",
    "a\u202eb",
    "\ud800",
    "\ufffe",
    "-->",
    'y="@"',
]

Box = tuple[float, float, float]  # x, y, width


def frames(svg: str) -> dict[str, tuple[str, Box, str, str]]:
    """By name: the title's second line, the box, the fill, the label."""
    found = {}
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        name, share = (group.findtext(f"{SVG}title") or "").split("\n")
        rect = group.find(f"{SVG}rect")
        assert rect is not None
        box = (float(rect.attrib["x"]), float(rect.attrib["y"]), float(rect.attrib["width"]))
        found[name] = (share, box, rect.attrib["fill"], group.findtext(f"{SVG}text") or "")
    return found


def words(svg: str) -> str:
    return " ".join(text.text or "" for text in ElementTree.fromstring(svg).iter(f"{SVG}text"))


def test_width_is_weight_and_the_root_is_at_the_bottom() -> None:
    found = frames(render(COUNTS, title="t", unit="samples"))
    assert {name: share for name, (share, *_) in found.items()} == {
        "all": "100 samples, 100.0%",
        "main (a.py:1)": "95 samples, 95.0%",
        "parse (b.py:2)": "80 samples, 80.0%",
        "loads (json.py:3)": "60 samples, 60.0%",
        "render (c.py:9)": "15 samples, 15.0%",
        "idle (d.py:4)": "5 samples, 5.0%",
    }
    boxes = {name: box for name, (_, box, *_) in found.items()}
    assert boxes["all"][2] == 1180
    assert boxes["loads (json.py:3)"][2] == pytest.approx(0.6 * 1180, abs=0.01)
    for child, parent in (
        ("loads (json.py:3)", "parse (b.py:2)"),
        ("parse (b.py:2)", "main (a.py:1)"),
        ("idle (d.py:4)", "all"),
    ):
        assert boxes[child][1] < boxes[parent][1]
        assert boxes[parent][0] <= boxes[child][0]
        assert boxes[child][0] + boxes[child][2] <= boxes[parent][0] + boxes[parent][2] + 0.02
    assert boxes["parse (b.py:2)"][1] == boxes["render (c.py:9)"][1]
    assert boxes["parse (b.py:2)"][0] + boxes["parse (b.py:2)"][2] <= boxes["render (c.py:9)"][0] + 0.02


def test_every_frame_lies_on_the_paper() -> None:
    svg = render({";".join(f"f{n}" for n in range(70)): 3, "g": 2}, title="t", unit="samples")
    height = float(ElementTree.fromstring(svg).attrib["height"])
    assert len(frames(svg)) == 72
    for _, (x, y, width), _, _ in frames(svg).values():
        assert x >= 10
        assert x + width <= 1190.01
        assert 50 < y < height - 40


def test_labels_are_cut_to_their_frame() -> None:
    labels = {name: label for name, (*_, label) in frames(render(COUNTS, title="t", unit="samples")).items()}
    assert labels["loads (json.py:3)"] == "loads (json.py:3)"
    assert labels["idle (d.py:4)"] == "idle .."
    wide = {name: label for name, (*_, label) in frames(render({"漢" * 50: 1, "x": 1}, title="t", unit="s")).items()}
    assert len(wide["漢" * 50]) * 14 <= 590 + 14


def test_narrow_frames_are_counted_not_drawn() -> None:
    counts = {"main;wide": 100_000, **{f"main;narrow{n};deeper": 1 for n in range(30)}, "main;edge": 101}
    svg = render(counts, title="t", unit="samples")
    assert set(frames(svg)) == {"all", "main", "wide", "edge"}
    assert "60 narrow frames are not drawn." in words(svg)
    assert "not drawn" not in words(render(COUNTS, title="t", unit="samples"))


def test_weights_are_written_as_asked() -> None:
    shares = frames(render({"a": 3 << 20}, title="t", unit="bytes", growth=True))["a"][0]
    assert shares == "3.00 MiB, 100.0%"
    assert frames(render({"a": 7}, title="t", unit="x", format_weight=lambda w: f"<{w}>"))["a"][0] == "<7>, 100.0%"


def test_a_function_has_one_colour_in_every_graph() -> None:
    one = frames(render({"f (a.py:1);g (b.py:1)": 1}, title="t", unit="samples"))
    other = frames(render({"z;f (elsewhere.py:99)": 5, "y": 4}, title="other", unit="samples"))
    assert one["f (a.py:1)"][2] == other["f (elsewhere.py:99)"][2]
    assert one["f (a.py:1)"][2] != one["g (b.py:1)"][2]


@pytest.mark.parametrize(("growth", "hues"), [(False, range(0, 60)), (True, range(130, 220))])
def test_the_palette_tells_the_kind_and_black_text_reads_on_it(growth: bool, hues: range) -> None:
    counts = {f"function_{n}": 1 for n in range(200)}
    fills = {
        fill
        for name, (_, _, fill, _) in frames(render(counts, title="t", unit="x", growth=growth)).items()
        if name != "all"
    }
    assert len(fills) > 100
    for fill in fills:
        hue, _, lightness = fill.removeprefix("hsl(").removesuffix(")").replace("%", "").split(",")
        assert int(hue) in hues
        assert int(lightness) >= 60


def test_the_same_input_gives_the_same_file() -> None:
    backwards = dict(reversed(COUNTS.items()))
    assert render(COUNTS, title="t", unit="samples") == render(backwards, title="t", unit="samples")


@pytest.mark.parametrize("counts", [{}, {"a": 0}])
def test_nothing_is_said_to_be_nothing(counts: dict[str, int]) -> None:
    svg = render(counts, title="empty", unit="samples", subtitle="pid 7")
    assert "Nothing was recorded." in words(svg)
    assert "pid 7" in words(svg)
    assert not frames(svg)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text(name: str) -> None:
    svg = render({f"{name};f": 1}, title=name, unit=name, subtitle=name)
    svg.encode()
    root = ElementTree.fromstring(svg)
    scripts = list(root.iter(f"{SVG}script"))
    assert len(scripts) == 1
    assert "alert" not in (scripts[0].text or "")
    assert svg.count("]]>") == 1
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags == {"svg", "title", "style", "rect", "text", "g", "script"}
    assert not [key for element in root.iter() for key in element.attrib if key.startswith("on")]
    assert root.findtext(f"{SVG}title") in (name, name.encode("unicode_escape").decode(), "\\x00nul")


@given(st.dictionaries(st.text(max_size=30), st.integers(0, 1 << 60), max_size=8), st.text(), st.booleans())
@settings(max_examples=60)
def test_any_profile_gives_well_formed_xml(counts: dict[str, int], title: str, growth: bool) -> None:
    svg = render(counts, title=title, unit=title, subtitle=title, growth=growth)
    ElementTree.fromstring(svg.encode())


def test_a_long_title_is_cut() -> None:
    svg = render(COUNTS, title="t" * 500, unit="samples", subtitle="s" * 500)
    assert max(len(line) for line in words(svg).split()) <= 170


def test_the_file_needs_nothing_else() -> None:
    svg = render(COUNTS, title="t", unit="samples").replace("http://www.w3.org/2000/svg", "")
    for outside in ("http:", "https:", "href", "url(", "@import", "<image", "<use", "eval(", "innerHTML", "RegExp"):
        assert outside not in svg


@pytest.mark.parametrize("shape", ["many", "deep", "long names", "recursion"])
def test_the_file_stays_under_a_megabyte(shape: str) -> None:
    counts = {
        "many": {
            ";".join(f"function_{n % (d + 2)} (/srv/app/m{d}.py:{d})" for d in range(25)) + f";leaf{n}": 1
            for n in range(20_000)
        },
        "deep": {";".join([f"column{n}", *(f"level_{d}" for d in range(100))]): 1 for n in range(1000)},
        "long names": {";".join(f"{n}{'<漢&' * 400}{d}" for d in range(20)): 1 for n in range(900)},
        "recursion": {"f (a.py:1);" * 30_000 + "g": 1},
    }[shape]
    svg = render(counts, title="t" * 10_000, unit="samples", subtitle="s" * 10_000)
    assert len(svg.encode()) < 1_000_000
    assert len(frames(svg)) >= min(len(counts), 1)
    if shape != "many":
        assert "not drawn" in words(svg)


def test_it_converts_to_a_picture(tmp_path: Path) -> None:
    convert = shutil.which("rsvg-convert")
    if convert is None:
        pytest.skip("needs rsvg-convert")
    (tmp_path / "a.svg").write_text(render({f"{name};f": 1 for name in HOSTILE}, title="t", unit="samples"))
    subprocess.run([convert, tmp_path / "a.svg", "-o", tmp_path / "a.png"], check=True, capture_output=True)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
