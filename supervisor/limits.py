"""The right limit: from what runs reached, which limit would have lived and where a smaller one would have died.

A run's **peak** is what a limit would have been held against: the cgroup's use where one limited it, else the tree's
RSS with guard's own. Peaks of runs of one command are taken as independent; nothing is assumed of their distribution.
A run that was OOM-killed would have wanted more than it got: its peak counts as "at least". How much of all runs a
limit covers is said with its confidence, and a program that still grew when it ended is told apart: no limit is right
for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import Any

from supervisor import evidence
from supervisor.analysis.quantiles import CONFIDENCE, covered, quantile, share_interval
from supervisor.analysis.text import shorten
from supervisor.evidence import FlightSample, Run, fields
from supervisor.evidence.climb import last_climb, living
from supervisor.quantities import human_percent
from supervisor.store import command_name

MARGIN = 0.10  # a peak between two samples is not seen; nor is what the next release will want
REQUEST_QUANTILE = 0.9
QUANTILES = (0.5, 0.9, 0.95, 0.99)
_MEBIBYTE = 1 << 20
_LEAST_REQUEST_BYTES = 16 << 20
_TRIED_SHARES = (0.9, 0.75, 0.5)
_ENDED = ("exited", "signalled", "stopped", "replaced", "oom-killed")


@dataclass(frozen=True, slots=True)
class Peak:
    """What one run wanted. `cut_off`: it was OOM-killed, so it wanted more. `unfinished`: it has no end, and might
    have. `grew`: it grew still when last seen."""

    run: str
    name: str
    size_bytes: int
    cut_off: bool = False
    unfinished: bool = False
    grew: bool = False


@dataclass(frozen=True, slots=True)
class Death:
    """When a smaller limit would have ended a run: seconds from its start, None when the flight doesn't tell."""

    limit_bytes: int
    at_s: float | None


@dataclass(frozen=True, slots=True)
class Sizing:
    """The limit for runs of one `command`. `quantiles`: (p, estimate, from, to), bytes, inf for unbounded.

    `smaller`: (limit, runs it would have ended, share from, share to). `covers` is the share of runs that the highest
    peak covers with 95 % confidence. `left_out`: runs that have not ended or whose end is unknown.
    """

    name: str
    command: tuple[str, ...]
    peaks: tuple[Peak, ...]
    left_out: int
    quantiles: tuple[tuple[float, float, float, float], ...]
    smaller: tuple[tuple[int, int, float, float], ...]
    covers: float
    request_bytes: int
    limit_bytes: int

    @property
    def cut_off(self) -> int:
        """How many runs were OOM-killed."""
        return sum(peak.cut_off for peak in self.peaks)

    @property
    def grew(self) -> int:
        """How many grew still when they ended."""
        return sum(peak.grew for peak in self.peaks)


def peak_of(run: Run, samples: Sequence[FlightSample]) -> Peak | None:
    """A run's peak; None when nothing tells one.

    The largest of the flight and the record: the flight is a ring, and the record has what a process reached between
    samples.
    """
    record = run.record
    if record.raw.get("killer") is not None:  # `guard oomd-hook`: seen for its last moments only, killed for no limit
        return None
    in_cgroup = record.limit_source not in (None, "machine")
    guard = whole_bytes(record.raw.get("guard_rss_bytes"))
    if in_cgroup:
        sizes = [sample.use_bytes for sample in samples]
        known = record.peak_use_bytes or 0
    else:
        # Outside a limited group guard's own size isn't in the figures; inside one it will be.
        sizes = [sample.rss_bytes + guard for sample in samples]
        known = record.peak_bytes + guard if record.peak_bytes else 0
    size = max([known, *sizes])
    if size <= 0:
        return None
    climb = last_climb(samples)
    killed = record.outcome == "oom-killed"
    if killed and in_cgroup:
        size = max(size, record.limit_bytes or 0)  # it had all of it
    return Peak(
        run=run.id,
        name=command_name(list(record.command)),
        size_bytes=size,
        cut_off=killed,
        unfinished=record.outcome not in _ENDED,
        grew=climb is not None and climb.to_the_end,
    )


def guards_own(run: Run) -> int:
    """Bytes of guard's own RSS that a run's peak has in it; 0 where the cgroup's use was what counted."""
    in_cgroup = run.record.limit_source not in (None, "machine")
    return 0 if in_cgroup else whole_bytes(run.record.raw.get("guard_rss_bytes"))


def whole_bytes(value: object) -> int:
    """A size from a record, 0 without one."""
    return fields.whole(value) or 0


def deaths(run: Run, samples: Sequence[FlightSample], peak: Peak) -> list[Death]:
    """Where smaller limits would have ended this run: at 90, 75 and 50 % of its peak."""
    in_cgroup = run.record.limit_source not in (None, "machine")
    guard = guards_own(run)
    found = []
    for share in _TRIED_SHARES:
        limit = round_down(peak.size_bytes * share)
        at_s = next(
            (
                sample.elapsed_s
                for sample in living(samples)
                if (sample.use_bytes if in_cgroup else sample.rss_bytes + guard) > limit
            ),
            None,
        )
        found.append(Death(limit, at_s))
    return [death for death in found if death.limit_bytes > 0]


