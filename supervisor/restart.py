"""Whether an ended target is started again, and after how long. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervisor.config import Config

FIRST_WAIT_S, FACTOR, LONGEST_WAIT_S = 0.1, 1.5, 15.0
GOOD_UP_S = 30.0
JITTER = 0.2
# guard's own reasons to end a life: what was asked for is started again at once and counts as no failure.
ASKED = ("reload", "restart")
MEMORY = "restart-at"
# And for good, when it is asked for by guard ctl.
STOP = "stop"


class Ending:
    """How a life ended. `code` as guard would exit with it; `ended_for`: why guard itself ended it, empty when it
    didn't; `stopped`: somebody outside asked for a stop.
    """

    __slots__ = ("code", "ended_for", "stopped", "up_s")

    def __init__(self, code: int, up_s: float, *, stopped: bool = False, ended_for: str = "") -> None:
        self.code = code
        self.up_s = up_s
        self.stopped = stopped
        self.ended_for = ended_for


class Verdict:
    """`again`, after `wait_s`, or `for_change`: when files change; `reason` in words.

    `in_a_row`: restarts without a good time up, this one included.
    """

    __slots__ = ("again", "for_change", "in_a_row", "reason", "wait_s")

    def __init__(
        self, again: bool, reason: str, in_a_row: int = 0, wait_s: float = 0.0, *, for_change: bool = False
    ) -> None:
        self.again = again
        self.for_change = for_change
        self.reason = reason
        self.in_a_row = in_a_row
        self.wait_s = wait_s


def verdict(ending: Ending, config: Config, in_a_row: int, chance: float) -> Verdict:
    """`in_a_row`: restarts before this ending; `chance` in [0, 1) spreads the waits of many guards."""
    if ending.stopped:
        return Verdict(False, "a stop was asked for")
    if ending.up_s >= GOOD_UP_S:
        in_a_row = 0
    if ending.ended_for in ASKED:
        return Verdict(True, ending.ended_for, in_a_row)
    reason = why(ending, config.restart)
    if config.reload and ending.ended_for != MEMORY and (not reason or ending.up_s < GOOD_UP_S):
        return Verdict(True, f"it ended by itself, code {ending.code}", in_a_row, for_change=True)
    if not reason:
        return Verdict(False, f"--restart {config.restart}, code {ending.code}", in_a_row)
    if config.restart_max is not None and in_a_row >= config.restart_max:
        times = "once" if in_a_row == 1 else f"{in_a_row} times in a row"
        return Verdict(False, f"it was restarted {times} (--restart-max)", in_a_row)
    return Verdict(True, reason, in_a_row + 1, wait(in_a_row, chance))


def why(ending: Ending, policy: str) -> str:
    """Why the policy asks for a restart; empty when it doesn't."""
    if ending.ended_for == MEMORY:
        return MEMORY
    if policy == "always":
        return f"--restart always, code {ending.code}"
    if policy == "on-failure" and ending.code != 0:
        return f"--restart on-failure, code {ending.code}"
    return ""


def wait(in_a_row: int, chance: float) -> float:
    """Seconds before the next start, after so many restarts in a row."""
    grown = min(FIRST_WAIT_S * FACTOR ** min(in_a_row, 50), LONGEST_WAIT_S)
    return float(min(grown * (1 - JITTER + 2 * JITTER * chance), LONGEST_WAIT_S))


def worth_a_line(in_a_row: int) -> bool:
    """Whether the n-th of a crash loop is told: the first ones, then the 4th, 8th, 16th, ..."""
    return in_a_row <= 3 or in_a_row & (in_a_row - 1) == 0
