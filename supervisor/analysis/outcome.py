"""What a comparison says: figures, rows, verdicts."""

from __future__ import annotations

import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervisor.analysis.folded import Key
    from supervisor.analysis.reading import Reading

REGRESSION, IMPROVEMENT, UNCHANGED = "regression", "improvement", "no detectable change"
MINOR = 0.005  # of the whole: a smaller change is listed and decides nothing
NEW, GONE, MIXED = "new", "gone", "mixed"


class Figure:
    """One time of one function, or of the whole: before, after, and whether the difference is more than chance.

    `chance` is corrected for the number of functions; None where there were too few samples to ask. `detectable` is
    the smallest relative change that would have been found, None where none would.
    """

    __slots__ = ("after", "before", "chance", "detectable", "found")

    def __init__(self, before: float, after: float) -> None:
        self.before = before
        self.after = after
        self.chance: float | None = None
        self.detectable: float | None = None
        self.found = False

    @property
    def change(self) -> float:
        """After less before."""
        return self.after - self.before

    @property
    def relative(self) -> float | None:
        """The change as a part of before, None where that is 0."""
        return self.change / self.before if self.before > 0 else None


class Row:
    """One function. `was` is what it was called before, where that differs; `minor` changes decide nothing.

    `verdict` rests on `judged`: the self time, the total, or both where they changed the same way. `figure` is the one
    that is shown.
    """

    __slots__ = (
        "figure", "file", "function", "how", "judged", "line", "minor", "self_time", "total_time", "verdict", "was",
    )  # fmt: skip

    def __init__(self, function: str, file: str | None, line: int | None, self_time: Figure, total_time: Figure):
        self.function = function
        self.file = file
        self.line = line
        self.self_time = self_time
        self.total_time = total_time
        self.figure = self_time
        self.judged: list[Figure] = []
        self.verdict = UNCHANGED
        self.minor = False
        self.was: Key | None = None
        self.how = "same"


class Comparison:
    """The outcome. Times are in `unit` (`s`, `samples`, `bytes`, with `per` = `run`, `second` or `share`)."""

    def __init__(self, sides: tuple[list[Reading], list[Reading]], unit: str, per: str) -> None:
        self.sides = sides
        self.unit = unit
        self.per = per
        self.rows: list[Row] = []
        self.total = Figure(0.0, 0.0)
        self.total_judged = True
        self.total_unjudged = ""  # why it isn't
        self.verdict = UNCHANGED
        self.score = 100.0
        self.method = ""
        self.tested = 0
        self.tenth: float | None = None
        self.notes: list[str] = []
        self.same_place: dict[Key, Key] = {}  # what the baseline calls functions whose path only is written otherwise

    def of(self, verdict: str) -> list[Row]:
        """The functions with a verdict, those that changed most first."""
        return [row for row in self.rows if row.verdict == verdict]

    def past(self, limit: float) -> list[Row]:
        """Functions whose self or total time regressed by more than `limit` of itself (0.05: 5 %), minor ones apart."""
        return [
            row
            for row in self.of(REGRESSION)
            if any(relative(each) > limit for each in row.judged if self.matters(each))
        ]

    def matters(self, figure: Figure) -> bool:
        """Whether a change is so large a part of the whole that it decides something."""
        return abs(figure.change) >= MINOR * self.total.before

    def total_past(self, limit: float) -> bool:
        """Whether the whole takes more than `limit` longer."""
        return self.total.found and self.total_judged and relative(self.total) > limit


def relative(figure: Figure) -> float:
    return math.inf if figure.relative is None else figure.relative
