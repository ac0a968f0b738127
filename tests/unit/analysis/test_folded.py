"""Folded stacks: the format, hostile names, and what is charged to whom."""

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from supervisor.analysis.folded import (
    FoldedError,
    FunctionTotal,
    by_function,
    fold_library,
    frame,
    is_library,
    is_marker,
    own_functions,
    parse,
    render,
    split_frame,
    strip_lines,
    strip_locations,
)

LIBRARY = "/usr/lib/python3.11/json/decoder.py"

frames = st.builds(
    frame,
    st.text(max_size=20) | st.sampled_from(["work", "A.run", "<lambda>", "f(int, (x))"]),
    st.none() | st.text(max_size=20) | st.sampled_from(["/srv/app.py", LIBRARY, "<frozen abc>", "d (copy)/a.py"]),
    st.none() | st.integers(-5, 10**12),
)
stacks = st.lists(frames, min_size=1, max_size=8).map(";".join)
profiles = st.dictionaries(stacks, st.integers(0, 1 << 63), max_size=12)
any_profile = st.dictionaries(st.text(max_size=40), st.integers(0, 1 << 63), max_size=12)


# the format


def test_a_profile_is_read_line_by_line_and_equal_stacks_add_up() -> None:
    lines = iter(
        ["main (a.py:1);work (b.py:2) 3\n", "\n", "   \n", "main (a.py:1) 1\r\n", "main (a.py:1);work (b.py:2) 4"]
    )
    assert parse(lines) == {"main (a.py:1);work (b.py:2)": 7, "main (a.py:1)": 1}


def test_a_function_may_end_in_a_number_and_a_weight_may_be_nothing() -> None:
    assert parse(["step 2 0"]) == {"step 2": 0}


def test_samples_without_any_frame_are_nobodys() -> None:
    assert parse(["a;b 3", " 2", "a 1"]) == {"a;b": 3, "a": 1}  # as py-spy writes a thread that is about to end


@pytest.mark.parametrize(
    "line",
    [
        "main",
        "7",
        "main -1",
        "main 1.5",
        "main 1e3",
        "main ١",
        "main +1",
        "main 1_000",
        ";; 4",
        "main " + "9" * 5000,
    ],
)
def test_a_bad_line_is_an_error_with_its_number_and_what_was_seen(line: str) -> None:
    with pytest.raises(FoldedError) as caught:
        parse(["good 1\n", "\n", line + "\n"])
    assert caught.value.line_number == 3
    assert caught.value.seen[:20] == line.rstrip()[:20]
    assert len(caught.value.seen) <= 120
    assert "line 3" in str(caught.value)


def test_what_was_seen_is_made_visible() -> None:
    with pytest.raises(FoldedError, match=r"saw `bad\\x1b\[2J\\u202eline`"):
        parse(["bad\x1b[2J\u202eline"])


def test_the_heaviest_stack_comes_first_then_text_decides() -> None:
    assert render({"b": 1, "a": 1, "c": 9}) == "c 9\na 1\nb 1\n"
    assert render({}) == ""


def test_a_stack_with_a_line_end_in_it_forges_no_line() -> None:
    assert render({"a\nforged 99\nb": 1}).splitlines() == [r"a\x0aforged 99\x0ab 1"]


@given(profiles)
def test_what_is_written_is_read_back(counts: dict[str, int]) -> None:
    text = render(counts)
    assert parse(text.splitlines(keepends=True)) == counts
    assert parse(text.split("\n")) == counts


@given(any_profile)
def test_any_profile_can_be_written_and_keeps_its_weight(counts: dict[str, int]) -> None:
    assume(all(stack.strip(" ;") for stack in counts))
    assert sum(parse(render(counts).splitlines()).values()) == sum(counts.values())


@given(st.text())
def test_any_text_is_a_profile_or_a_folded_error(text: str) -> None:
    try:
        assert all(weight >= 0 for weight in parse(text.split("\n")).values())
    except FoldedError as error:
        assert error.line_number >= 1


