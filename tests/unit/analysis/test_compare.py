"""What a comparison finds and, above all, what it doesn't: on simulated pairs whose truth is known."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence

import numpy
import pytest

from supervisor.analysis import compare, comparison, comparison_page
from supervisor.analysis.folded import FunctionTotal
from supervisor.analysis.outcome import GONE, IMPROVEMENT, MIXED, NEW, REGRESSION, UNCHANGED, Comparison
from supervisor.analysis.reading import Reading, Tally, inflation

PAIRS = 100


def program(functions: int, heavy: float) -> numpy.ndarray:
    """Self times of a program: one function with a given share, the rest falling off."""
    rest = 1 / numpy.arange(1, functions)
    return numpy.concatenate([[heavy], rest / rest.sum() * (1 - heavy)])


def reading(selves: Sequence[int], seconds_per_sample: float | None = None) -> Reading:
    """A profile: main calls everything, half of it by way of handle."""
    total, half = int(sum(selves)), len(selves) // 2
    rows = [(f"f{index}", int(weight), int(weight)) for index, weight in enumerate(selves)]
    rows += [("main", 0, total), ("handle", 0, int(sum(selves[:half])))]
    functions = {(name, "app.py"): FunctionTotal(name, "app.py", 1, own, whole) for name, own, whole in rows}
    found = Reading("simulated", functions, total)
    found.seconds_per_weight = seconds_per_sample
    found.origin = "simulated"
    return found


def drawn(
    dice: numpy.random.Generator, times: numpy.ndarray, samples: int, *, fixed: bool = False, noise: float = 0.0
) -> numpy.ndarray:
    """Samples of a run: Poisson in each function's time, or a fixed number of them; `noise` is between runs."""
    if fixed:
        return dice.multinomial(samples, times / times.sum())
    between = numpy.exp(dice.normal(0, noise, len(times)) + dice.normal(0, noise)) if noise else 1.0
    return dice.poisson(times * samples * between)


def verdicts(found: Comparison) -> dict[str, str]:
    return {row.function: row.verdict for row in found.rows}


# With these samples a side the heavy function has 6,000 (its share times the samples).
SIZES = [(3, 0.25, 24_000), (8, 0.25, 24_000), (20, 0.1, 60_000), (20, 0.25, 24_000), (60, 0.25, 24_000)]


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize(("functions", "heavy", "samples"), SIZES)
def test_one_profile_a_side(functions: int, heavy: float, samples: int, fixed: bool) -> None:
    dice = numpy.random.default_rng(20261124)
    same = program(functions, heavy)
    slower = same * numpy.where(numpy.arange(functions) == 0, 1.2, 1.0)
    alarms = found = wrong = 0
    for _ in range(PAIRS):
        baseline = drawn(dice, same, samples, fixed=fixed)
        alarms += (
            compare.compare([reading(baseline)], [reading(drawn(dice, same, samples, fixed=fixed))]).verdict
            != UNCHANGED
        )
        seen = verdicts(compare.compare([reading(baseline)], [reading(drawn(dice, slower, samples, fixed=fixed))]))
        found += seen["f0"] == REGRESSION
        wrong += any(seen[f"f{index}"] != UNCHANGED for index in range(1, functions))
    assert alarms <= 1
    assert wrong <= 1
    assert found >= 95


@pytest.mark.parametrize(("noise", "samples", "profiles"), [(0.01, 5_000, 5), (0.015, 6_000, 6)])
def test_several_profiles_a_side(noise: float, samples: int, profiles: int) -> None:
    dice = numpy.random.default_rng(20261124)
    same = program(12, 0.25)
    slower = same * numpy.where(numpy.arange(12) == 0, 1.2, 1.0)

    def side(times: numpy.ndarray) -> list[Reading]:
        return [reading(drawn(dice, times, samples, noise=noise)) for _ in range(profiles)]

    alarms = found = 0
    for _ in range(PAIRS):
        baseline = side(same)
        outcome = compare.compare(baseline, side(same))
        assert "permutation" in outcome.method
        alarms += outcome.verdict != UNCHANGED
        found += verdicts(compare.compare(baseline, side(slower)))["f0"] == REGRESSION
    assert alarms <= 1
    assert found >= 95


