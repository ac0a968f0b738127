"""A post-mortem as a document for programs: what `screen` shows, with everything it leaves out."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from supervisor import evidence, files, limits, sooner
from supervisor.evidence import Event, FlightSample, Item, Run, Suspect
from supervisor.evidence.climb import Climb, grown, last_climb, living
from supervisor.evidence.fields import number, text, whole
from supervisor.model import STATES
from supervisor.postmortem import holders
from supervisor.postmortem.ending import Known, Verdict, judge
from supervisor.postmortem.kernel import Facts, ask
from supervisor.shipping import ledger

SCHEMA_VERSION = 1
_MOST_PROCESSES = 20
_MOST_TROUBLES = 100
_LONGEST_COMMAND = 150
_MOST_LATER = 5
_MOST_EVENTS_BEFORE = 50
_FEWEST_SAMPLES = 5  # of a run without an end; fewer say nothing of the limit it needs
_FAILURES = ("action.failed", "action.skipped", "capability.missing", "store.failed", "sample.failed", "signal.failed")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a run left, read once. `problems`: what could not be read."""

    samples: Sequence[FlightSample]
    events: Sequence[Event]
    items: Sequence[Item]
    problems: Sequence[str]

    @classmethod
    def of(cls, run: Run) -> Reading:
        """Read it; never raises for what the files hold."""
        problems = list(run.problems)
        samples = list(evidence.flight(run, problems))
        events = list(evidence.events(run, problems))
        if run.root is None:
            problems.append("its evidence is looked for beside the run's folder, and this one lies by itself")
        return cls(samples, events, evidence.items(run), problems)


def examine(run: Run, facts: Facts | None = None, reading: Reading | None = None) -> dict[str, Any]:
    """The post-mortem of a run; never raises for what its files hold. Without `facts` the kernel is asked here."""
    reading = reading or Reading.of(run)
    samples, events, items, problems = reading.samples, reading.events, reading.items, list(reading.problems)
    known = Known(run, samples, events, facts if facts is not None else ask(run), _told(run))
    verdict = judge(known)
    climb = last_climb(samples)
    suspect, enough = holders.suspect(run.record, events)
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "run": run.id,
        "path": run.path,
        "record": _head(run, known),
        "ended": {
            "cause": verdict.cause,
            "certainty": verdict.certainty,
            "words": verdict.words,
            "why": list(verdict.why),
            "cgroup": verdict.group,
            "victim_pid": verdict.victim,
            "outcome": run.outcome,
            "code": run.record.code,
            "signal": run.record.signal,
        },
        "memory": _memory(run, samples, climb) | {"oom_kills": _oom_kills(run, events)},
        "holders": _holders(samples, items, climb, suspect, enough),
        "running": _running(samples, events, items, suspect),
        "failed": _failed(events),
        "limit": _limit(run, samples, verdict),
        "shipped": _shipped(run, events),
        "problems": problems,
    }
    document["next"] = _next(run, known, verdict, document)
    return document


def _shipped(run: Run, events: Sequence[Event]) -> dict[str, Any] | None:
    """Where its evidence was shipped to and whether all of it is there; None where none was to be shipped.

    `failed` is the reason of the last batch, if that failed.
    """
    try:
        folder = files.open_directory(run.path)
    except OSError:
        return None
    try:
        found = ledger.read(folder)
    finally:
        os.close(folder)
    if found is None:
        return None
    last = next((event for event in reversed(events) if event.name in ("ship.finished", "ship.failed")), None)
    failed = text(last.fields.get("reason")) if last is not None and last.name == "ship.failed" else None
    return {"to": found.to, "complete": found.complete, "files": len(found.files), "failed": failed}


def _head(run: Run, known: Known) -> dict[str, Any]:
    """`elapsed_s` is how long it ran, None without an end record; then `last_seen_s` (from the start) is known."""
    record, last_s = run.record, known.last_word_s
    seen_s = None
    if (
        record.outcome is None
        and last_s is not None
        and record.started_s is not None
        and (known.samples or known.events)
    ):
        seen_s = round(max(0.0, last_s - record.started_s), 3)
    return {
        "command": list(record.command),
        "started": text(record.raw.get("started")),
        "ended": text(record.raw.get("ended")),
        "elapsed_s": record.elapsed_s,
        "last_seen_s": seen_s,
        "interval_s": _interval_s(known.events),
        "environment": record.environment,
        "host": record.host,
        "version": record.version,
        "pid": record.pid,
        "guard_pid": record.guard_pid,
    }


def _interval_s(events: Sequence[Event]) -> float | None:
    """The longest wait between two samples of the run, as it said at its start."""
    started = next((event for event in events if event.name == "run.started"), None)
    return number(started.fields.get("interval_s")) if started is not None else None