# frames


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("work (app.py:7)", ("work", "app.py", 7)),
        ("work (app.py)", ("work", "app.py", None)),
        ("work", ("work", None, None)),
        ("work.<locals>.<genexpr> (ps_t.py:3)", ("work.<locals>.<genexpr>", "ps_t.py", 3)),
        ("_find (<frozen importlib._bootstrap>:1176)", ("_find", "<frozen importlib._bootstrap>", 1176)),
        ("f (/srv/dir (copy)/a.py:3)", ("f", "/srv/dir (copy)/a.py", 3)),
        ("f (/srv/a:b/c.py:3)", ("f", "/srv/a:b/c.py", 3)),
        ("f (C:\\x\\a.py:3)", ("f", "C:\\x\\a.py", 3)),
        ("f (a).py:3)", ("f", "a).py", 3)),
        ("f (a(.py:3)", ("f", "a(.py", 3)),
        ("f (x) (a.py:3)", ("f (x)", "a.py", 3)),
        ("ns::f(int, char*) (lib.so)", ("ns::f(int, char*)", "lib.so", None)),
        ("main()", ("main()", None, None)),
        ("(garbage collector)", ("(garbage collector)", None, None)),
        ("f ()", ("f ()", None, None)),
        ("f (a.py:0)", ("f", "a.py:0", None)),
        ("f (a.py:99999999999)", ("f", "a.py:99999999999", None)),
        ("thread (5633): Thread-1 (run)", ("thread (5633): Thread-1 (run)", None, None)),
        ("thread (0x7F01)", ("thread (0x7F01)", None, None)),
        ('process 12:"python (x.py:3)"', ('process 12:"python (x.py:3)"', None, None)),
        ("process (pool.py:12)", ("process", "pool.py", 12)),
        ("thread (pool.py:12)", ("thread", "pool.py", 12)),
        ("", ("(anonymous)", None, None)),
    ],
)
def test_a_frame_is_taken_apart(text: str, expected: tuple[str, str | None, int | None]) -> None:
    assert split_frame(text) == expected


@given(st.text())
@example(") (")
@example(" ()")
@example("))))")
def test_any_text_is_a_frame(text: str) -> None:
    function, file, line = split_frame(text)
    assert function
    assert file is None or file
    assert line is None or (line > 0 and file)


@given(
    st.text(st.characters(categories=["L", "N"], include_characters="._<>"), min_size=1),
    st.none()
    | st.text(st.characters(categories=["L", "N"], include_characters="/._- "), min_size=1).map(lambda s: f"/{s}x"),
    st.none() | st.integers(1, 10**9 - 1),
)
def test_a_sane_frame_comes_back(function: str, file: str | None, line: int | None) -> None:
    assume(function.isprintable() and (file is None or file.isprintable()))
    assert split_frame(frame(function, file, line)) == (function, file, line if file else None)


@given(frames)
def test_a_frame_holds_no_separator_no_line_end_and_survives_being_rewritten(text: str) -> None:
    assert text.strip()
    assert ";" not in text
    assert text.isprintable()
    text.encode()
    assert frame(*split_frame(text)) == text


@pytest.mark.parametrize(
    ("function", "file", "line"),
    [
        ("evil (other.py:1)", None, None),
        ("thread (5)", "a.py", 3),
        ("process 5: x", "a.py", 3),
        ("f", "a.py:12", None),
        ("f", "x (.py", 3),
        ("f", ") (other.py:9", 3),
        ("f (", ").py", None),
    ],
)
def test_no_name_passes_for_another_place(function: str, file: str | None, line: int | None) -> None:
    _, seen_file, seen_line = split_frame(frame(function, file, line))
    assert (seen_file is None) == (file is None)
    assert seen_line == line
    assert seen_file is None or "other.py:" not in seen_file


def test_hostile_names_stay_one_frame() -> None:
    assert frame("a;b\n99", "x\u202e.py", 3) == r"a\x3bb\x0a99 (x\u202e.py:3)"
    assert frame("", "") == "(anonymous)"
    assert frame("f", "a.py", 0) == frame("f", "a.py", -3) == "f (a.py)"
    assert frame("f", None, 7) == "f"


# totals


def test_self_is_the_leafs_and_a_recursion_counts_once() -> None:
    counts = {
        "main (a.py:1);walk (b.py:5);walk (b.py:6);walk (b.py:5)": 10,
        "main (a.py:2)": 1,
        "main (a.py:2);leaf (c.py)": 4,
    }
    assert by_function(counts) == [
        FunctionTotal("walk", "b.py", 5, 10, 10),
        FunctionTotal("leaf", "c.py", None, 4, 4),
        FunctionTotal("main", "a.py", 1, 1, 15),
    ]


def test_functions_of_one_name_in_two_files_are_two() -> None:
    assert {(t.function, t.file) for t in by_function({"f (a.py:1);f (b.py:1)": 1})} == {("f", "a.py"), ("f", "b.py")}


def test_equal_self_is_ordered_by_total() -> None:
    assert [t.function for t in by_function({"a;b;c": 2, "a;d": 2, "b;d;c": 0})] == ["c", "d", "a", "b"]


def test_the_first_known_line_is_kept() -> None:
    assert by_function({"f (a.py)": 1, "f (a.py:9)": 1, "f (a.py:3)": 1})[0].line == 9


@given(any_profile)
def test_totals_add_up_for_any_profile(counts: dict[str, int]) -> None:
    functions = by_function(counts)
    whole = sum(counts.values())
    assert sum(each.self_weight for each in functions) == whole
    assert all(each.self_weight <= each.total_weight <= whole for each in functions)


# library code