def test_a_busy_machine_hides_little_and_one_slower_function_is_no_improvement_of_others() -> None:
    dice = numpy.random.default_rng(20261126)
    same = program(9, 0.3)
    slower = same * numpy.where(numpy.arange(9) == 0, 1.2, 1.0)

    def side(times: numpy.ndarray) -> list[Reading]:
        # Runs take a third more or less as a whole, functions 3 % more or less of that.
        moods = numpy.exp(dice.normal(0, 0.33, 10))
        return [reading(drawn(dice, times * mood, 5_000, noise=0.03)) for mood in moods]

    alarms = found = wrong = 0
    for _ in range(20):
        baseline = side(same)
        alarms += compare.compare(baseline, side(same)).verdict != UNCHANGED
        outcome = compare.compare(baseline, side(slower))
        row = next(row for row in outcome.rows if row.function == "f0")
        found += row.verdict == REGRESSION
        assert row.figure.relative == pytest.approx(0.2, abs=0.12)
        wrong += any(row.function.startswith("f") for row in outcome.of(IMPROVEMENT))
    assert (alarms, wrong) == (0, 0)
    assert found >= 19


def test_a_change_of_most_of_a_program_is_told_as_that() -> None:
    dice = numpy.random.default_rng(9)
    same = program(9, 0.6)
    faster = same * numpy.where(numpy.arange(9) == 0, 0.5, 1.0)
    sides = [[reading(drawn(dice, times, 20_000, noise=0.01)) for _ in range(6)] for times in (same, faster)]
    found = compare.compare(*sides)
    assert "f0" in {row.function for row in found.of(IMPROVEMENT)}
    assert not found.of(REGRESSION)


def test_too_few_for_permutations_use_what_they_show_of_the_noise() -> None:
    dice = numpy.random.default_rng(1)
    same = program(12, 0.25)
    alarms = 0
    for _ in range(PAIRS):
        sides = [[reading(drawn(dice, same, 5_000, noise=0.03)) for _ in range(3)] for _ in range(2)]
        outcome = compare.compare(*sides)
        alarms += outcome.verdict != UNCHANGED
        assert any("too few for a test without assumptions" in note for note in outcome.notes)
    assert alarms <= 3  # a spread out of three is a rough one; docs/compare.md says so


@pytest.mark.parametrize("rate", [0.5, 2.0, 10.0])
@pytest.mark.parametrize("known", [True, False])
def test_another_rate_gives_the_same_verdict(rate: float, known: bool) -> None:
    dice = numpy.random.default_rng(7)
    same = program(20, 0.25)
    slower = same * numpy.where(numpy.arange(20) == 0, 1.2, 1.0)
    length = 0.01 if known else None
    alarms = found = 0
    for _ in range(PAIRS):
        baseline = reading(drawn(dice, same, 30_000), length)
        for times, expected in ((same, UNCHANGED), (slower, REGRESSION)):
            current = reading(drawn(dice, times, round(30_000 * rate)), length and length / rate)
            seen = compare.compare([baseline], [current])
            if expected == UNCHANGED:
                alarms += seen.verdict != UNCHANGED
            else:
                found += verdicts(seen)["f0"] == REGRESSION
                assert seen.total_judged is known
    assert alarms <= 1
    assert found >= 95


def in_order(dice: random.Random, times: Sequence[float], samples: int, length: float) -> Reading:
    """A profile whose samples come in stretches of a mean length, as a busy server's do."""
    sequence: list[int] = []
    while len(sequence) < samples:
        leaf = dice.choices(range(len(times)), times)[0]
        sequence += [leaf] * (1 + int(dice.expovariate(1 / length)))
    tally = Tally()
    for leaf in range(len(times)):
        tally.add(f"main (app.py:1);f{leaf} (app.py:2)", sequence.count(leaf))
    found = tally.reading("simulated")
    found.inflation = inflation(sequence)
    return found


