"""`guard overhead`: what watching and each way of profiling cost a command, with and without, in turn.

Every block runs each way once, in random order, so that a machine that gets slower or busier does so for all of them;
a block gives one ratio a way. What is compared is the command's own life, from its start to its end: guard's start-up
and what it writes afterwards are told apart. Statistics are pure; `Executor` is the only seam to processes.
"""

from __future__ import annotations

import json
import math
import os
import random
import select
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, NoReturn, Protocol

from supervisor import libc
from supervisor.errors import GuardError
from supervisor.settings import PRESETS

NONE, WATCH = "none", "watch"
WAYS = (NONE, WATCH, "dev", "prod", "ci", "critical")
PRESET_OF = {"dev": "development", "prod": "production", "ci": "ci", "critical": "critical"}
CONFIDENCE = 0.95
_OUTLIER = 3.5  # modified z-score: Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993
_TAIL = 1 << 16
# Tells by a pipe when the command begins, and by the pipe's end when it has ended: the same way with and without guard.
_TELLING = 'exec 9>"$1"; shift; printf x >&9; exec "$@"'
_FINISH_S = 60.0


@dataclass(frozen=True, slots=True)
class Timing:
    """One run: the command's own life, the whole of it as seen from outside, and its exit code.

    `note` is what a profile says of itself: its rate and samples.
    """

    life_s: float
    whole_s: float
    code: int
    note: dict[str, Any] = field(default_factory=dict)


class Executor(Protocol):
    """Runs the command one way."""

    def run(self, way: str) -> Timing:
        """One run to its end. Raises GuardError when it can't be run."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one way costs. Shares are of the command's life without guard: 0.03 is 3 % slower.

    `interval` holds the median with at least `coverage` confidence, from the order of the ratios alone.
    """

    way: str
    runs: int
    median_s: float
    quartiles_s: tuple[float, float]
    overhead: float
    interval: tuple[float, float]
    coverage: float
    own_s: float
    outliers: int
    budget: float | None
    rate_hz: float | None
    samples: int | None

    @property
    def verdict(self) -> str:
        """`inside` the budget by the whole interval, `over` it by the whole interval, `open` else; `-` without one.

        An interval of less than 95 % confidence decides nothing.
        """
        if self.budget is None:
            return "-"
        if self.coverage < CONFIDENCE:
            return "open"
        if self.interval[1] <= self.budget:
            return "inside"
        return "over" if self.interval[0] > self.budget else "open"


Block = dict[str, Timing]


def blocks(
    executor: Executor, ways: tuple[str, ...], runs: int, warmup: int, seed: int, tell: Callable[[str], None]
) -> Iterator[Block]:
    """Blocks of one run a way in random order; those of the warm-up are run and left out. Raises GuardError."""
    order = random.Random(seed)
    for number in range(warmup + runs):
        block: Block = {}
        for way in order.sample(ways, len(ways)):
            tell(way)
            block[way] = executor.run(way)
        if number >= warmup:
            yield {way: block[way] for way in ways}


def summarise(found: list[Block], ways: tuple[str, ...]) -> list[Row]:
    """A row a way, of at least one block."""
    rows = []
    for way in ways:
        lives = [block[way].life_s for block in found]
        ratios = [block[way].life_s / block[NONE].life_s - 1 for block in found]
        low, high, coverage = median_interval(ratios)
        preset = PRESETS[PRESET_OF[way]].values if way in PRESET_OF else {}
        notes = [block[way].note for block in found if block[way].note]
        rows.append(
            Row(
                way=way,
                runs=len(lives),
                median_s=statistics.median(lives),
                quartiles_s=quartiles(lives),
                overhead=statistics.median(ratios),
                interval=(low, high),
                coverage=coverage,
                own_s=statistics.median(block[way].whole_s - block[way].life_s for block in found),
                outliers=outliers(lives),
                budget=preset.get("overhead-budget"),
                rate_hz=statistics.median(note["used_rate_hz"] for note in notes) if notes else None,
                samples=round(statistics.median(note["samples"] for note in notes)) if notes else None,
            )
        )
    return rows


