"""Every format is recognised by its content and read; what is none is explained."""

from __future__ import annotations

import gzip
import json
import marshal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.actions import cpu_report
from supervisor.actions.task import Task
from supervisor.analysis import folded, formats, markdown, pprof, speedscope
from supervisor.analysis.reading import FormatError, Reading

FIXTURES = Path(__file__).parents[2] / "fixtures" / "profiles"
COUNTS = {"main (a.py:1);work (a.py:7)": 60, "main (a.py:1);rest (b.py:2)": 30, "main (a.py:1)": 10}


def top(found: Reading) -> list[str]:
    functions = sorted(found.functions.values(), key=lambda each: -each.self_weight)
    return [each.function for each in functions[:2]]


@pytest.mark.parametrize(
    ("name", "format_name", "first", "samples"),
    [
        ("node.cpuprofile", ".cpuprofile of V8 or Bun", ["parse", "(garbage collector)"], 50),
        ("bun.cpuprofile", ".cpuprofile of V8 or Bun", ["render", "parse"], 67),
        ("bun.md", "Bun's Markdown", ["render", "parse"], 50),
        ("pyspy.raw.txt", "folded stacks", ["parse", "render.<locals>.<genexpr>"], 86),
        ("pyspy.threads.txt", "folded stacks", ["parse", "render.<locals>.<genexpr>"], 123),
        ("pyspy.speedscope.json", "speedscope", ["parse", "render.<locals>.<genexpr>"], 135),
        ("stdlib.collapsed", "collapsed stacks of Python's profiling.sampling", ["parse", "<GC>"], 121),
    ],
)
def test_a_real_file_is_read_whatever_it_is_called(
    tmp_path: Path, name: str, format_name: str, first: list[str], samples: int
) -> None:
    other = tmp_path / "nothing.xyz"
    other.write_bytes((FIXTURES / name).read_bytes())
    found = formats.read(str(other), keep=True)
    assert (found.format, top(found), round(found.samples)) == (format_name, first, samples)
    assert found.total == sum(each.self_weight for each in found.functions.values()) + (
        1 if name == "pyspy.threads.txt" else 0  # a thread that had no frame
    )
    if name != "bun.md":
        assert found.stacks and sum(found.stacks.values()) == found.total


def test_the_figures_of_real_files_are_those_in_them() -> None:
    bun = formats.read(str(FIXTURES / "bun.md"))
    assert bun.seconds == pytest.approx(0.2451)
    assert bun.functions["serve", "/app/work.js"].total_weight == 244_000
    assert bun.functions["render", "/app/work.js"].self_weight == 134_500
    node = json.loads((FIXTURES / "node.cpuprofile").read_text())
    found = formats.read(str(FIXTURES / "node.cpuprofile"))
    idle = {each["id"] for each in node["nodes"] if each["callFrame"]["functionName"] == "(idle)"}
    busy = [delta for each, delta in zip(node["samples"], node["timeDeltas"], strict=True) if each not in idle]
    assert found.total == sum(busy)
    assert found.functions["parse", "/app/work.js"].line == 1
    pyspy = formats.read(str(FIXTURES / "pyspy.speedscope.json"))
    assert pyspy.total * 1e-6 == pytest.approx(
        json.loads((FIXTURES / "pyspy.speedscope.json").read_text())["profiles"][0]["endValue"]
    )
    stdlib = formats.read(str(FIXTURES / "stdlib.collapsed"))
    assert ("<GC>", None) in stdlib.functions and stdlib.functions["main", "work.py"].total_weight == 121