def test_samples_that_hang_together_raise_no_alarm() -> None:
    dice = random.Random(11)
    times = [0.4, 0.3, 0.2, 0.1]
    alarms = naive = 0
    for _ in range(PAIRS):
        sides = [in_order(dice, times, 4_000, 12.0) for _ in range(2)]
        alarms += compare.compare(sides[:1], sides[1:]).verdict != UNCHANGED
        for each in sides:
            each.inflation = 1.0
        naive += compare.compare(sides[:1], sides[1:]).verdict != UNCHANGED
    assert alarms <= 1
    assert naive > 10  # what taking them for independent would have said


def test_extra_noise_between_runs_shows_in_the_spread_of_functions() -> None:
    dice = numpy.random.default_rng(5)
    same = program(40, 0.1)
    alarms = 0
    for _ in range(PAIRS):
        # Each call leaves 6 samples in a row, and nobody wrote down their order.
        sides = [[reading(dice.poisson(same * 20_000 / 6) * 6)] for _ in range(2)]
        alarms += compare.compare(*sides).verdict != UNCHANGED
    assert alarms <= 5


def pair(before: dict[str, int], after: dict[str, int], seconds: float | None = 0.01) -> Comparison:
    """Two profiles of leaves below main."""
    sides = []
    for weights in (before, after):
        tally = Tally(keep=True)
        for name, weight in weights.items():
            tally.add(f"main (app.py:1);{name}", weight)
        found = tally.reading("folded stacks")
        found.seconds_per_weight = seconds
        found.origin = "x.folded"
        sides.append(found)
    return compare.compare([sides[0]], [sides[1]], stacks=lambda: (sides[0].stacks or {}, sides[1].stacks or {}))


LEAVES = {f"f{index} (app.py:{index + 9})": 3000 + 100 * index for index in range(8)}


def test_a_slower_function_with_its_impact() -> None:
    found = pair(LEAVES, LEAVES | {"f3 (app.py:12)": 6600})
    (row,) = found.of(REGRESSION)
    assert (row.function, row.file, row.line, row.minor) == ("f3", "app.py", 12, False)
    assert row.figure.relative == pytest.approx(1.0)
    assert row.figure.change == pytest.approx(33.0)  # seconds
    assert found.verdict == REGRESSION and found.unit == "s"
    assert found.total.relative == pytest.approx(3300 / sum(LEAVES.values()))
    assert found.score == pytest.approx(100 * 268 / (268 + 33), abs=0.1)
    assert found.past(0.99) and not found.past(1.01)


def test_a_faster_function_is_an_improvement_and_costs_no_score() -> None:
    found = pair(LEAVES, LEAVES | {"f3 (app.py:12)": 1000})
    assert [row.function for row in found.of(IMPROVEMENT)] == ["f3"]
    assert (found.verdict, found.score, found.past(0.0)) == (IMPROVEMENT, 100.0, [])


def test_one_slower_one_faster_is_mixed() -> None:
    found = pair(LEAVES, LEAVES | {"f3 (app.py:12)": 1000, "f5 (app.py:14)": 7000})
    assert found.verdict == MIXED and found.score < 100


def test_a_profile_against_itself() -> None:
    found = pair(LEAVES, LEAVES)
    assert found.verdict == UNCHANGED and found.score == 100 and not found.total.found
    assert all(row.verdict == UNCHANGED for row in found.rows)
    assert 0.01 < (found.tenth or 0) < 0.5


def test_the_smallest_change_is_one_that_is_seen() -> None:
    dice = numpy.random.default_rng(3)
    same = program(12, 0.2)
    first = compare.compare([reading(drawn(dice, same, 30_000))], [reading(drawn(dice, same, 30_000))])
    least = next(row for row in first.rows if row.function == "f0").self_time.detectable
    assert least is not None
    slower = same * numpy.where(numpy.arange(12) == 0, 1 + least, 1.0)
    found = sum(
        verdicts(compare.compare([reading(drawn(dice, same, 30_000))], [reading(drawn(dice, slower, 30_000))]))["f0"]
        == REGRESSION
        for _ in range(PAIRS)
    )
    assert found >= 90  # promised are 95 of 100, give or take