def size_up(peaks: Iterable[Peak], left_out: int = 0, command: tuple[str, ...] = ()) -> Sizing | None:
    """The limit for runs of one command from their peaks; None without any."""
    known = tuple(peaks)
    if not known:
        return None
    lower = [float(peak.size_bytes) for peak in known]
    upper = [inf if peak.cut_off else float(peak.size_bytes) for peak in known]
    quantiles = tuple((p, *quantile(lower, upper, p)) for p in QUANTILES)
    highest = max(lower)
    limit = round_up(highest * (1 + MARGIN))
    request = quantile(lower, lower, REQUEST_QUANTILE)[0]
    return Sizing(
        name=known[0].name,
        command=command,
        peaks=known,
        left_out=left_out,
        quantiles=quantiles,
        smaller=tuple(_smaller(lower, limit)),
        covers=covered(len(known)) if not any(peak.cut_off for peak in known) else 0.0,
        request_bytes=max(round_up(request), _LEAST_REQUEST_BYTES),
        limit_bytes=max(limit, _LEAST_REQUEST_BYTES),
    )


def _smaller(peaks: list[float], limit: int) -> list[tuple[int, int, float, float]]:
    """Limits below and how many runs each would have ended, down to one that ends half of them."""
    ordered = sorted(peaks)
    n = len(ordered)
    tried = {round_down(ordered[max(0, ceil(p * n) - 1)]) for p in (0.99, 0.95, 0.9, 0.75, 0.5)}
    found = []
    for size in sorted(tried, reverse=True):
        dead = sum(peak > size for peak in ordered)
        if 0 < size < limit and dead:
            found.append((size, dead, *share_interval(dead, n)))
    return found


def by_command(runs: Iterable[Run]) -> list[Sizing]:
    """One sizing a command (by its whole command line), most runs first. Reads the runs' flights."""
    peaks: dict[tuple[str, ...], list[Peak]] = {}
    left_out: dict[tuple[str, ...], int] = {}
    for run in runs:
        command = run.record.command
        peak = peak_of(run, list(evidence.flight(run))) if run.record.outcome in _ENDED else None
        if peak is None:
            left_out[command] = left_out.get(command, 0) + 1
        else:
            peaks.setdefault(command, []).append(peak)
    sized = [size_up(found, left_out.get(command, 0), command) for command, found in peaks.items()]
    return sorted((each for each in sized if each is not None), key=lambda each: (-len(each.peaks), each.name))


def round_up(size: float) -> int:
    """To whole MiB, as manifests are written."""
    return ceil(size / _MEBIBYTE) * _MEBIBYTE


def round_down(size: float) -> int:
    """To whole MiB."""
    return int(size // _MEBIBYTE) * _MEBIBYTE


def resources(sizing: Sizing) -> list[str]:
    """A Kubernetes `resources:` block, with what must be known about it as comments."""
    return [
        "resources:",
        "  requests:",
        f"    memory: {sizing.request_bytes >> 20}Mi",
        "  limits:",
        f"    memory: {sizing.limit_bytes >> 20}Mi",
    ]


def caution(sizing: Sizing) -> str:
    """What keeps this from being the right limit, in a sentence; empty when nothing is known against it."""
    n = len(sizing.peaks)
    if sizing.grew and sizing.grew * 2 >= n:
        return "memory grew still when the run ended: no limit is right before that is mended"
    if any(peak.unfinished for peak in sizing.peaks):
        return "the run's end is not known: it might have wanted more"
    if sizing.cut_off:
        return (
            f"{sizing.cut_off} of {n} runs were OOM-killed and wanted more than they got: the right limit is above this"
        )
    if n < 20:
        runs = "1 run" if n == 1 else f"{n} runs"
        more = human_percent(MARGIN)
        return f"from {runs} little can be promised; it covers what was seen, and {more} more"
    return ""


def document(sizing: Sizing) -> dict[str, Any]:
    """For programs. Unbounded is null."""

    def finite(value: float) -> int | None:
        return None if value == inf else int(value)

    return {
        "name": sizing.name,
        "command": shorten(" ".join(sizing.command), 200),
        "runs": len(sizing.peaks),
        "left_out": sizing.left_out,
        "oom_killed": sizing.cut_off,
        "grew_to_the_end": sizing.grew,
        "highest_peak_bytes": max(peak.size_bytes for peak in sizing.peaks),
        "confidence": CONFIDENCE,
        "highest_peak_covers": round(sizing.covers, 4),
        "quantiles": [
            {"quantile": p, "bytes": finite(at), "from_bytes": int(low), "to_bytes": finite(high)}
            for p, at, low, high in sizing.quantiles
        ],
        "smaller_limits": [
            {"limit_bytes": size, "would_have_died": dead, "share_from": round(low, 4), "share_to": round(high, 4)}
            for size, dead, low, high in sizing.smaller
        ],
        "requests_bytes": sizing.request_bytes,
        "limits_bytes": sizing.limit_bytes,
        "margin": MARGIN,
        "caution": caution(sizing),
        "resources": {
            "requests": {"memory": f"{sizing.request_bytes >> 20}Mi"},
            "limits": {"memory": f"{sizing.limit_bytes >> 20}Mi"},
        },
        "resources_yaml": "\n".join(resources(sizing)) + "\n",
    }