@pytest.mark.parametrize(
    "file",
    [
        "/usr/lib/python3.11/threading.py",
        "/opt/py/lib64/python3.13t/json/decoder.py",
        "/srv/venv/lib/python3.11/site-packages/flask/app.py",
        "/usr/lib/python3/dist-packages/apt/cache.py",
        "lib/python3.11/threading.py",
        "<frozen importlib._bootstrap>",
        "threading.py",
        "json/decoder.py",
        "asyncio/base_events.py",
        "_json.c",
        "libc.so.6",
        "/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0",
        "/lib64/ld-linux-x86-64.so.2",
        "/usr/bin/python3.11",
        "node:internal/timers",
        "/srv/app/node_modules/express/lib/router.js",
    ],
)
def test_somebody_elses_code(file: str) -> None:
    assert is_library(file)


@pytest.mark.parametrize(
    "file",
    [
        None,
        "",
        "/srv/app/main.py",
        "app.py",
        "code/server.py",
        "/code/server.py",
        "/srv/app/json/decoder.py",
        "/srv/library/python3.py",
        "/srv/site-packages-fork/x.py",
        "/srv/my.solver.py",
        "lib/app.py",
        "python3.py",
        "<string>",
        "<stdin>",
        "server.js",
        "site-packages",
        "/usr/lib/x86_64-linux-gnu/libruby-3.1.so.3.1.2",  # without it a Ruby would be one frame
    ],
)
def test_own_code(file: str | None) -> None:
    assert not is_library(file)


def test_a_library_leaf_is_charged_to_the_nearest_own_caller() -> None:
    counts = {
        f"main (/srv/a.py:1);leak (/srv/a.py:9);loads ({LIBRARY}:1);decode ({LIBRARY}:2)": 90,
        f"main (/srv/a.py:1);run ({LIBRARY}:3);callback (/srv/a.py:30)": 5,
        "Thread.run (threading.py:982);wait (threading.py:331)": 3,
    }
    folded, moved = fold_library(counts)
    assert folded == {
        "main (/srv/a.py:1);leak (/srv/a.py:9)": 90,
        "main (/srv/a.py:1);callback (/srv/a.py:30)": 5,
        "wait (threading.py:331)": 3,
    }
    assert moved == 90
    assert [(t.function, t.self_weight, t.total_weight) for t in own_functions(counts)] == [
        ("leak", 90, 90),
        ("callback", 5, 5),
        ("wait", 3, 3),
        ("main", 0, 95),
    ]


def test_a_thread_is_no_code_to_charge() -> None:
    counts = {
        "thread (0x7F): MainThread;Thread.run (threading.py:982);wait (threading.py:331)": 3,
        'process 1:"python x.py";thread (12);main (x.py:1);wait (threading.py:331)': 2,
        "thread (12)": 1,
    }
    folded, moved = fold_library(counts)
    assert folded == {
        "thread (0x7F): MainThread;wait (threading.py:331)": 3,
        'process 1:"python x.py";thread (12);main (x.py:1)': 2,
        "thread (12)": 1,
    }
    assert moved == 2


def test_stacks_that_become_equal_add_up() -> None:
    assert fold_library({f"f (a.py:1);x ({LIBRARY}:1)": 1, f"f (a.py:1);y ({LIBRARY}:1)": 2, "f (a.py:1)": 4}) == (
        {"f (a.py:1)": 7},
        3,
    )


@given(profiles | any_profile)
def test_folding_keeps_the_sum_and_leaves_no_library_frame_above_own_code(counts: dict[str, int]) -> None:
    folded, moved = fold_library(counts)
    assert sum(folded.values()) == sum(counts.values())
    assert 0 <= moved <= sum(counts.values())
    for stack in folded:
        library = [is_library(split_frame(text)[1]) for text in stack.split(";")]
        markers = [is_marker(text) for text in stack.split(";")]
        assert not any(library) or (library[-1] and all(markers[:-1]))
    assert sum(t.self_weight for t in own_functions(counts)) == sum(counts.values())


# locations


def test_locations_are_cut_to_the_files_name() -> None:
    counts = {"f (/a/x.py:1)": 1, "f (/b/x.py:9)": 2, "thread (5): a/b (c)": 1, "g (<frozen abc>:3)": 1, "h": 1}
    assert strip_locations(counts) == {"f (x.py)": 3, "thread (5): a/b (c)": 1, "g (<frozen abc>)": 1, "h": 1}


def test_lines_can_go_alone() -> None:
    assert strip_lines({"f (/a/x.py:1)": 1, "f (/a/x.py:9)": 2, "f (/b/x.py:1)": 4}) == {
        "f (/a/x.py)": 3,
        "f (/b/x.py)": 4,
    }


@given(profiles | any_profile)
def test_stripping_keeps_the_sum_and_drops_every_folder_and_line(counts: dict[str, int]) -> None:
    for strip in (strip_locations, strip_lines):
        stripped = strip(counts)
        assert sum(stripped.values()) == sum(counts.values())
        assert strip(stripped) == stripped
        assert all(split_frame(text)[2] is None for stack in stripped for text in stack.split(";"))
    files = [split_frame(text)[1] for stack in strip_locations(counts) for text in stack.split(";")]
    assert all("/" not in file or not file.strip("/") for file in files if file)
