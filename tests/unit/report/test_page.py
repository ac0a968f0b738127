"""The page: what it tells, that nothing gets out of its place in it, and what may run."""

from __future__ import annotations

import base64
import hashlib
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from supervisor import evidence, report, reporting
from supervisor.errors import UsageError
from supervisor.report.charts import time_ticks, value_ticks
from tests.unit.evidence.test_reading import EVENT, LINE, make

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'\u202eevil\u2066\x00\x1b[31m]]></style>&amp;"
VOID = {"meta", "img", "input", "br"}


class Page(HTMLParser):
    """The page's elements; fails where one is left open."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]][-1] += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(root: Path) -> str:
    return report.render(report.material(evidence.find(str(root))))


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_whole_run_is_told(tmp_path: Path) -> None:
    folder = make(tmp_path)
    (tmp_path / "auto-memory" / folder.name / "002-warning-growth.folded").write_text(
        "main (a.py:1);hold (a.py:2) 4096\n"
    )
    text = page_of(tmp_path)
    page = Page(text)
    assert page.of("html") == [{"lang": "en"}] and len(page.of("h1")) == 1
    for words in (
        "python leak.py",
        "exited with code 3",
        "warning 100 B",
        "Growth of process 43",
        "hold",
        "state.changed",
    ):
        assert words in text
    assert {"memory", "evidence", "events"} <= {attributes.get("id") for attributes in page.of("section")}
    targets = {attributes["id"] for _, attributes in page.elements if attributes.get("id")}
    assert {str(link["href"])[1:] for link in page.of("a")} <= targets


def test_a_census_tells_types_and_who_holds_them(tmp_path: Path) -> None:
    folder = make(tmp_path)
    memory = tmp_path / "auto-memory" / folder.name
    (memory / "003-critical-heap-profile.folded").write_text("__main__.pages;bytes 4096\n")
    grew = {"type": "bytes", "bytes": 4096, "holder": "__main__.<pages>"}
    meta = {"kind": "heap-profile", "pid": 43, "started": "2026-11-24T11:16:46.250Z", "grew": grew}
    for frames, title, column in (("types", "what the memory is in", "Type"), ("functions", "allocated", "Function")):
        (memory / "003-critical-heap-profile.meta.json").write_text(json.dumps({**meta, "frames": frames}))
        text = page_of(tmp_path)
        (card,) = [part for part in text.split("<article ") if "003-critical-heap-profile" in part and "<h3>" in part]
        assert title in card.partition("</h3>")[0] and f">{column}</th>" in card
        assert "held by <code>__main__.&lt;pages&gt;</code>" in card
        assert 'data-show="2250"' in card


def test_only_what_the_policy_names_may_run(tmp_path: Path) -> None:
    folder = make(tmp_path)
    (tmp_path / "auto-memory" / folder.name / "002-warning-growth.folded").write_text("main (a.py:1) 4096\n")
    text = page_of(tmp_path)
    page = Page(text)
    (policy,) = (
        str(meta["content"]) for meta in page.of("meta") if meta.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'" and "unsafe" not in policy
    # The first thing the head holds but for the encoding: what stood before it would not be under it.
    assert [name for name, _ in page.elements][:4] == ["html", "head", "meta", "meta"]
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        for attributes, content in zip(page.of(tag), page.texts[tag], strict=True):
            assert "src" not in attributes
            if attributes.get("type") == "application/json":
                continue
            code = content.removeprefix("<![CDATA[").removesuffix("]]>")
            digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in rules[rule]
    for _, attributes in page.elements:
        assert not any(name.startswith("on") or name in ("style", "src", "srcset") for name in attributes)
        assert str(attributes.get("href") or "#").startswith("#")
    assert "https://" not in text.replace("https://www.brendangregg.com", "")


def make_hostile(root: Path) -> None:
    """A run whose target and whose files mean harm wherever they may."""
    folder = make(root, command=["sh", "-c", EVIL + "x" * 10_000], host=EVIL, environment=EVIL, signal=EVIL)
    name = f"{EVIL}</script><!--"
    write_lines(
        folder / "flight.jsonl",
        [
            LINE | {"processes": [{"pid": 43, "name": name, "rss_bytes": 250_000, "cpu_ticks": at}], "elapsed_s": at}
            for at in (1, 2)
        ],
    )
    write_lines(
        folder / "events.jsonl",
        [
            EVENT | {"to": EVIL, "reason": EVIL, EVIL: EVIL},
            EVENT | {"event": EVIL, "level": EVIL},
            EVENT | {"event": "action.failed", "action": EVIL, "pid": 1, "reason": EVIL, "hint": EVIL},
            EVENT | {"event": "action.started", "path": 7, "action": [], "pid": {}},
        ],
    )
    memory = root / "auto-memory" / folder.name
    (memory / "002-warning-growth.folded").write_text(f"main (a.py:1);{EVIL.replace(chr(0), '')} (b.py:2) 4096\n")
    (memory / "002-warning-growth.meta.json").write_text(json.dumps({"kind": EVIL, "reason": EVIL, "pid": 3}))
    stacks = {"threads": [{"thread_name": EVIL, "frames": [{"name": EVIL, "filename": EVIL, "line": 1}, 7]}, None]}
    (memory / f"003-{'x' * 20}-stacks.stacks.json").write_text(json.dumps(stacks))
    shot = {
        "processes": [{"pid": 1, "command": [EVIL], "rss_bytes": 10**30}],
        "pressure": {"of": EVIL, "memory": [EVIL]},
    }
    (memory / "004-<b>-snapshot.snapshot.json").write_text(json.dumps(shot))


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    make_hostile(tmp_path)
    text = page_of(tmp_path)
    page = Page(text)
    assert "img" not in {tag for tag, _ in page.elements} and "b" not in {tag for tag, _ in page.elements}
    assert len(page.of("script")) == 2 + text.count("<![CDATA[")
    assert not any(mark in text for mark in "\u202e\u2066\x00\x1b")
    assert "alert(1)" in text
    assert len(text) < 200_000


@pytest.mark.parametrize("bad", ["", "{", "null\n[]\n7\n", '{"elapsed_s": "x"}\n', "\x00" * 100])
def test_damaged_files_give_a_page(tmp_path: Path, bad: str) -> None:
    folder = make(tmp_path)
    for name in ("flight.jsonl", "events.jsonl"):
        (folder / name).write_text(bad)
    (folder / "run.json").write_text(bad)
    (tmp_path / "auto-memory" / folder.name / "002-warning-growth.folded").write_text(bad)
    text = page_of(tmp_path)
    Page(text)
    assert "There are no samples" in text


def test_very_many_events_are_told_in_part(tmp_path: Path) -> None:
    folder = make(tmp_path)
    write_lines(folder / "events.jsonl", [EVENT | {"event": f"thing.happened{at}"} for at in range(5000)])
    text = page_of(tmp_path)
    page = Page(text)
    assert "4,600 more are in events.jsonl" in text and "thing.happened4999" in text
    targets = {attributes["id"] for _, attributes in page.elements if attributes.get("id")}
    assert {str(link["href"])[1:] for link in page.of("a")} <= targets


def test_it_is_written_for_its_owner_and_through_no_link(tmp_path: Path) -> None:
    folder = make(tmp_path)
    run = evidence.find(str(tmp_path))
    outside = tmp_path / "outside.html"
    (folder / "report.html").symlink_to(outside)
    written = reporting.write(run, "<p>page", None)
    assert written.path == str(folder / "report.html") and written.size_bytes == 7
    assert (folder / "report.html").stat().st_mode & 0o777 == 0o600 and not (folder / "report.html").is_symlink()
    assert not outside.exists()
    with pytest.raises(UsageError):
        reporting.write(run, "", str(tmp_path))
    with pytest.raises(UsageError):
        reporting.write(run, "", str(tmp_path / "absent" / "x.html"))


@pytest.mark.parametrize(("start", "end"), [(0, 0.4), (0, 51.7), (3, 3.2), (0, 86_400 * 90), (100_000, 100_060)])
def test_ticks_of_time_are_few_and_inside(start: float, end: float) -> None:
    ticks = time_ticks(start, end)
    assert 1 <= len(ticks) <= 7 and all(start <= tick <= end for tick in ticks)


@pytest.mark.parametrize("top", [1.08, 7, 99, 100, 756_108, 1e12])
def test_ticks_of_values_are_round_and_few(top: float) -> None:
    ticks = value_ticks(top)
    assert 2 <= len(ticks) <= 5 and all(0 < tick <= top for tick in ticks)
    assert all(f"{tick:e}"[0] in "12345678" for tick in ticks)