def median_interval(values: list[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """An interval for the median that supposes nothing about the distribution, and the confidence it really has.

    The k-th smallest and k-th largest value hold the median with 1 − 2·P(Binomial(n, ½) < k). With fewer than six
    values even the smallest and the largest fall short of 95 %.
    """
    ordered = sorted(values)
    count = len(ordered)
    chosen, tail = 1, 0.5**count
    for k in range(2, count // 2 + 1):
        below = sum(math.comb(count, each) for each in range(k)) * 0.5**count
        if 1 - 2 * below < confidence:
            break
        chosen, tail = k, below
    return ordered[chosen - 1], ordered[-chosen], max(0.0, 1 - 2 * tail)


def quartiles(values: list[float]) -> tuple[float, float]:
    """The lower and the upper quartile; of one value, that value."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def outliers(values: list[float]) -> int:
    """How many lie far from the rest, by their distance from the median in median distances."""
    middle = statistics.median(values)
    distance = statistics.median(abs(value - middle) for value in values)
    if distance == 0:
        return 0
    return sum(0.6745 * abs(value - middle) / distance > _OUTLIER for value in values)


class Processes:
    """The executor that starts processes. `guard`: how guard is started; everything it leaves goes to `scratch`."""

    def __init__(self, command: list[str], guard: list[str], scratch: str, *, failing: bool = False) -> None:
        self._command = command
        self._guard = guard
        self._scratch = scratch
        self._failing = failing
        self._number = 0

    def run(self, way: str) -> Timing:
        """One run; stdin is empty and output goes nowhere. Raises GuardError when it fails and may not."""
        self._number += 1
        profiles = os.path.join(self._scratch, f"{self._number:04d}")
        fifo = os.path.join(self._scratch, f"{self._number:04d}.life")
        os.mkfifo(fifo, 0o600)
        read_end = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            with tempfile.TemporaryFile(dir=self._scratch) as said:
                line = self._line(way, profiles, fifo)
                timed = _timed(line, read_end, said)
                size = said.seek(0, os.SEEK_END)
                said.seek(max(0, size - _TAIL))
                tail = said.read()
        finally:
            os.close(read_end)
            os.unlink(fifo)
        code, life_s, whole_s = timed
        if life_s is None:
            why, hint = _refusal(tail)
            raise GuardError(
                f"{self._command[0]} was not started ({way})",
                why=why or f"guard ended with code {code}",
                hint=hint or "guard doctor",
            )
        if code and not self._failing:
            words = _words(tail)
            raise GuardError(
                f"{self._command[0]} ended with code {code} ({way})",
                why=words[-1][:200] if words else "",
                hint="guard overhead --ignore-failure -- COMMAND, if that is how it ends",
                code=1,
            )
        try:
            return Timing(life_s, whole_s, code, _note(way, tail))
        finally:
            shutil.rmtree(profiles, ignore_errors=True)

    def _line(self, way: str, profiles: str, fifo: str) -> list[str]:
        command = ["/bin/sh", "-c", _TELLING, "sh", fifo, *self._command]
        if way == NONE:
            return command
        verb = ["run", "--log-format", "json"] if way == WATCH else ["profile", "--cpu", "--json", "--mode", way]
        return [*self._guard, *verb, "--profiles-dir", profiles, "--", *command]


def _words(tail: bytes) -> list[str]:
    """The lines for people in what was printed on stderr."""
    return [line for line in tail.decode("utf-8", "replace").splitlines() if line.strip() and line[0] != "{"]


def _refusal(tail: bytes) -> tuple[str, str]:
    """Why guard didn't start a command, and what to type next, as it said on stderr; empty where it said nothing."""
    words = _words(tail)
    why = next((line for line in reversed(words) if line.startswith("guard: ")), "").removeprefix("guard: ")
    hint = next((line for line in reversed(words) if line.startswith("  try: ")), "").removeprefix("  try: ")
    return why[:200], hint[:200]


def _timed(line: list[str], life: int, said: IO[bytes]) -> tuple[int, float | None, float]:
    """Run a line; its code, the life of the command in it and of the whole. Raises GuardError.

    A command that never began has no life: None.
    """
    began_s = time.monotonic()
    try:
        process = subprocess.Popen(
            line,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - there is one thread
        )
    except OSError as error:
        raise GuardError(
            f"{line[0]} can't be run", why=os.strerror(error.errno or 0), hint=f"ls -l {line[0]}"
        ) from None
    try:
        started_s, ended_s = _life(process, life)
        code = process.wait()
    except (KeyboardInterrupt, SystemExit):
        _stop(process)
        raise
    gone_s = time.monotonic()
    return code, None if started_s is None else (ended_s or gone_s) - started_s, gone_s - began_s


def _life(process: subprocess.Popen[bytes], life: int) -> tuple[float | None, float | None]:
    """When the command wrote its byte, and when it let go of the pipe, or None when the whole line ended first."""
    started_s: float | None = None
    end = os.pidfd_open(process.pid)
    poller = select.poll()
    poller.register(life, select.POLLIN)
    poller.register(end, select.POLLIN)
    try:
        while True:
            ready = dict(poller.poll())
            now_s = time.monotonic()
            if life in ready:
                if os.read(life, 64):
                    started_s = now_s
                elif started_s is not None:
                    return started_s, now_s
            if end in ready:
                return started_s, None
    finally:
        os.close(end)


def _note(way: str, tail: bytes) -> dict[str, Any]:
    """What a profile says of its rate, from the last line that guard printed."""
    if way not in PRESET_OF:
        return {}
    try:
        result = json.loads(tail.splitlines()[-1])["profiles"]["cpu-profile"]
        return {key: result[key] for key in ("used_rate_hz", "samples")}
    except (ValueError, KeyError, IndexError, TypeError):
        return {}


def _die_with_parent() -> None:
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGTERM)


def end_by(number: int, _frame: object = None) -> NoReturn:
    """A signal's handler: ends by way of whoever has something to tidy up, and only once."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_FINISH_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def table(rows: list[Row]) -> list[str]:
    """The rows for people, as a Markdown table that reads well in a terminal, too."""
    head = (
        "way", "command's life", "quartiles", "overhead", "interval", "budget", "", "rate", "guard's own", "outliers",
    )  # fmt: skip
    lines = [head]
    for row in rows:
        low, high = row.interval
        first = row.way == NONE
        lines.append(
            (
                row.way,
                f"{row.median_s:.3f} s",
                f"{row.quartiles_s[0]:.3f}–{row.quartiles_s[1]:.3f} s",
                "" if first else f"{row.overhead * 100:+.1f} %",
                "" if first else f"{low * 100:+.1f} to {high * 100:+.1f} %",
                "" if row.budget is None else f"{row.budget * 100:.3g} %",
                "" if first or row.verdict == "-" else row.verdict,
                "" if row.rate_hz is None else f"{row.rate_hz:.4g} Hz",
                "" if first else f"{row.own_s:.2f} s",
                str(row.outliers) if row.outliers else "",
            )
        )
    wide = [max(len(line[column]) for line in lines) for column in range(len(head))]

    def shown(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(f"{cell:<{width}}" for cell, width in zip(cells, wide, strict=True)) + " |"

    return [shown(lines[0]), "|" + "|".join("-" * (width + 2) for width in wide) + "|", *map(shown, lines[1:])]


def remarks(rows: list[Row]) -> list[str]:
    """What to know before the figures are believed."""
    said = [f"Intervals hold the median with {rows[0].coverage * 100:.1f} % confidence ({rows[0].runs} blocks)."]
    if rows[0].coverage < CONFIDENCE:
        said.append("That is less than 95 %: --runs 6 or more.")
    if any(row.outliers for row in rows):
        said.append("There are outliers: something else may have used the machine; run it on a quieter one.")
    if rows[0].median_s < 1.0:
        said.append("The command is short: much of its life has passed before a profiler can attach.")
    return said


def document(rows: list[Row], command: list[str]) -> dict[str, Any]:
    """The rows for programs: seconds and shares."""
    return {
        "schema_version": 1,
        "command": command,
        "blocks": rows[0].runs,
        "coverage": round(rows[0].coverage, 4),
        "ways": [
            {
                "way": row.way,
                "runs": row.runs,
                "median_s": round(row.median_s, 6),
                "quartiles_s": [round(each, 6) for each in row.quartiles_s],
                "overhead": round(row.overhead, 6),
                "interval": [round(each, 6) for each in row.interval],
                "budget": row.budget,
                "verdict": row.verdict,
                "own_s": round(row.own_s, 6),
                "outliers": row.outliers,
                "rate_hz": row.rate_hz,
                "samples": row.samples,
            }
            for row in rows
        ],
        "remarks": remarks(rows),
    }