def _memory(run: Run, samples: Sequence[FlightSample], climb: Climb | None) -> dict[str, Any]:
    record, series = run.record, living(samples)
    times = dict(record.time_in_state_s)
    if not times:
        for earlier, later in itertools.pairwise(samples):
            spent_s = max(0.0, later.elapsed_s - earlier.elapsed_s)
            times[earlier.state] = round(times.get(earlier.state, 0.0) + spent_s, 3)
    reached = record.highest_state or max((s.state for s in samples), key=STATES.index, default="ok")
    last = series[-1] if series else None
    grew = None
    if climb is not None:
        grew = {
            "from_bytes": climb.from_bytes,
            "to_bytes": climb.to_bytes,
            "start_s": climb.start_s,
            "seconds": round(climb.seconds, 3),
            "rate_bytes_per_s": round(climb.rate_bytes_per_s),
            "shape": climb.shape,
            "to_the_end": climb.to_the_end,
        }
    peak = max([record.peak_bytes or 0, *(sample.rss_bytes for sample in samples)])
    return {
        "peak_bytes": peak or None,
        "peak_use_bytes": max([record.peak_use_bytes or 0, *(sample.use_bytes for sample in samples)]) or None,
        "limit_bytes": record.limit_bytes or (last.limit_bytes if last else None),
        "limit_source": record.limit_source,
        "last_bytes": last.rss_bytes if last else None,
        "last_use_bytes": last.use_bytes if last else None,
        "highest_state": reached,
        "time_in_state_s": times,
        "samples": len(samples),
        "growth": grew,
    }


def _oom_kills(run: Run, events: Sequence[Event]) -> list[dict[str, Any]]:
    """OOM kills that guard saw while the run went on. `pid` None: whom it hit is not known, `reason` says why."""
    found = [event for event in events if event.name == "oom.detected"][:_MOST_TROUBLES]
    began_s = run.record.started_s
    return [
        {
            "elapsed_s": round(event.at_s - began_s, 3) if event.at_s is not None and began_s is not None else None,
            "pid": whole(event.fields.get("pid")),
            "name": text(event.fields.get("name")),
            "rss_bytes": whole(event.fields.get("rss_bytes")),
            "reason": text(event.fields.get("reason")),
        }
        for event in found
    ]


def _told(run: Run) -> Event | None:
    """What the next guard in this profiles directory said of a run that left no end record."""
    if run.root is None or run.record.outcome is not None:
        return None
    later = [name for name in reversed(evidence.run_ids(run.root)) if name > run.id]
    for name in later[:_MOST_LATER]:
        following = evidence.read(os.path.join(os.path.dirname(run.path), name))
        for event in itertools.islice(evidence.events(following), _MOST_EVENTS_BEFORE):
            if event.name == "previous_run.found" and event.fields.get("run") == run.id:
                return event
    return None


def _holders(
    samples: Sequence[FlightSample], items: Sequence[Item], climb: Climb | None, suspect: Suspect | None, enough: bool
) -> dict[str, Any]:
    processes = grown(samples, climb)[:_MOST_PROCESSES]
    gained = sum(max(0, entry[2]) for entry in processes)
    found: dict[str, Any] = {
        "suspect": None
        if suspect is None
        else {
            "pid": suspect.pid,
            "name": suspect.name,
            "function": suspect.function,
            "mapping": suspect.mapping,
            "type": suspect.type or (suspect.grew.type if suspect.grew else None),
            "grew": {"type": suspect.grew.type, "bytes": suspect.grew.size_bytes, "holder": suspect.grew.holder}
            if suspect.grew
            else None,
            "file": suspect.file,
            "line": suspect.line,
            "share": suspect.share,
            "share_of": suspect.share_of,
            "held_by": suspect.held_by,
            "bytes": suspect.size_bytes,
            "enough": enough,
        },
        "processes": [
            {
                "pid": pid,
                "name": name,
                "gained_bytes": gain,
                "bytes": size,
                "share": round(gain / gained, 4) if gained and gain > 0 else None,
            }
            for pid, name, gain, size in processes
        ],
    }
    # Growth and heap name who holds memory; the processor's time names who was busy, and stands last.
    for kind, key in (("growth", "growth"), ("heap-profile", "heap"), ("cpu-profile", "busy")):
        item = holders.newest([item for item in items if item.kind == kind and holders.functions(item)], kind)
        if item is None:
            found[key] = None
            continue
        path = next((item.files[end] for end in (".md", ".folded") if end in item.files), None)
        found[key] = {
            "pid": item.pid,
            "path": path,
            "samples": whole(item.meta.get("samples")),
            # Growth says itself when it rests on too little; other kinds don't.
            "enough": item.meta.get("enough") is not False,
            "functions": holders.functions(item),
        }
        if key == "heap":
            grew = evidence.grown(item.meta.get("grew"))
            if grew is not None and grew.holder:
                found[key]["tells"] = "it names what grew and who holds it"
            elif item.meta.get("frames") == "types":
                found[key]["tells"] = "it names what the memory is in"
            else:
                found[key]["tells"] = "it names who allocated"
    return found


