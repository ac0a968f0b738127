"""How to sample a target inside an overhead budget: which way, how often, and why. Pure.

A blocking profiler stops the target for every sample, so a sample costs the target what it costs the profiler, and
that grows with the number of threads (0.2 ms for one, 9 ms for 64) and with the wait for a busy processor. Without
stopping it costs the target nothing but the processor that the profiler uses, which is one of those the target may
use. The figures of the first guess are those of py-spy 0.4.3, Python 3.11 and Linux 6.18; what is measured on the
target itself corrects them.
"""

from __future__ import annotations

MOST_HZ = 1000  # beyond it py-spy falls behind
ENOUGH_HZ = 60  # a rate at which nothing is given up for a higher one
ROOM = 0.65  # of the budget: what a guess is wrong by, and the profiler's own start
_WAIT_S = 1.5e-3  # what a sample waits where somebody always waits for a processor
_LEAST = 0.2  # of the budget, for samples
_OVER = 1.5  # measured against the budget: end a slice that takes more


class Way:
    """How samples are taken: `nonblocking` doesn't stop the target, `gil` sees only the thread that holds the GIL."""

    __slots__ = ("gil", "nonblocking")

    def __init__(self, nonblocking: bool, gil: bool) -> None:
        self.nonblocking = nonblocking
        self.gil = gil

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Way) and (self.nonblocking, self.gil) == (other.nonblocking, other.gil)

    def __hash__(self) -> int:
        return hash((self.nonblocking, self.gil))

    def __str__(self) -> str:
        threads = "the thread that holds the GIL" if self.gil else "all threads"
        return f"{threads}, {'without stopping the target' if self.nonblocking else 'stopping the target'}"

    def guess_s(self, threads: int) -> float:
        """Seconds that one sample costs the profiler, and with it a stopped target."""
        if self.nonblocking:
            return 0.2e-3 if self.gil else 0.12e-3 + 0.04e-3 * threads
        return 0.15e-3 + 0.05e-3 * threads if self.gil else 0.1e-3 + 0.14e-3 * threads

    @property
    def stop_factor(self) -> float:
        """Stopped time by the profiler's processor time: it sleeps while threads come to a stop."""
        return 1.5 if self.gil and not self.nonblocking else 1.0


class Plan:
    """What to do next: a way, a rate, the threads there were, and why."""

    __slots__ = ("rate_hz", "reason", "threads", "way")

    def __init__(self, way: Way, rate_hz: int, threads: int, reason: str) -> None:
        self.way = way
        self.rate_hz = rate_hz
        self.threads = threads
        self.reason = reason