def test_everything_slower_is_the_wholes_change() -> None:
    found = pair(LEAVES, {name: round(weight * 1.4) for name, weight in LEAVES.items()})
    assert found.total.found and found.total.relative == pytest.approx(0.4, abs=0.01)
    assert found.verdict == REGRESSION and found.total_past(0.05)
    assert any("in common" in note for note in found.notes)


def test_everything_more_without_a_rate_is_not_judged() -> None:
    found = pair(LEAVES, {name: weight * 3 for name, weight in LEAVES.items()}, seconds=None)
    assert found.verdict == UNCHANGED and not found.total_judged
    assert any("factor 3.00" in note for note in found.notes)


def test_two_functions_without_a_rate_are_taken_as_they_are_and_it_is_said() -> None:
    found = pair({"fast": 5000, "slow": 5000}, {"fast": 5000, "slow": 10000}, seconds=None)
    assert [row.function for row in found.of(REGRESSION) if row.function != "main"] == ["slow"]
    assert any("at one rate" in note for note in found.notes)


def test_a_new_and_a_gone_function_are_no_regressions_of_their_own() -> None:
    found = pair(LEAVES, {**{n: w for n, w in LEAVES.items() if not n.startswith("f7")}, "h (other.py:1)": 60})
    seen = verdicts(found)
    assert seen["f7"] == GONE and seen["h"] == NEW
    assert all(row.function not in ("f7", "h") for row in found.past(0.0))


def test_a_renamed_function_is_one() -> None:
    after = {name.replace("f3", "parse_row"): weight for name, weight in LEAVES.items()}
    found = pair(LEAVES, after)
    (row,) = [row for row in found.rows if row.was]
    assert (row.function, row.was, row.how) == ("parse_row", ("f3", "app.py"), "renamed")
    assert found.verdict == UNCHANGED


def test_a_moved_function_that_got_slower_is_both() -> None:
    after = {name.replace("f3 (app.py:12)", "f3 (lib/rows.py:40)"): weight for name, weight in LEAVES.items()}
    after["f3 (lib/rows.py:40)"] = 6600
    (row,) = pair(LEAVES, after).of(REGRESSION)
    assert (row.function, row.file, row.was, row.how) == ("f3", "lib/rows.py", ("f3", "app.py"), "moved")


def called(*weights: tuple[str, int], whole: bool = True, seconds: float = 100.0) -> list[Reading]:
    """A profile at 1000 Hz of what main and its handler do."""
    tally = Tally()
    for stack, weight in weights:
        tally.add(";".join(["main (app.py:1)", *stack.split()]), weight)
    found = tally.reading("folded stacks")
    found.seconds_per_weight, found.whole, found.seconds = 0.001, whole, seconds
    return [found]


REST = [("other", 40_000), ("third", 30_000), ("fourth", 20_000)]
HANDLER = [("handler", 500), ("handler parse", 9_500), *REST]


@pytest.mark.parametrize("own", [500, 800])
def test_a_total_that_grew_is_a_regression_whatever_the_self_time_did(own: int) -> None:
    calls_more = [("handler", own), ("handler parse", 9_500), ("handler validate", 4_700), *REST]
    found = compare.compare(called(*HANDLER), called(*calls_more))
    (row,) = found.of(REGRESSION)
    assert (row.function, row.minor, found.verdict) == ("handler", False, REGRESSION)
    assert comparison.change(row) == ("+50.0 % total" if own == 800 else "+47.0 % total")
    assert found.past(0.05) == [row] and found.past(0.45) == [row] and not found.past(0.55)  # +60 % of self is minor
    assert found.score == pytest.approx(100 * 100 / (100 + row.total_time.change))
    assert "slower: handler +" in comparison.line(found)
    back = compare.compare(called(*calls_more), called(*HANDLER))
    assert [row.function for row in back.of(IMPROVEMENT)] == ["handler"] and back.verdict == IMPROVEMENT


