"""The list of runs: a line a run, filters, a table for people and rows for programs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from supervisor import evidence
from supervisor.analysis.text import counted, shorten, visible
from supervisor.errors import UsageError
from supervisor.evidence import Run
from supervisor.evidence.fields import moment, sequence, text
from supervisor.model import STATES
from supervisor.quantities import BadValue, human_bytes, human_duration, parse_duration

SCHEMA_VERSION = 1
_FEW_RUNS = 3  # of fewer a quantile says nothing that the peaks themselves don't
OUTCOMES = ("running", "exited", "signalled", "oom-killed", "stopped", "guard-killed", "replaced")


@dataclass(frozen=True, slots=True)
class Row:
    """A run in the list. `outcome` is `running` while a guard holds its lock, `guard-killed` without an end record."""

    run: str
    path: str
    started_s: float | None
    command: tuple[str, ...]
    outcome: str
    code: int | None
    signal: str | None
    elapsed_s: float | None
    peak_bytes: int | None
    limit_bytes: int | None
    highest_state: str
    oom_kills: int | None
    suspect: str | None
    evidence: int


@dataclass(frozen=True, slots=True)
class Filter:
    """Which runs are wanted; empty fields let all pass. `state`: this one or a higher one was reached."""

    outcomes: tuple[str, ...] = ()
    state: str = ""
    command: str = ""
    since_s: float | None = None

    def passes(self, row: Row) -> bool:
        """Whether a run is wanted."""
        if self.outcomes and row.outcome not in self.outcomes:
            return False
        if self.state and STATES.index(row.highest_state) < STATES.index(self.state):
            return False
        if self.command and self.command.lower() not in f"{row.run} {' '.join(row.command)}".lower():
            return False
        return self.since_s is None or (row.started_s is not None and row.started_s >= self.since_s)


def filter_of(outcomes: Iterable[str], state: str, command: str, since: str, now_s: float) -> Filter:
    """The filter of these options. Raises UsageError for a word that is none."""
    words = tuple(word for each in outcomes for word in each.split(","))
    for word in words:
        if word not in OUTCOMES:
            raise UsageError(f"--outcome {word!r}: not accepted", why=f"it takes {', '.join(OUTCOMES)}")
    if state and state not in STATES:
        raise UsageError(f"--state {state!r}: not accepted", why=f"it takes {', '.join(STATES)}")
    return Filter(words, state, command, _since(since, now_s) if since else None)


def _since(given: str, now_s: float) -> float:
    """A moment from a time ago (`2h`, `7d`) or a date (`2026-11-24`, `2026-11-24T11:16`), UTC."""
    found = moment(given if len(given) > 10 else f"{given}T00:00:00") or moment(f"{given}:00")
    if found is not None:
        return found
    try:
        if given.isdigit():
            raise BadValue
        return now_s - parse_duration(given, 1.0)
    except BadValue:
        raise UsageError(
            f"--since {given[:80]!r}: not accepted", why="it takes a time ago such as 2h or 7d, or a date as 2026-11-24"
        ) from None


def row_of(run: Run) -> Row:
    """The run's line. Without an end record its peak and its states come from the flight."""
    record = run.record
    peak, elapsed_s, highest = record.peak_bytes, record.elapsed_s, record.highest_state
    if record.outcome is None:
        for sample in evidence.flight(run):
            peak = max(peak or 0, sample.rss_bytes)
            elapsed_s = sample.elapsed_s
            highest = max(highest or "ok", sample.state, key=STATES.index)
        files = {item.name for item in evidence.items(run)}
    else:
        paths = [path for each in sequence(record.raw.get("evidence")) if (path := text(each)) is not None]
        files = {path.rpartition("/")[2].partition(".")[0] for path in paths}
    return Row(
        run=run.id,
        path=run.path,
        started_s=record.started_s,
        command=record.command,
        outcome=run.outcome,
        code=record.code,
        signal=record.signal,
        elapsed_s=elapsed_s,
        peak_bytes=peak,
        limit_bytes=record.limit_bytes,
        highest_state=highest or "ok",
        oom_kills=record.oom_kills,
        suspect=record.suspect.named or record.suspect.name if record.suspect else None,
        evidence=len(files),
    )


def document(root: str, rows: Sequence[Row]) -> dict[str, Any]:
    """For programs, newest first."""
    return {"schema_version": SCHEMA_VERSION, "root": root, "runs": [_row_document(row) for row in rows]}


