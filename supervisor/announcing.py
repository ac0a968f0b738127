"""What a run tells as it begins: what its settings came to, that it runs, and what became of the run before it.

Its start record is written here, too: before `run.started`, so that who reads that finds it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from supervisor import reactions, record, restart, store
from supervisor.disk import LONG_PATIENCE_S, Disk
from supervisor.version import VERSION

if TYPE_CHECKING:
    from supervisor.config import Config
    from supervisor.journal import Journal
    from supervisor.pid1 import Init

Moved = list[tuple[str, str, str | None]]


def announce(journal: Journal, init: Init, config: Config, moved: Moved) -> None:
    """Tell it all, in this order. `moved`: the places for evidence that failed, as `store.open_store` tells.

    Sets what the journal knows of the runs before it.
    """
    before = _before(journal)
    hushed = not restart.worth_a_line(_crashes(journal))
    if hushed:
        journal.hush()
    if journal.life == 1:
        _tell_settings(journal, config, moved)
        if init.target is not None and os.getpid() != 1 and not config.subreaper:
            journal.emit("warning", "reaper.unavailable", reason="--no-subreaper, and guard isn't PID 1")
        if config.reload:
            _warn_of_reloader(journal)
        if reactions.wanted(config) or config.ship is not None:
            _warn_of_unusable(journal, config)
    _begin(journal, config)
    facts = config.facts
    pids = journal.subject.more.get("pids")
    journal.emit(
        "info", "run.started", run=journal.run, command=journal.command, pid=journal.subject.pid,
        guard_pid=os.getpid(), version=VERSION, environment=config.detected.name,
        environment_evidence=config.detected.evidence, limit_bytes=facts.limit_bytes,
        limit_source=facts.limit_source, thresholds=record.thresholds(config.levels), interval_s=config.interval,
        evidence=journal.path, **({"pids": pids} if pids else {}),
    )  # fmt: skip
    if before is not None:
        try:
            _tell_previous(journal, config, before)
            _tell_crash_loop(journal, before, hushed)
        except OSError as error:
            journal.trouble("previous run", error, config.profiles_dir)


def _tell_settings(journal: Journal, config: Config, moved: Moved) -> None:
    """What was adjusted, and what does not count and why."""
    for place, why, instead in moved:
        change = {"setting": "profiles-dir", "from": place, "to": instead or "log only"}
        journal.emit("warning", "config.adjusted", **change, reason=f"{place}: {why}")
    for change in config.adjusted:
        journal.emit("info", "config.adjusted", **change)
    for name in config.ignored:
        journal.emit("warning", "config.ignored", variable=name, reason="another guard runs above this one")
    for name in config.distrusted:
        journal.emit("warning", "config.ignored", variable=name, hint=f"guard run --env-file {config.env_file}",
                     reason="a file that was only found here may name no command and no URL")  # fmt: skip
    for name in config.unknown:
        journal.emit("warning", "config.unknown", variable=name, nearest=nearest(name))


def _warn_of_reloader(journal: Journal) -> None:
    from supervisor.reload.others import own_reloader

    found = own_reloader(journal.command, os.environ)
    if found is not None:
        whose, hint = found
        reason = f"{whose} restarts its processes itself when files change, and so does --reload"
        journal.emit("warning", "reloader.recognised", whose=whose, reason=reason, hint=hint)


def _warn_of_unusable(journal: Journal, config: Config) -> None:
    from supervisor.foreseen import foreseen

    other = Disk()  # of another file system than evidence, which must not wait for it
    try:
        for fields in other.run(foreseen, config, os.environ):
            journal.emit("warning", "config.unusable", **fields)
    except OSError:  # a mount that hangs, perhaps: told when it is needed
        pass
    other.end()


def _begin(journal: Journal, config: Config) -> None:
    """Write the start record."""
    if journal.store is None:
        return
    if config.ship is not None:
        _expect_shipping(journal, journal.store, config.ship)
    try:
        journal.store.begin(journal.start_record())
    except OSError as error:
        journal.trouble("run.json", error, journal.store.run_path)


def _expect_shipping(journal: Journal, place: store.Store, url: str) -> None:
    """Note that this run is to be shipped, so that the next start does it when this one can't."""
    from supervisor.shipping import ledger
    from supervisor.shipping.target import parse

    try:
        place.note_shipping(ledger.first(url, parse(url)).document())
    except OSError as error:
        journal.trouble(store.SHIPPED, error, place.run_path)


def _before(journal: Journal) -> dict[str, Any] | None:
    """The record of the run before this one, of those in the same place that don't live."""
    place = journal.store
    if place is None or not journal.subject.crash_loops:
        return None
    try:
        before = place.disk.run_for(LONG_PATIENCE_S, store.previous_run, place.root, journal.run, journal.previous_life)
    except OSError as error:
        journal.trouble("previous run", error, place.root)
        return None
    if before is not None:
        journal.crashed_before = bool(before.get("outcome") not in ("exited", "stopped") or before.get("code"))
        journal.crash_loop = record.crash_loop(before, journal.command)
    return before


def _crashes(journal: Journal) -> int:
    """Runs before this one, all of which ended badly and soon."""
    return int(journal.crash_loop.get("crashes_before", 0))


def _tell_crash_loop(journal: Journal, before: Mapping[str, Any], hushed: bool) -> None:
    """A crash loop is a line once in a while, and not a folder a crash. Raises OSError."""
    place = journal.store
    if place is None or _crashes(journal) < record.CRASHES_OF_A_LOOP:
        return
    if not before.get("evidence"):
        place.disk.run_for(LONG_PATIENCE_S, place.drop, str(before.get("run")))
        journal.crash_loop["dropped_runs"] += 1
    if not hushed:
        journal.emit("warning", "crash_loop.found", **journal.crash_loop, code=before.get("code"),
                     signal=before.get("signal"), hint="guard runs")  # fmt: skip


def _tell_previous(journal: Journal, config: Config, before: Mapping[str, Any]) -> None:
    """Say what became of the last run when it has no end record. Raises OSError."""
    place = journal.store
    if place is None or before.get("outcome") is not None:
        return
    run = str(before.get("run"))
    same_boot = before.get("boot_id") == store.boot_id()
    same_group = same_boot and before.get("cgroup") == journal.start_record()["cgroup"]
    last = place.disk.run_for(LONG_PATIENCE_S, store.last_sample, place.root, run)
    reason, known = record.end_unseen(before, last, same_boot, config.facts.oom_kills if same_group else None)
    path = os.path.join(place.root, store.MONITORED, run)
    journal.emit("warning", "previous_run.found", run=run, outcome="guard-killed", reason=reason, path=path,
                 started=before.get("started"), **known, hint=f"guard postmortem {run}")  # fmt: skip


def nearest(name: str) -> str | None:
    """The known variable that an unknown one most likely means."""
    import difflib

    from supervisor.settings import SETTINGS

    known = [variable for setting in SETTINGS for variable in setting.variables]
    return next(iter(difflib.get_close_matches(name, known, 1, 0.6)), None)