def test_self_time_is_shown_where_it_is_most_of_what_the_total_grew_by() -> None:
    after = [("handler", 3_000), ("handler parse", 9_500), ("handler validate", 1_000), *REST]
    found = compare.compare(called(*HANDLER), called(*after))
    (row,) = found.of(REGRESSION)
    assert comparison.change(row) == "+500.0 % self" and row.judged == [row.self_time, row.total_time]
    assert found.score == pytest.approx(100 * 100 / (100 + 3.5))  # the total's 3.5 s, not the self time's 2.5 s


def test_a_function_that_had_no_self_time_is_not_new_and_one_that_has_none_not_gone() -> None:
    without, with_own = called(*REST), called(("", 20_000), *REST)
    slower = comparison.line(compare.compare(without, with_own))
    assert "slower: main +22.2 % (+20.0 s)" in slower and "new" not in slower
    faster = comparison.line(compare.compare(with_own, without))
    assert "faster: main −100.0 % (−20.0 s)" in faster and "gone" not in faster
    moved = compare.compare(called(("handler parse", 10_000), *REST), called(("handler", 10_000), *REST))
    assert comparison.change(next(row for row in moved.rows if row.function == "handler")) == "from 0 self"


def test_a_while_is_compared_with_a_whole_life_by_share() -> None:
    a_while = called(*[(stack, weight // 10) for stack, weight in HANDLER], whole=False, seconds=10.0)
    for sides in ((called(*HANDLER), a_while), (a_while, called(*HANDLER))):
        found = compare.compare(*sides)
        assert (found.per, found.verdict, found.total_judged) == ("share", UNCHANGED, False)
        assert any("of a while" in note for note in found.notes)


def lives(factor: float, partial: int, *, number: int = 8) -> list[Reading]:
    """Profiles that differ by up to 3 %, the last `partial` of them of a while only."""
    found = []
    for index in range(number):
        wobble = factor * (1 + 0.03 * math.sin(index * 7.3 + factor))
        weights = [(stack, round(weight * wobble)) for stack, weight in HANDLER]
        found += called(*weights, whole=index < number - partial, seconds=100.0 * wobble)
        found[-1].origin = f"{index}.folded"
    return found


def test_one_profile_of_a_while_among_many_hides_nothing() -> None:
    """Left out and told, as long as half of a side stays."""
    for before, after in ((0, 1), (1, 0), (1, 2), (0, 4)):
        found = compare.compare(lives(1.0, before), lives(2.0, after))
        assert (found.per, found.verdict, found.total_judged) == ("run", REGRESSION, True)
        assert found.total_past(0.5) and found.total.relative == pytest.approx(1.0, abs=0.03)
        assert [len(side) for side in found.sides] == [8 - before, 8 - after]
        told = [note for note in found.notes if "left out" in note]
        assert len(told) == bool(before) + bool(after)
        if (before, after) == (0, 4):
            expected = "4 of the 8 current profiles are of a while of a running process, unlike the others: left out, "
            assert told == [expected + "4.folded first."]
    found = compare.compare(lives(1.0, 7), lives(1.0, 8))
    assert (found.per, found.total_judged) == ("second", True)  # the other way round
    assert [len(side) for side in found.sides] == [7, 8] and any("left out, 0.folded" in note for note in found.notes)


@pytest.mark.parametrize(("before", "after"), [(0, 8), (8, 0), (0, 5), (8, 1), (1, 8)])
def test_sides_that_differ_are_compared_by_share(before: int, after: int) -> None:
    found = compare.compare(lives(1.0, before), lives(2.0, after))
    assert (found.per, found.total_judged) == ("share", False)
    assert [len(side) for side in found.sides] == [8, 8] and not any("left out" in note for note in found.notes)
    assert "of a while" in found.total_unjudged


def test_what_was_said_of_a_side_stays_when_its_first_profile_is_left_out() -> None:
    side = lives(2.0, 1)[::-1]
    side[0].notes.append("3 empty profiles of this side are left out.")
    found = compare.compare(lives(1.0, 0), side)
    assert found.per == "run" and side[0] not in found.sides[1]
    assert "3 empty profiles of this side are left out." in found.notes


def test_windows_are_compared_per_second() -> None:
    sides = []
    for factor in (1, 3):
        found = reading([weight * factor for weight in LEAVES.values()], 0.01)
        found.seconds, found.whole = 100.0 * factor, False
        sides.append([found])
    outcome = compare.compare(*sides)
    assert (outcome.per, outcome.verdict) == ("second", UNCHANGED)
    assert outcome.total.relative == pytest.approx(0.0)
    assert compare.compare(*sides, per="run").total.relative == pytest.approx(2.0)


def test_time_and_bare_samples_are_compared_by_share() -> None:
    timed, bare = reading(list(LEAVES.values()), 0.01), reading([2 * each for each in LEAVES.values()])
    outcome = compare.compare([timed], [bare])
    assert (outcome.per, outcome.verdict, outcome.total_judged) == ("share", UNCHANGED, False)
    with pytest.raises(ValueError, match="only shares"):
        compare.compare([timed], [bare], per="run")
    with pytest.raises(ValueError, match="how long was recorded"):
        compare.compare([timed], [timed], per="second")


def test_memory_and_time_are_not_compared() -> None:
    memory = reading([4096, 8192])
    memory.unit = "bytes"
    with pytest.raises(ValueError, match="bytes"):
        compare.compare([memory], [reading([5, 6])])


def test_a_handful_of_samples_says_nothing_and_says_so() -> None:
    found = pair({"a": 3, "b": 2}, {"a": 1, "b": 9})
    assert found.verdict == UNCHANGED
    assert "there are too few samples to see any" in comparison.line(found)


HOSTILE = {
    "<script>alert(1)</script> (a.py:1)": 4000,
    "`x` | y \\| z (`b|`.py:2)": 4000,
    "\x1b[2J\u202eevil (c.py:3)": 4000,
    "x" * 3000 + " (d.py:4)": 4000,
    "]]> --> ``` # heading (e.py:5)": 4000,
    "ok (f.py:6)": 4000,
}


def test_hostile_names_break_no_report() -> None:
    found = pair(HOSTILE, {name: weight * (3 if name != "ok (f.py:6)" else 1) for name, weight in HOSTILE.items()})
    text = comparison.markdown(found)
    for row in [line for line in text.splitlines() if line.startswith("|")]:
        bare = row.replace("\\|", "")
        assert bare.count("|") in (5, 6, 8), row
    for written in (text, comparison.line(found), comparison_page.render(found)):
        assert "\x1b" not in written and "\u202e" not in written
    assert "<script>alert" not in comparison_page.render(found)
    assert "\n" not in comparison.line(found)
    json.dumps(comparison.document(found), allow_nan=False)


def test_the_document_is_json_with_everything_in_it() -> None:
    found = pair(LEAVES, LEAVES | {"f3 (app.py:12)": 6600, "new (z.py:1)": 9000})
    document = json.loads(json.dumps(comparison.document(found), allow_nan=False))
    assert document["verdict"] == REGRESSION and document["unit"] == "s" and document["per"] == "run"
    assert document["counts"]["regressions"] >= 1 and document["counts"]["new"] == 1
    row = next(each for each in document["functions"] if each["function"] == "f3")
    assert row["verdict"] == REGRESSION and row["impact"] == pytest.approx(33.0)
    assert row["impact_percent"] == pytest.approx(100.0)
    assert row["self"]["before"] == pytest.approx(33.0) and row["self"]["after"] == pytest.approx(66.0)
    assert document["total"]["change"] == pytest.approx(123.0)


def test_the_markdown_report_has_what_a_reader_looks_for() -> None:
    text = comparison.markdown(pair(LEAVES, LEAVES | {"f3 (app.py:12)": 6600, "f5 (app.py:14)": 1000}))
    for words in ("## ❌ Regressions", "## ✅ Improvements", "Performance score", "Total time", "+100.0 %", "+33.0 s"):
        assert words in text


def test_the_page_has_graphs_of_both_sides_in_the_colours_of_the_change() -> None:
    page = comparison_page.render(pair(LEAVES, LEAVES | {"f3 (app.py:12)": 6600, "f5 (app.py:14)": 1000}))
    assert page.count("<svg") == 2
    assert "hsl(4,85%,64%)" in page and "hsl(212," in page  # f3's doubling, f5's two thirds less
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "") and "https://" not in page
