"""A plain line says the same to the quick parser as to typer, and what isn't plain is typer's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor import cli, comparing, quickcompare
from supervisor.errors import UsageError

VALUES = st.sampled_from(
    ["a.folded", "b/*.md", "latest", "x y", "-", "--json", "5%", "2.5", "nan", "run", "share", "x.md", "x.pdf", ""]
)
OPTIONS = st.sampled_from(["--baseline", "--current", "--output", "-o", "--fail-on", "--per", "--profiles-dir"])
WORDS = st.one_of(
    st.tuples(OPTIONS, VALUES).map(list),
    st.tuples(OPTIONS, VALUES).map(lambda pair: ["=".join(pair)]),
    st.sampled_from(
        [
            ["--json"],
            ["--help"],
            ["--unknown"],
            ["a.md"],
            ["b c", "runs/"],
            ["-"],
            ["--"],
            ["--baseline"],
            ["--base", "x"],
        ]
    ),
)


def outcome(wish: comparing.Wish) -> dict[str, Any]:
    return vars(wish)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(WORDS, max_size=4))
def test_both_parsers_agree(monkeypatch: pytest.MonkeyPatch, words: list[list[str]]) -> None:
    line = [word for group in words for word in group]
    seen: list[comparing.Wish] = []
    monkeypatch.setattr(comparing, "execute", lambda wish, environ: seen.append(wish) or 0)
    try:
        quick = quickcompare.plain(line)
    except UsageError as error:
        with pytest.raises(UsageError) as caught:
            cli.app(args=["compare", *line], prog_name="guard", standalone_mode=False)
        assert caught.value.lines() == error.lines()
        return
    if quick is None:
        return
    cli.app(args=["compare", *line], prog_name="guard", standalone_mode=False)
    assert outcome(seen[0]) == outcome(quick)


@pytest.mark.parametrize(
    "line", [["--help"], ["-h"], ["--baseline"], ["--nope"], ["x", "--"], ["--json=1"], ["-ox.md"]]
)
def test_what_isnt_plain_is_left_to_typer(line: list[str]) -> None:
    assert quickcompare.plain(line) is None


def test_two_words_are_baseline_and_current_and_one_is_the_current_side() -> None:
    wishes = [quickcompare.plain(line) for line in (["a", "--json", "b"], ["b"], [])]
    assert [(wish.baseline, wish.current) for wish in wishes if wish] == [(["a"], ["b"]), ([], ["b"]), ([], [])]


@pytest.mark.parametrize(
    ("line", "words"), [(["a", "--current", "b"], "'a' can't go together with --current"), (["a"] * 3, "3 profiles")]
)
def test_words_that_name_no_two_sides_are_explained(line: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        quickcompare.plain(line)
    assert caught.value.why and caught.value.hint.startswith("guard compare ")


@pytest.mark.parametrize("text", ["", "%", "-5", "1e3", "five", "5%%", "nan", "inf", "١", "9" * 50])
def test_a_bad_limit_is_explained(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        comparing.limit(text)
    assert caught.value.code == 2 and "percentage" in caught.value.why


def test_limits() -> None:
    assert [comparing.limit(text) for text in ("5%", "5", "2.5 %", "0", None)] == [0.05, 0.05, 0.025, 0.0, None]