def written(directory: Path, counts: dict[str, int]) -> dict[str, Path]:
    """A profile in all the formats that guard writes."""
    profile = markdown.Profile(
        title="t",
        kind="cpu",
        counts=counts,
        unit="samples",
        head=[],
        notes=[],
        seconds_per_sample=0.01,
        data={"used_rate_hz": 100, "seconds": 2.0, "whole": True},
    )
    contents = {
        "a.folded": folded.render(counts).encode(),
        "b.md": markdown.render(profile).encode(),
        "c.speedscope.json": speedscope.render(counts, name="t", unit="seconds", scale=0.01, exporter="guard").encode(),
        "d.pb.gz": pprof.render(counts, unit="samples", seconds_per_sample=0.01, seconds=2.0),
        "e.pb": gzip.decompress(pprof.render(counts, unit="samples")),
        "f.folded.gz": gzip.compress(folded.render(counts).encode()),
    }
    paths = {}
    for name, content in contents.items():
        paths[name] = directory / name
        paths[name].write_bytes(content)
    return paths


# What begins as JSON does is taken for JSON.
NAMES = st.text(max_size=8).filter(lambda name: name.lstrip()[:1] not in ("{", "["))
STACKS = st.dictionaries(
    st.lists(
        st.builds(folded.frame, NAMES, st.none() | st.text(max_size=8), st.integers(0, 99)),
        min_size=1,
        max_size=4,
    ).map(";".join),
    st.integers(1, 500),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("name", ["{ (", '{ ("', "{", "[", "[unknown]", "{closure#0}", "[x] {"])
def test_a_function_with_a_bracket_first_is_no_json(tmp_path: Path, name: str) -> None:
    (tmp_path / "x").write_text(folded.render({folded.frame(name, None, None): 7}))
    assert formats.read(str(tmp_path / "x"), keep=True).total == 7


@settings(max_examples=60, deadline=None)
@given(STACKS)
def test_all_that_guard_writes_is_read_back_as_the_same_profile(
    tmp_path_factory: pytest.TempPathFactory, counts: dict[str, int]
) -> None:
    paths = written(tmp_path_factory.mktemp("x"), counts)
    expected = {
        key: each.self_weight
        for each in folded.by_function(counts)
        if not folded.is_marker((key := (each.function, each.file))[0])
    }
    if not any(each.total_weight for each in folded.by_function(counts) if not folded.is_marker(each.function)):
        return
    for path in paths.values():
        found = formats.read(str(path), keep=True)
        factor = found.weight_per_sample
        assert found.samples == pytest.approx(sum(counts.values()))
        assert {key: round(each.self_weight / factor) for key, each in found.functions.items()} == expected
        if found.stacks is not None and found.unit == "samples":
            assert found.stacks == counts


def test_rate_time_and_whole_come_along(tmp_path: Path) -> None:
    paths = written(tmp_path, COUNTS)
    for name in ("b.md", "c.speedscope.json", "d.pb.gz"):
        found = formats.read(str(paths[name]))
        assert found.seconds_per_weight and found.seconds_per_weight * found.weight_per_sample == pytest.approx(0.01)
    assert formats.read(str(paths["b.md"])).whole is True
    assert formats.read(str(paths["d.pb.gz"])).seconds == 2.0


def test_the_meta_beside_a_profile_says_its_rate(tmp_path: Path) -> None:
    path = tmp_path / "001-profiling-cpu-profile.folded"
    path.write_text(folded.render(COUNTS))
    assert formats.read(str(path)).seconds_per_weight is None
    facts = {"kind": "cpu-profile", "used_rate_hz": 250, "seconds": 4.5, "whole": False, "samples_taken": 50}
    (tmp_path / "001-profiling-cpu-profile.meta.json").write_text(json.dumps(facts))
    found = formats.read(str(path))
    assert (found.seconds_per_weight, found.seconds, found.whole) == (0.004, 4.5, False)
    assert found.samples == 50  # the rest is scaled up
    (tmp_path / "001-profiling-cpu-profile.meta.json").write_text("[]")
    assert formats.read(str(path)).seconds_per_weight is None


def test_a_sampler_that_fell_behind_is_made_up_for(tmp_path: Path) -> None:
    paths = written(tmp_path, COUNTS)
    facts = {"kind": "cpu-profile", "used_rate_hz": 100, "achieved_rate_hz": 70, "samples": 100}
    for name in ("a.folded", "c.speedscope.json", "d.pb.gz"):
        stem = name.partition(".")[0]
        for missed, seconds in ((30, 0.01 / 0.7), (0, 0.01), (None, 0.01)):  # V8's achieved rate is another thing
            (tmp_path / f"{stem}.meta.json").write_text(json.dumps(facts | {"samples_missed": missed}))
            found = formats.read(str(paths[name]))
            assert found.seconds_per_weight is not None
            assert found.seconds_per_weight * found.weight_per_sample == pytest.approx(seconds)
            assert [note for note in found.notes if "took 70% of its samples" in note] == found.notes
            assert bool(found.notes) is bool(missed)


def test_all_forms_of_a_profile_beside_their_meta_read_the_same_time(tmp_path: Path) -> None:
    spec = {"action": "cpu-profile", "state": "profiling", "pid": 7, "name": "001-profiling-cpu-profile", "run": "r",
            "reason": "guard profile", "directory": str(tmp_path)}  # fmt: skip
    facts = {"engine": "py-spy", "asked_rate_hz": 100, "used_rate_hz": 100.0, "achieved_rate_hz": 50.0,
             "rate_reason": "", "samples": 500, "samples_taken": 500, "samples_missed": 500, "errors": 0,
             "seconds": 10.0, "whole": True,
             "ended_early": None}  # fmt: skip
    counts = {stack: 5 * weight for stack, weight in COUNTS.items()}
    cpu_report.write(Task(spec), 7, counts, 100.0, facts, [])
    for suffix in (".folded", ".md", ".speedscope.json", ".pb.gz"):
        found = formats.read(str(tmp_path / f"001-profiling-cpu-profile{suffix}"))
        assert found.seconds_per_weight is not None
        assert found.total * found.seconds_per_weight == pytest.approx(10.0), suffix
        assert [note for note in found.notes if "took 50% of its samples" in note] == found.notes, suffix
        assert len(found.notes) == 1 and found.whole is True and found.run == "r"
    (tmp_path / "001-profiling-cpu-profile.meta.json").unlink()
    found = formats.read(str(tmp_path / "001-profiling-cpu-profile.md"))
    assert found.seconds_per_weight == pytest.approx(0.02) and len(found.notes) == 1


def test_folded_stacks_that_were_cut_are_told_by_their_meta(tmp_path: Path) -> None:
    path, meta = tmp_path / "x.folded", tmp_path / "x.meta.json"
    meta.write_text(json.dumps({"kind": "cpu-profile", "used_rate_hz": 100, "samples": 100, "samples_taken": 400}))
    whole = folded.render(COUNTS)
    path.write_text(whole)
    assert formats.read(str(path)).total == 100 and not formats.read(str(path)).notes
    lines = whole.splitlines(keepends=True)
    for content in ("".join(lines[:-1]), whole[:-2]):  # at a line's end, inside the last number
        path.write_text(content)
        with pytest.raises(FormatError, match=r"it is cut off: it has \d+ samples, and .* 100 were written"):
            formats.read(str(path))
    path.write_text(whole + "main (a.py:1) 3\n")
    assert any("is it another profile's?" in note for note in formats.read(str(path)).notes)
    meta.unlink()
    path.write_text(whole[:-2])
    assert any("no line end" in note for note in formats.read(str(path)).notes)


def test_whatever_is_packed_is_known_as_it_would_be_unpacked(tmp_path: Path) -> None:
    paths = written(tmp_path, COUNTS)
    bom = b"\xef\xbb\xbf" + paths["c.speedscope.json"].read_bytes()
    for content, name in ((paths["b.md"].read_bytes(), "guard's Markdown"), (bom, "speedscope")):
        for data in (content, gzip.compress(content)):
            (tmp_path / "x").write_bytes(data)
            assert formats.read(str(tmp_path / "x")).format == name
    (tmp_path / "x").write_bytes(gzip.compress(b'[{"ph": "X", "name": "a"}]'))
    with pytest.raises(FormatError, match="a trace of events"):
        formats.read(str(tmp_path / "x"))


def test_a_growth_profile_weighs_bytes(tmp_path: Path) -> None:
    path = tmp_path / "002-warning-growth.folded"
    path.write_text(folded.render({"main (a.py:1);hold (a.py:2)": 4096 * 50}))
    (tmp_path / "002-warning-growth.meta.json").write_text(json.dumps({"kind": "growth", "samples": 50}))
    found = formats.read(str(path))
    assert (found.unit, found.kind, found.samples) == ("bytes", "growth", 50)


def test_profilers_units_of_time_are_understood(tmp_path: Path) -> None:
    for unit, weight in (("nanoseconds", 2e6), ("microseconds", 2000.0), ("milliseconds", 2.0), ("seconds", 0.002)):
        document = {
            "$schema": speedscope.SCHEMA,
            "shared": {"frames": [{"name": "f"}]},
            "profiles": [
                {
                    "type": "sampled",
                    "name": "",
                    "unit": unit,
                    "startValue": 0,
                    "endValue": 1,
                    "samples": [[0]],
                    "weights": [weight],
                }
            ],
        }
        path = tmp_path / "x.json"
        path.write_text(json.dumps(document))
        assert formats.read(str(path)).total == 2000


def test_speedscopes_evented_profiles_are_read(tmp_path: Path) -> None:
    events = [("O", 0, 0), ("O", 1, 1), ("C", 1, 4), ("O", 1, 5), ("C", 1, 6), ("C", 0, 10)]
    document = {
        "$schema": speedscope.SCHEMA,
        "shared": {"frames": [{"name": "f"}, {"name": "g"}]},
        "profiles": [
            {
                "type": "evented", "name": "", "unit": "milliseconds", "startValue": 0, "endValue": 10,
                "events": [{"type": kind, "frame": place, "at": at} for kind, place, at in events],
            }
        ],
    }  # fmt: skip
    path = tmp_path / "x.json"
    path.write_text(json.dumps(document))
    found = formats.read(str(path)).functions
    assert (found["f", None].self_weight, found["f", None].total_weight) == (6000, 10000)
    assert (found["g", None].self_weight, found["g", None].total_weight) == (4000, 4000)


BLOCK = markdown.render(
    markdown.Profile(
        title="t", kind="cpu", counts=COUNTS, unit="samples", head=[], notes=[], seconds_per_sample=None, data={}
    )
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "nothing but white space"),
        (b"import time\nprint(time.time())\n", "as folded stacks line 1: expected `frame;frame WEIGHT`"),
        (b"a;b 3\na;b 4 and more\n", "line 2"),
        (b"a;b 3\na;c", "line 2"),  # cut off
        (b"a 1\n" + b"x" * (5 << 20), "line 2 is longer than 4 MiB"),
        (b'{"$schema": "https://www.speedscope.app/file-format-schema.json", "shared": {"fra', "JSON that is cut off"),
        (b'{"a": 1,, "b": 2, "ccccccccccccccccccc": 3}', "begins as JSON and is none"),
        (b'{"name": "x", "version": 1}', "an object with the keys name, version"),
        (b'{"traceEvents": []}', "a trace of events"),
        (b'[{"ph": "X", "name": "a"}]', "a trace of events"),
        (b'{"snapshot": {}, "nodes": []}', "a heap snapshot"),
        (b'{"head": {}}', "a heap profile of V8"),
        (b'{"schema_version": 1, "run": "x"}', "a record of guard's own"),
        (b"[" * 200_000, "nested too deep"),
        (b'<svg xmlns="http://www.w3.org/2000/svg">', "an SVG picture"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"\x89PNG\r\n\x1a\n\0\0", "a PNG picture"),
        (b"PK\x03\x04\0\0", "a zip archive"),
        (b"PERFILE2\0\0", "perf's own data"),
        (b"\x7fELF\x02\x01\x01\0", "a program"),
        ("a;b 3\n".encode("utf-16"), "UTF-16"),
        (marshal.dumps({("a.py", 1, "f"): (1, 1, 0.0, 0.0, {})}), "cProfile's statistics"),
        (gzip.compress(b"\0\0\0"), "as pprof"),
        (gzip.compress(b"a;b 3\n" * 5000)[:60], "cut off or damaged"),
        (pprof.render(COUNTS, unit="samples")[:-20], "cut off or damaged"),
        (b"# A page\n\nwords\n", "without guard's block"),
        (BLOCK[:-40].encode(), "is not closed"),
        (BLOCK[:300].encode(), "without guard's block"),
        (BLOCK.replace('"schema_version": 1', '"schema_version": 7').encode(), "schema version 7"),
        ((FIXTURES / "bun.md").read_bytes()[:700], "is it cut off?"),
        ((FIXTURES / "node.cpuprofile").read_bytes()[:4000], "JSON that is cut off after 4,000 bytes"),
        (b"a;b 0\n", "the profile is empty"),
        (b" 7\n", "the profile is empty"),
        (b"thread (0x7F01): main 7\n", "names no function"),
    ],
)  # fmt: skip
def test_what_is_no_profile_is_explained(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(FormatError) as caught:
        formats.read(str(path))
    assert words in str(caught.value)
    assert len(str(caught.value)) < 600


def test_all_idle_is_said(tmp_path: Path) -> None:
    document = json.loads((FIXTURES / "node.cpuprofile").read_text())
    for node in document["nodes"]:
        node["callFrame"]["functionName"] = "(idle)"
    path = tmp_path / "idle.cpuprofile"
    path.write_text(json.dumps(document))
    with pytest.raises(FormatError, match=r"the profile is empty; all 0\.3 s in it are idle"):
        formats.read(str(path))


def test_perf_frames_that_look_like_json_are_stacks(tmp_path: Path) -> None:
    path = tmp_path / "perf.folded"
    path.write_text("[unknown];main 5\n{closure};x 2\n")
    assert formats.read(str(path)).total == 7


def test_windows_line_ends_blank_lines_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x.folded"
    path.write_bytes(b"a;b 3\r\n\r\na;\xff\xfe 4\r\n 2\n")
    found = formats.read(str(path))
    assert found.total == 7 and ("b", None) in found.functions


def test_pieces_are_joined_wherever_they_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from supervisor.analysis import foldedfile

    path = tmp_path / "x.folded"
    path.write_text("".join(f"main (ä.py:{n});f{n % 7} (b.py:{n}) {n}\n" for n in range(1, 200)))
    whole = formats.read(str(path))
    for size in (1, 7, 64, 1000):
        monkeypatch.setattr(foldedfile, "_PIECE", size)
        assert formats.read(str(path)).functions == whole.functions


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_profile_or_explained(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("y") / "x"
    path.write_bytes(data)
    try:
        assert formats.read(str(path), keep=True).total > 0
    except FormatError as error:
        assert str(error)


@pytest.mark.parametrize("name", ["node.cpuprofile", "pyspy.speedscope.json", "bun.md", "bun.cpuprofile"])
def test_damaged_files_are_read_or_explained(tmp_path: Path, name: str) -> None:
    import random

    dice = random.Random(name)
    data = (FIXTURES / name).read_bytes()
    path = tmp_path / "x"
    for _ in range(150):
        at = dice.randrange(len(data))
        path.write_bytes(
            data[:at] + dice.choice([b"", b"null", b"-1", b'"', b"{}", b"1e400"]) + data[at + dice.randrange(9) :]
        )
        try:
            formats.read(str(path), keep=True)
        except FormatError as error:
            assert str(error)