def _running(
    samples: Sequence[FlightSample], events: Sequence[Event], items: Sequence[Item], suspect: Suspect | None
) -> dict[str, Any]:
    series = living(samples)
    last = series[-1] if series else None
    largest = sorted(last.processes, key=lambda each: -(each.rss_bytes or 0)) if last else []
    return {
        "at_s": last.elapsed_s if last else None,
        "process_count": last.process_count if last else None,
        "processes": [
            {
                "pid": each.pid,
                "name": each.name,
                "rss_bytes": each.rss_bytes,
                "command": holders.command_of(items, each.pid),
            }
            for each in largest[:_MOST_PROCESSES]
        ],
        "stack": holders.stack(items, suspect.pid if suspect else None),
        "actions": [
            {"action": each.kind, "pid": each.pid} for each in evidence.actions(events) if each.how == "running"
        ],
    }


def _failed(events: Sequence[Event]) -> list[dict[str, Any]]:
    """What was tried and failed, each kind with its reason once, in order."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    agent_asked = any(event.fields.get("capability") == "heap agent" for event in events)
    for event in events:
        if event.name not in _FAILURES:
            continue
        fields = event.fields
        if event.name == "action.skipped" and fields.get("reason") == "agent-silent" and not agent_asked:
            continue  # nobody asked for an agent: nothing failed
        what = next((text(fields.get(key)) for key in ("action", "capability", "what", "path", "signal")
                     if text(fields.get(key))), "?")  # fmt: skip
        reason = text(fields.get("reason")) or ""
        # Figures differ from one time to the next; the words don't.
        key = event.name, what, "".join(letter for letter in reason if not letter.isdigit())
        if key in found:
            found[key]["times"] += 1
        elif len(found) < _MOST_TROUBLES:
            found[key] = {
                "event": event.name,
                "what": what,
                "reason": reason,
                "said": text(fields.get("said")),
                "hint": text(fields.get("hint")) or None,
                "times": 1,
            }
    return list(found.values())


def _limit(run: Run, samples: Sequence[FlightSample], verdict: Verdict) -> dict[str, Any] | None:
    peak = limits.peak_of(run, samples)
    if peak is not None and verdict.cause == "oom-kill":
        # Also one whose guard went with it, and so left no end record.
        reached = 0 if verdict.group == "machine" else run.record.limit_bytes or 0
        peak = replace(peak, cut_off=True, unfinished=False, size_bytes=max(peak.size_bytes, reached))
    sizing = limits.size_up([peak]) if peak is not None else None
    if peak is None or sizing is None or (peak.unfinished and len(samples) < _FEWEST_SAMPLES):
        return None
    return limits.document(sizing) | {
        "unfinished": peak.unfinished,
        "guard_bytes": limits.guards_own(run),
        "deaths": [
            {"limit_bytes": death.limit_bytes, "at_s": death.at_s} for death in limits.deaths(run, samples, peak)
        ],
    }


def _next(run: Run, known: Known, verdict: Verdict, document: dict[str, Any]) -> dict[str, str]:
    """The next thing to do, and why it: one command."""
    named, holding = shlex.quote(run.id), document["holders"]
    command = shlex.join(run.record.command)
    if not command or not command.isprintable() or len(command) > _LONGEST_COMMAND:
        command = "COMMAND"  # nothing to copy from a screen
    if verdict.cause == "running":
        return {"type": f"guard top {named}", "why": "it runs"}
    if known.facts.target_lives and run.record.pid is not None:
        return {"type": f"guard watch {run.record.pid}", "why": "the target lives on, and nobody watches it"}
    growth = ("growth", "it names who took the memory")
    heap = ("heap", holding["heap"]["tells"] if holding["heap"] else "")
    little = holding["growth"] and not holding["growth"]["enough"]
    suspect = holding["suspect"] or {}
    only_where = suspect.get("mapping") and not suspect.get("function") and suspect.get("grew")
    for key, words in (heap, growth) if little or only_where else (growth, heap):
        found = holding[key]
        if found and found["path"] and (verdict.cause not in ("exit", "stopped", "restart") or run.record.suspect):
            return {"type": f"less {shlex.quote(found['path'])}", "why": words}
    refused = [trouble for trouble in document["failed"] if trouble["event"] in ("action.failed", "capability.missing")]
    if verdict.cause == "oom-kill" or document["memory"]["highest_state"] != "ok":
        if refused:
            return {"type": "guard doctor", "why": "evidence could not be taken: it says what would let it in"}
        if verdict.cause == "oom-kill":
            interval_s = document["record"]["interval_s"]
            if sooner.often(interval_s):
                why = "it was gone before evidence was taken, however often guard looked: profile from its start on"
                return {"type": f"guard profile -- {command}", "why": why}
            return {
                "type": f"guard run --warning 40% --critical 60% --profiling 75% --interval 500ms -- {command}",
                "why": "it was gone before evidence was taken: look sooner and more often",
            }
        return {"type": f"less {shlex.quote(run.path + '/events.jsonl')}", "why": "it tells what guard saw, in order"}
    if verdict.cause == "exit" and run.record.code == 0:
        return {"type": "guard runs --limits", "why": "it ended well: see which limit it needs"}
    if verdict.cause in ("guard-killed", "machine-gone"):
        return {"type": f"guard run -- {command}", "why": "nothing points at the target: start it again"}
    return {"type": f"less {shlex.quote(run.path + '/events.jsonl')}", "why": "it tells what guard saw, in order"}