def _row_document(row: Row) -> dict[str, Any]:
    when = None if row.started_s is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(row.started_s))
    return {
        "run": row.run,
        "path": row.path,
        "started": when,
        "command": list(row.command),
        "outcome": row.outcome,
        "code": row.code,
        "signal": row.signal,
        "elapsed_s": row.elapsed_s,
        "peak_bytes": row.peak_bytes,
        "limit_bytes": row.limit_bytes,
        "highest_state": row.highest_state,
        "oom_kills": row.oom_kills,
        "suspect": row.suspect,
        "evidence": row.evidence,
    }


def table(root: str, rows: Sequence[Row], total: int, width: int | None) -> str:
    """For people, newest first; lines are cut to `width` where one is given."""
    if not rows:
        if total:
            return f"none of {counted(total, 'run', 'runs')} in {visible(root)} fits"
        return f"there is no run in {visible(root)}; guard run -- COMMAND makes one"
    head = ("WHEN (UTC)", "OUTCOME", "LASTED", "PEAK", "STATE", "EVIDENCE", "RUN", "COMMAND")
    cells = [_cells(row) for row in rows]
    widths = [max(len(line[column]) for line in (head, *cells)) for column in range(len(head) - 1)]
    lines = []
    for line in (head, *cells):
        padded = [
            f"{cell:>{wide}}" if column in (2, 3, 5) else f"{cell:<{wide}}"
            for column, (cell, wide) in enumerate(zip(line, widths, strict=False))
        ]
        whole = "  ".join([*padded, line[-1]]).rstrip()
        lines.append(shorten(whole, width) if width else whole)
    return "\n".join(lines)


def _cells(row: Row) -> tuple[str, ...]:
    when = "?" if row.started_s is None else time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(row.started_s))
    how = row.outcome
    if row.outcome == "exited":
        how = f"exited {row.code}"
    elif row.signal and row.outcome in ("signalled", "stopped"):
        how = f"{row.outcome} {row.signal}"
    return (
        when,
        visible(how),
        # Killed, a guard leaves when it last looked: it ran at least as long.
        ("> " if row.outcome == "guard-killed" else "") + human_duration(row.elapsed_s)
        if row.elapsed_s is not None
        else "?",
        human_bytes(row.peak_bytes) if row.peak_bytes else "?",
        row.highest_state,
        str(row.evidence),
        visible(row.run),
        shorten(visible(" ".join(row.command)), 200),
    )


def limits_text(sizings: Sequence[Mapping[str, Any]]) -> str:
    """The right limits, a paragraph a command, from `limits.document`s."""
    return "\n\n".join("\n".join(_limit_lines(each)) for each in sizings) or "no run has ended whose peak is known"


def _limit_lines(found: Mapping[str, Any]) -> list[str]:
    n = found["runs"]
    left_out = f" ({found['left_out']} that did not end are left out)" if found["left_out"] else ""
    lines = [f"{visible(found['command'] or found['name'])}: {counted(n, 'run', 'runs')}{left_out}"]
    highest = human_bytes(found["highest_peak_bytes"])
    if found["oom_killed"]:
        lines.append(f"  {found['oom_killed']} OOM-killed; the highest peak or limit reached was {highest}")
    else:
        sure = f"with {found['confidence'] * 100:.0f} % confidence it covers {found['highest_peak_covers'] * 100:.3g} %"
        lines.append(f"  all would have lived with {highest}; {sure} of runs to come")
    for each in found["quantiles"] if n >= _FEW_RUNS else ():
        upper = "no bound yet" if each["to_bytes"] is None else human_bytes(each["to_bytes"])
        lower = human_bytes(each["from_bytes"])
        at = "?" if each["bytes"] is None else human_bytes(each["bytes"])
        lines.append(f"  {each['quantile'] * 100:g} % of peaks up to {at} (95 %: {lower} to {upper})")
    for each in found["smaller_limits"] if n >= _FEW_RUNS else ():
        share = f"{each['share_from'] * 100:.3g} to {each['share_to'] * 100:.3g} % of runs"
        lines.append(
            f"  {human_bytes(each['limit_bytes'])} would have ended {each['would_have_died']} of {n} ({share})"
        )
    if found["caution"]:
        lines.append(f"  {found['caution']}")
    return [*lines, *(f"  {line}" for line in found["resources_yaml"].splitlines())]