class Pace:
    """Plans for one target, and what was learnt about it. `budget` None: no budget; `cores`: the target may use.

    `ways` are those allowed, the most truthful first. `pressure` is the share of time in which somebody waits for a
    processor (PSI): the profiler will, too, with the target stopped.
    """

    def __init__(
        self, asked_hz: int, budget: float | None, cores: float, ways: tuple[Way, ...], pressure: float = 0.0
    ) -> None:
        self.asked_hz = asked_hz
        self.budget = budget
        self.most_hz = min(asked_hz, MOST_HZ)
        self._cores = max(0.1, cores)
        self._ways = ways
        self._wait_s = _WAIT_S * pressure
        self._start_share = 0.0  # of the target's time, what starting the profiler takes for each slice
        self._measured: dict[Way, float] = {}  # what samples cost, by what was guessed
        self._last: Plan | None = None
        self._cap = "the rate that was asked"
        if self.most_hz < asked_hz:
            self._cap = f"profilers fall behind above {MOST_HZ} Hz"

    def allow(self, ways: tuple[Way, ...], start_share: float = 0.0) -> None:
        """Another profiler, with ways of its own: what was learnt of the last one's doesn't hold for it.

        `start_share`: how much of one processor its starts take, beyond what `ROOM` has room for.
        """
        self._start_share = start_share / self._cores
        self._ways = ways
        self._measured = {}
        self._last = None

    def cost_s(self, way: Way, threads: int) -> float:
        """Seconds that a sample takes the profiler: guessed, corrected by what was measured."""
        guess_s = way.guess_s(threads)
        measured = self._measured.get(way)
        if measured is not None:
            return guess_s * measured
        return guess_s if way.nonblocking else guess_s + self._wait_s

    def share_per_hz(self, way: Way, threads: int) -> float:
        """What one sample a second takes of the target's time."""
        cost_s = self.cost_s(way, threads)
        return cost_s / self._cores if way.nonblocking else cost_s * way.stop_factor

    def plan(self, threads: int) -> Plan:
        """The highest rate inside the budget; nothing is given up for it beyond `ENOUGH_HZ`."""
        if self.budget is None:
            way = self._ways[0]
            return Plan(way, self.most_hz, threads, f"no budget; {self._cap}")
        best: Plan | None = None
        for way in self._ways:
            share = self.share_per_hz(way, threads)
            fits = max(_LEAST * self.budget, self.budget - self._start_share) * ROOM / share
            rate_hz = max(1, min(self.most_hz, int(fits)))
            if best is None or rate_hz > best.rate_hz:
                known = "costs" if way in self._measured else "should cost"
                cost = f"one sample {known} {self.cost_s(way, threads) * 1e3:.2g} ms with {_threads(threads)}"
                why = f"the budget of {self.budget * 100:.3g} %" if fits < self.most_hz else self._cap
                over = "; even this is over it" if fits < 1 else ""
                best = Plan(way, rate_hz, threads, f"{way}: {cost}; {why}{over}")
            if best.rate_hz >= min(self.most_hz, ENOUGH_HZ):
                break
        assert best is not None
        self._last = self._kept(best)
        return self._last

    def _kept(self, best: Plan) -> Plan:
        """The last plan where it still fits and the new one is hardly better: one rate is easier to read."""
        last = self._last
        if last is None or last.way != best.way or last.rate_hz > self.most_hz or self.budget is None:
            return best
        fits = last.rate_hz * self.share_per_hz(last.way, best.threads) <= self.budget
        if fits and best.rate_hz < 1.3 * last.rate_hz:
            return Plan(last.way, last.rate_hz, best.threads, last.reason)
        return best

    def learn(self, plan: Plan, cost_s: float, samples: float) -> None:
        """Take in what a number of samples cost: the profiler's time, waiting included where the target is stopped."""
        if samples >= 5 and cost_s > 0:
            ratio = cost_s / samples / plan.way.guess_s(plan.threads)
            self._measured[plan.way] = min(100.0, max(0.05, ratio))

    def too_dear(self, plan: Plan, cost_s: float, samples: float) -> bool:
        """Whether these samples took so much more than the budget that their slice should end now."""
        if self.budget is None or samples < 5 or plan.rate_hz <= 1:
            return False
        each_s = cost_s / samples
        share = each_s / self._cores if plan.way.nonblocking else each_s * plan.way.stop_factor
        return share * plan.rate_hz > _OVER * self.budget

    def fell_behind(self, achieved_hz: float) -> None:
        """The profiler could not keep the rate: ask for no more than it reached."""
        if achieved_hz < self.most_hz:
            self.most_hz = max(1, int(achieved_hz))
            self._cap = "the rate that the profiler could keep"

    def halve(self) -> None:
        """The sample cap is reached: half the rate from here on."""
        self.most_hz = max(1, self.most_hz // 2)
        self._cap = "the sample cap, which halves the rate when it is reached"


def ways(*, gil: bool, idle: bool, native: bool, nonblocking: bool) -> tuple[Way, ...]:
    """The ways that what was asked leaves open. Native stacks need a stopped target; idle threads hold no GIL."""
    if nonblocking:
        return (Way(True, gil),)
    found = [Way(False, gil)]
    if not native:
        found.append(Way(True, gil))
    if not gil and not idle:
        found.append(Way(native is False, True))
    return tuple(found)


def _threads(number: int) -> str:
    return "one thread" if number == 1 else f"{number} threads"
