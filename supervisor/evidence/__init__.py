"""Reading what runs left on disk: records, flights, events, evidence files. Never writes, never disturbs a live run.

For whoever shows or judges a run (`guard postmortem`, `runs`, `top`, `report`). How it is used:

    root = evidence.profiles_root(None, environ)      # or a directory that somebody named
    run = evidence.find(root, "latest")               # a run id, a prefix of one, a path, or `latest`
    run.record.outcome, run.record.peak_bytes, run.lives, run.problems
    for sample in evidence.flight(run): ...           # FlightSample, in the order written
    for event in evidence.events(run): ...            # Event: .name, .at_s, .fields
    for action in evidence.actions(events): ...       # Action: what came of each that its events tell of
    for item in evidence.items(run): ...              # Item: one piece of evidence with its files and its meta

What is read may be half-written, missing, copied from another machine or made by somebody hostile. So every field has
the type its record says or is None; numbers are finite; nothing is followed through a link, and only regular files are
opened (a FIFO would wait for ever); sizes are bounded. What could not be read is a sentence in `problems`, never an
exception: only a run that can't be found at all is one (UsageError). Texts are as found, control characters and all:
show them through `analysis.text.visible`, escape them in HTML. Evidence is looked for beside the run's folder, not at
the paths in its record, which are those of the machine it ran on.
"""

from __future__ import annotations

from supervisor.evidence.actions import actions
from supervisor.evidence.finding import find, is_run_id, profiles_root, run_ids, runs, setting
from supervisor.evidence.flights import events, flight
from supervisor.evidence.items import items
from supervisor.evidence.model import (
    Action,
    Event,
    FlightProcess,
    FlightSample,
    Grown,
    Item,
    Limit,
    Record,
    Run,
    Suspect,
)
from supervisor.evidence.raw import read_file
from supervisor.evidence.records import grown, read, suspect

__all__ = [
    "Action",
    "Event",
    "FlightProcess",
    "FlightSample",
    "Grown",
    "Item",
    "Limit",
    "Record",
    "Run",
    "Suspect",
    "actions",
    "events",
    "find",
    "flight",
    "grown",
    "is_run_id",
    "items",
    "profiles_root",
    "read",
    "read_file",
    "run_ids",
    "runs",
    "setting",
    "suspect",
]
