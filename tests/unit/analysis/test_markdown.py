"""The Markdown summary: what it says, and that no name changes its structure."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.analysis.markdown import Profile, code, plain, read_block, render

LIBRARY = "/usr/lib/python3.11/json/decoder.py"
COUNTS = {
    f"main (/srv/a.py:1);parse (/srv/b.py:2);decode ({LIBRARY}:3)": 60,
    "main (/srv/a.py:1);parse (/srv/b.py:2)": 25,
    "main (/srv/a.py:9);render (/srv/c.py:9)": 15,
}
HOSTILE = [
    "a|b",
    "a\\|b",
    "`",
    "a`b``c",
    "`a",
    "<script>alert(1)</script>",
    "<!--",
    "x\n# Forged",
    "x\n```json guard-profile\n{}\n```",
    "```",
    "~~~",
    "*bold*",
    "![x](http://evil.example/x.png)",
    "u\u202ex",
    "\ud800",
    "\0",
    "back\\",
    " ",
    "&lt;",
]


def profile(counts: dict[str, int] | None = None, **changes: Any) -> Profile:
    given = {
        "title": "CPU profile",
        "kind": "cpu",
        "counts": COUNTS if counts is None else counts,
        "unit": "samples",
        "head": [("Run", "20261124T111644Z-app-7-ab12"), ("Command", "python app.py | tee x")],
        "notes": [],
        "seconds_per_sample": 0.01,
        "data": {},
        **changes,
    }
    return Profile(**given)


def growth(counts: dict[str, int], **changes: Any) -> Profile:
    return profile(counts, kind="growth", unit="bytes", seconds_per_sample=None, **changes)


def section(text: str, name: str) -> str:
    return text.split(f"\n## {name}\n\n", 1)[1].split("\n## ", 1)[0]


# what it says


def test_the_parts_come_in_order() -> None:
    text = render(profile(notes=["Not enough evidence: 3 samples."]))
    places = [
        text.index(part)
        for part in (
            "# CPU profile\n\nNot enough evidence: 3 samples.\n\n",
            "| Run | 20261124T111644Z-app-7-ab12 |\n| Command | python app.py \\| tee x |\n",
            "| Total | 100 (1,000.0 ms) samples |",
            "**Top 10:** `decode` 60.0%, `parse` 25.0%, `render` 15.0%\n",
            "## Hot Functions (Self)",
            "## Call Tree (Total)",
            "## Function Details",
            "## Files",
            "```json guard-profile",
        )
    ]
    assert places[0] == 0
    assert places == sorted(places)
    assert text.endswith("\n```\n")


def test_own_code_is_charged_with_the_library_code_that_it_called() -> None:
    assert "**Own code, with the library code it called:** `parse` 85.0%, `render` 15.0%\n" in render(profile())
    assert "**Own code" not in render(profile({"main (/srv/a.py:1)": 3}))


def test_a_cpu_profile_says_what_it_does_not_name() -> None:
    busy = "names the code that was busy, not the code that holds memory. "
    busy += "For what holds memory, look at the growth profile."
    assert busy in render(profile())
    assert busy in render(profile({}))
    assert "busy" not in render(growth({"f": 1}))


def test_hot_functions() -> None:
    assert section(render(profile()), "Hot Functions (Self)").splitlines() == [
        "| Self% | Self | Total% | Total | Function | Location |",
        "|---:|---:|---:|---:|---|---|",
        f"| 60.0% | 60 (600.0 ms) | 60.0% | 60 (600.0 ms) | `decode` | `{LIBRARY}:3` |",
        "| 25.0% | 25 (250.0 ms) | 85.0% | 85 (850.0 ms) | `parse` | `/srv/b.py:2` |",
        "| 15.0% | 15 (150.0 ms) | 15.0% | 15 (150.0 ms) | `render` | `/srv/c.py:9` |",
        "| 0.0% | 0 (0.0 ms) | 100.0% | 100 (1,000.0 ms) | `main` | `/srv/a.py:1` |",
    ]


def test_the_call_tree_has_the_heaviest_child_first_and_no_lines() -> None:
    counts = {**COUNTS, "main (/srv/a.py:1);a_light_one (/srv/a.py:2)": 0}
    tree = section(render(profile(counts, seconds_per_sample=None)), "Call Tree (Total)").splitlines()
    assert tree[:-2] == [
        "```text",
        "Total%  Total  Self%  Function",
        "100.0%    100   0.0%  main  /srv/a.py",
        " 85.0%     85  25.0%    parse  /srv/b.py",
        f" 60.0%     60  60.0%      decode  {LIBRARY}",
        " 15.0%     15  15.0%    render  /srv/c.py",
        "```",
    ]
    assert tree[-1] == "1 lighter path left out."


def test_children_are_ordered_by_weight_not_by_name() -> None:
    tree = section(
        render(profile({"main;light": 10, "main;other;deep": 30, "main;the_heavier": 60})), "Call Tree (Total)"
    )
    assert [line.split()[-1] for line in tree.splitlines()[2:-1]] == ["main", "the_heavier", "other", "deep", "light"]


def test_a_deep_stack_takes_no_row_from_a_heavier_one() -> None:
    deep = ";".join(f"level_{n}" for n in range(300))
    tree = section(render(profile({deep: 40, "other;light": 10, "other;the_heavier": 50})), "Call Tree (Total)")
    assert [line.split()[-1] for line in tree.splitlines()[2:6]] == ["other", "the_heavier", "level_0", "level_1"]
    assert "103 lighter paths left out." in tree


def test_paths_below_a_hundredth_are_left_out() -> None:
    counts = {"main;heavy": 9_800, "main;edge": 100, **{f"main;light{n}": 50 for n in range(2)}}
    tree = section(render(profile(counts)), "Call Tree (Total)")
    assert "edge" in tree
    assert "light0" not in tree
    assert "2 lighter paths left out." in tree


def test_a_deep_recursion_stays_readable() -> None:
    text = render(profile({";".join(f"level_{n}" for n in range(20_000)): 3}))
    tree = section(text, "Call Tree (Total)")
    assert "19,800 lighter paths left out." in tree
    assert "(+169) level_199" in tree
    assert max(map(len, tree.splitlines())) < 150


def test_details_name_callers_and_callees() -> None:
    details = section(render(profile(seconds_per_sample=None)), "Function Details")
    parse = details.split("### `parse`\n\n")[1].split("### ")[0]
    assert parse.strip().splitlines() == [
        "`/srv/b.py:2` · Self: 25.0%, 25 · Total: 85.0%, 85",
        "",
        "**Called by:**",
        "",
        "- `main` (85)",
        "",
        "**Calls:**",
        "",
        "- `decode` (60)",
    ]
    assert "Called by" not in details.split("### `main`")[1]


def test_a_recursion_is_a_call_once_a_stack() -> None:
    details = section(render(profile({"f;f;f;g": 7}, seconds_per_sample=None)), "Function Details")
    assert details.split("### `f`")[1].split("- ")[1].strip().startswith("`f` (7)")


def test_files_are_ranked_by_self() -> None:
    files = section(render(profile({**COUNTS, "bare": 1}, seconds_per_sample=None)), "Files").split("\n```")[0]
    assert files.strip().splitlines()[2:] == [
        f"| 59.4% | 60 | `{LIBRARY}` |",
        "| 24.8% | 25 | `/srv/b.py` |",
        "| 14.9% | 15 | `/srv/c.py` |",
        "| 1.0% | 1 | (no file) |",
        "| 0.0% | 0 | `/srv/a.py` |",
    ]


def test_long_tables_say_what_they_leave_out() -> None:
    text = render(profile({f"f{n} (/srv/m{n}.py:1);leaf{n} (/srv/m{n}.py:2)": 1 for n in range(50)}))
    hot, files = section(text, "Hot Functions (Self)"), section(text, "Files")
    assert hot.count("\n|") == 41
    assert "60 functions left out (self 20.0%)." in hot
    assert "10 files left out (self 20.0%)." in files
    assert section(text, "Function Details").count("### ") == 20


def test_long_lists_of_callers_say_how_many_more() -> None:
    details = section(render(profile({f"caller{n};leaf": 1 for n in range(13)})), "Function Details")
    leaf = details.split("### `leaf`")[1].split("### ")[0]
    assert leaf.count("- `caller") == 10
    assert "- and 3 more" in leaf


def test_growth_is_printed_in_binary_bytes() -> None:
    text = render(growth({"main (a.py:1);leak (a.py:7)": 3 << 20, "main (a.py:1)": 512 << 10}))
    assert "| Total | 3.50 MiB |" in text
    assert "| 85.7% | 3.00 MiB | 85.7% | 3.00 MiB | `leak` | `a.py:7` |" in text
    assert " 14.3%  main" in section(text, "Call Tree (Total)")
    assert " ms" not in text


def test_without_a_samples_time_there_are_samples_only() -> None:
    text = render(profile(seconds_per_sample=None))
    assert "| 60.0% | 60 | 60.0% | 60 |" in text
    assert "| Total | 100 samples |" in text
    assert " ms" not in text


def test_long_times_are_seconds() -> None:
    assert profile().weight(5000) == "5,000 (50.0 s)"


@pytest.mark.parametrize("counts", [{}, {"main (a.py:1)": 0}])
def test_nothing_is_said_to_be_nothing(counts: dict[str, int]) -> None:
    text = render(profile(counts, notes=["no samples"]))
    assert "Nothing was recorded." in text
    assert "## " not in text
    assert read_block(text)["total"] == 0


def test_the_block_has_the_exact_figures() -> None:
    block = read_block(render(profile(data={"rate_hz": 100})))
    assert (block["kind"], block["unit"], block["total"], block["seconds_per_sample"]) == ("cpu", "samples", 100, 0.01)
    assert block["data"] == {"rate_hz": 100}
    row = {"function": "decode", "file": LIBRARY, "line": 3, "self": 60, "total": 60, "folded_self": 0}
    assert block["functions"][0] == row
    assert len(block["functions"]) == 4


@pytest.mark.parametrize(("kind", "unit"), [("cpu", "bytes"), ("growth", "samples"), ("heap", "samples"), ("", "")])
def test_another_kind_or_unit_is_refused(kind: str, unit: str) -> None:
    with pytest.raises(ValueError, match="cpu in samples, growth or heap in bytes"):
        profile(kind=kind, unit=unit)


# hostile names


def shape(text: str) -> list[str]:
    """The document as CommonMark with tables reads it: kinds of tokens, with the text of prose but not of names."""
    markdown_it = pytest.importorskip("markdown_it")
    tokens = markdown_it.MarkdownIt("commonmark").enable("table").parse(text)
    inner = [child for token in tokens for child in token.children or ()]
    return [token.type for token in tokens] + sorted({child.type for child in inner})


def named(name: str) -> str:
    # Names as a profiler may have written them; only the separator can't be part of one.
    raw = name.replace(";", ":")
    counts = {f"main (/srv/a.py:1);{raw} ({raw}.py:7)": 60, f"{raw};leaf (x.py:1)": 40}
    return render(profile(counts, title=name, head=[(name, name)], notes=[name], data={name: name}))


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != " "])
def test_a_hostile_name_changes_no_structure(name: str) -> None:
    text = named(name)
    text.encode()
    found, expected = shape(text), shape(named("harmless_name"))
    assert found == expected
    assert set(found) & {"html_block", "html_inline", "image", "link_open", "em_open"} == set()
    assert read_block(text)["data"] == {name: name}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_code_span_holds_the_name_and_nothing_else(name: str) -> None:
    markdown_it = pytest.importorskip("markdown_it")
    reader = markdown_it.MarkdownIt("commonmark").enable("table")
    in_prose = reader.parse(f"a {code(name)} b")[1].children
    assert [token.type for token in in_prose] == ["text", "code_inline", "text"]
    table = reader.parse(f"| x | y |\n|---|---|\n| {code(name, cell=True)} | after |\n")
    cells = [token for token in table if token.type == "inline"]
    assert [[child.type for child in cell.children] for cell in cells[2:]] == [["code_inline"], ["text"]]
    assert cells[3].content == "after"


def test_a_name_reads_as_it_is() -> None:
    assert code("<lambda>") == "`<lambda>`"
    assert code("a|b", cell=True) == "`a\\|b`"
    assert code("a|b") == "`a|b`"
    assert code("a\\|b", cell=True) == "`a\\\\x7cb`"
    assert code("a`b") == "``a`b``"
    assert code("`") == "`` ` ``"
    assert code("a\nb") == "`a\\x0ab`"
    assert len(code("x" * 5000)) < 250


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a snake_case name", "a snake_case name"),
        ("_this_", "\\_this\\_"),
        ("two\nlines\n\n# three", "two lines # three"),
        ("# heading", "\\# heading"),
        ("- item", "\\- item"),
        ("12. item", "12\\. item"),
        ("3) item", "3\\) item"),
        ("1.50 MiB", "1.50 MiB"),
        ("-5 MiB", "-5 MiB"),
        ("---", "\\---"),
        ("", ""),
        ("a `b<c` d<e", "a \\`b\\<c\\` d\\<e"),
    ],
)
def test_plain_text_is_plain(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_notes_keep_their_code_spans_but_only_closed_ones() -> None:
    assert plain("type `a<b_` or <c>", spans=True) == "type `a<b_` or \\<c\\>"
    assert plain("a ` <b>", spans=True) == "a \\` \\<b\\>"
    assert plain("``` <img> ` x", spans=True) == "\\`\\`\\` \\<img\\> \\` x"
    assert plain("`` a`<b> `` took <c>, `d` ` <e>", spans=True) == "`` a`<b> `` took \\<c\\>, `d` \\` \\<e\\>"


@given(
    st.dictionaries(st.text(max_size=30), st.integers(0, 1 << 60), max_size=6),
    st.text(),
    st.sampled_from([("cpu", "samples"), ("growth", "bytes")]),
)
@settings(max_examples=60)
def test_any_profile_is_rendered_and_its_block_read(counts: dict[str, int], text: str, kind: tuple[str, str]) -> None:
    made = Profile(
        title=text,
        kind=kind[0],
        counts=counts,
        unit=kind[1],
        head=[(text, text)],
        notes=[text],
        seconds_per_sample=0.5,
        data={"text": text},
    )
    written = render(made)
    written.encode()
    block = read_block(written)
    assert block["total"] == sum(each["self"] for each in block["functions"]) == sum(counts.values())
    assert block["data"] == {"text": text}


@given(st.lists(st.sampled_from([*HOSTILE, "a", "`", "``", "<b>"])).map("".join))
def test_a_name_in_a_note_is_one_code_span(name: str) -> None:
    """Whatever backticks it has, and whatever else the note says."""
    span = code(name)
    written = plain(f"{span} took <b> of it", spans=True)
    assert written == f"{span} took \\<b\\> of it" or " ".join(span.split()) != span
    markdown_it = pytest.importorskip("markdown_it")
    (inline,) = [token for token in markdown_it.MarkdownIt("commonmark").parse(written) if token.children]
    assert [child.type for child in inline.children].count("code_inline") == 1


@given(st.lists(st.sampled_from([*HOSTILE, "a", "_", "1.", "+", "\\", "]("])).map("".join))
@settings(max_examples=300)
def test_plain_text_makes_no_markup(text: str) -> None:
    markdown_it = pytest.importorskip("markdown_it")
    for spans in (False, True):
        written = plain(text, spans=spans)
        tokens = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(written)
        kinds = [token.type for token in tokens]
        assert kinds in ([], ["paragraph_open", "inline", "paragraph_close"])
        inner = {child.type for token in tokens for child in token.children or ()}
        assert inner <= {"text", "text_special", "code_inline"}
        assert spans or "code_inline" not in inner
