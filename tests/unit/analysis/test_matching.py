"""Functions found again under another path or name."""

from __future__ import annotations

from supervisor.analysis import matching
from supervisor.analysis.folded import FunctionTotal, by_function

Counts = dict[str, int]
Key = tuple[str, str | None]


def matched(before: list[Key], after: list[Key]) -> dict[Key, tuple[Key, str]]:
    return {match.before: (match.after, match.how) for match in matching.by_name(before, after)}


def test_the_same_place_is_the_same() -> None:
    assert matched([("f", "a.py")], [("f", "a.py"), ("g", "a.py")]) == {("f", "a.py"): (("f", "a.py"), "same")}


def test_another_checkout_and_a_shortened_path_are_the_same() -> None:
    assert matched([("f", "/home/ci/one/app/a.py")], [("f", "/srv/two/app/a.py")]) == {
        ("f", "/home/ci/one/app/a.py"): (("f", "/srv/two/app/a.py"), "same")
    }
    assert matched([("f", "a.py")], [("f", "/srv/app/a.py")]) == {("f", "a.py"): (("f", "/srv/app/a.py"), "same")}


def test_of_several_files_of_a_name_the_nearest_path_wins() -> None:
    before: list[Key] = [("f", "/one/web/views.py"), ("f", "/one/api/views.py")]
    after: list[Key] = [("f", "/two/api/views.py"), ("f", "/two/web/views.py")]
    assert matched(before, after) == {
        before[0]: (after[1], "same"),
        before[1]: (after[0], "same"),
    }


def test_a_function_in_another_file_moved_if_there_is_one_of_its_name() -> None:
    assert matched([("f", "a.py")], [("f", "b.py")]) == {("f", "a.py"): (("f", "b.py"), "moved")}
    assert matched([("f", "a.py")], [("f", "b.py"), ("f", "c.py")]) == {}


def test_names_that_everything_has_are_not_followed_to_other_files() -> None:
    assert matched([("<module>", "a.py")], [("<module>", "b.py")]) == {}
    assert matched([("(anonymous)", "a.js")], [("(anonymous)", "b.js")]) == {}


def functions(counts: Counts) -> dict[Key, FunctionTotal]:
    return {(each.function, each.file): each for each in by_function(counts)}


BEFORE: Counts = {
    "main (a.py:1);load (a.py:5);decode (b.py:7)": 50,
    "main (a.py:1);load (a.py:5)": 20,
    "main (a.py:1)": 5,
}


def renamed(after: Counts, with_stacks: bool = True) -> dict[Key, Key]:
    left, right = functions(BEFORE), functions(after)
    matches = matching.by_name(left, right)
    for match in matches:
        del left[match.before], right[match.after]
    same = {match.after: match.before for match in matches}
    totals = (sum(BEFORE.values()), sum(after.values()))
    stacks = (BEFORE, after) if with_stacks else None
    return {each.before: each.after for each in matching.renamed(left, right, totals, same, stacks)}


def test_another_name_with_the_same_callers_callees_and_weight_is_a_rename() -> None:
    after = {stack.replace("load", "fetch_all"): weight for stack, weight in BEFORE.items()}
    assert renamed(after) == {("load", "a.py"): ("fetch_all", "a.py")}


def test_a_rename_without_stacks_needs_to_be_the_only_one_in_its_file() -> None:
    after = {stack.replace("load", "fetch_all"): weight for stack, weight in BEFORE.items()}
    assert renamed(after, with_stacks=False) == {("load", "a.py"): ("fetch_all", "a.py")}


def test_a_new_function_elsewhere_in_the_tree_is_no_rename() -> None:
    after = {"main (a.py:1);decode (b.py:7)": 50, "other (c.py:1);thing (c.py:3)": 20, "main (a.py:1)": 5}
    assert renamed(after) == {}


def test_a_function_of_quite_another_weight_is_no_rename() -> None:
    after = {stack.replace("load", "fetch_all"): weight for stack, weight in BEFORE.items()}
    after["main (a.py:1)"] = 4000
    assert renamed(after) == {}


def test_two_renames_at_once_are_told_apart() -> None:
    after = {stack.replace("load", "fetch").replace("decode", "parse"): weight * 2 for stack, weight in BEFORE.items()}
    assert renamed(after)[("load", "a.py")] == ("fetch", "a.py")
