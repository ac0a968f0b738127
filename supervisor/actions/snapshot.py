"""`snapshot`: the tree's memory, process by process, reconciled with the cgroup's own total."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import psutil

from supervisor import cgroup, sample
from supervisor.actions.task import Task, command_line
from supervisor.quantities import iso

_MOST_DESCRIPTORS, _MOST_KINDS = 100_000, 20
_STAT_FIELDS = (
    "anon", "file", "kernel", "kernel_stack", "pagetables", "shmem", "sock", "slab", "inactive_file",
    "total_rss", "total_cache", "total_shmem", "total_swap", "total_inactive_file", "total_mapped_file",
)  # fmt: skip


def take(task: Task) -> dict[str, Any]:
    """Write `.snapshot.json`. What can't be read of a process is named in its `missing`."""
    processes = [_process(pid) for pid in task.spec["pids"]]
    living = [process for process in processes if process is not None]
    place = cgroup.find(task.spec["pids"][0] if task.spec["pids"] else "self")
    memory = cgroup.read_memory(place)
    rss = sum(process.get("rss_bytes") or 0 for process in living)
    pss = [process["pss_bytes"] for process in living if process.get("pss_bytes") is not None]
    group: dict[str, Any] = {
        "directory": memory.directory,
        "version": place.memory_version,
        "limit_bytes": memory.limit_bytes,
        "use_bytes": memory.use_bytes,
        "oom_kills": memory.oom_kills,
        "stat": _stat(memory.directory),
    }
    # PSS shares shared pages out, so its sum is what the tree holds of the cgroup's total; RSS counts them again.
    known = sum(pss) if pss else rss
    reconciled = {
        "tree_pss_bytes": sum(pss) if pss else None,
        "tree_rss_bytes": rss,
        "cgroup_use_bytes": memory.use_bytes,
        "outside_tree_bytes": memory.use_bytes - known if memory.use_bytes is not None else None,
    }
    document = {
        "schema_version": 1,
        "run": task.spec["run"],
        "state": task.state,
        "taken": iso(time.time()),
        "processes": sorted(living, key=lambda process: -(process.get("rss_bytes") or 0)),
        "cgroup": group,
        "reconciled": reconciled,
        "pressure": _pressure(memory.directory),
        "machine": {name: cgroup.meminfo().get(name) for name in ("MemTotal", "MemAvailable", "SwapFree")},
    }
    if task.spec.get("trigger") == "fds":
        document["descriptors"] = _descriptors(task.pid)
    task.write(".snapshot.json", json.dumps(document, indent=1) + "\n")
    task.write_meta(engine="psutil", samples=len(living), errors=len(processes) - len(living))
    return {"processes": len(living), "rss_bytes": rss}


def _process(pid: int) -> dict[str, Any] | None:
    try:
        process = psutil.Process(pid)
        entry: dict[str, Any] = {"pid": pid, "ppid": process.ppid(), "name": process.name()}
    except psutil.NoSuchProcess:
        return None
    except psutil.Error as error:
        return {"pid": pid, "missing": {"all": str(error)}}
    missing: dict[str, str] = {}
    entry["command"] = [word[:500] for word in command_line(pid)[:50]]

    def read(name: str, how: Any) -> None:
        try:
            entry[name] = how()
        except (psutil.Error, OSError) as error:
            entry[name] = None
            missing[name] = str(error) or type(error).__name__

    read("status", process.status)
    read("rss_bytes", lambda: process.memory_info().rss)
    read("vms_bytes", lambda: process.memory_info().vms)
    read("threads", process.num_threads)
    read("fds", process.num_fds)
    read("cpu_s", lambda: round(sum(process.cpu_times()[:2]), 2))
    read("created", lambda: iso(process.create_time()))
    detail = sample.memory_detail(pid)
    for name in ("pss", "uss", "swap", "pss_anon", "pss_file", "pss_shmem"):
        entry[f"{name}_bytes"] = detail.get(name)
    if not detail:
        missing["pss_bytes"] = "smaps_rollup can't be read"
    if missing:
        entry["missing"] = missing
    return entry


def _descriptors(pid: int) -> list[dict[str, Any]]:
    """What the process holds open, most first: a file by its path, everything else by its kind."""
    counts: dict[str, int] = {}
    try:
        numbers = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return []
    for number in numbers[:_MOST_DESCRIPTORS]:
        try:
            what = os.readlink(f"/proc/{pid}/fd/{number}")
        except OSError:
            continue
        kind, colon, rest = what.partition(":")
        what = kind if colon and rest.startswith("[") and rest[1:2].isdigit() else what
        counts[what] = counts.get(what, 0) + 1
    ranked = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return [{"what": what, "count": count} for what, count in ranked[:_MOST_KINDS]]


def _stat(directory: str | None) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in (cgroup.read_text(f"{directory}/memory.stat") or "").splitlines() if directory else ():
        name, _, value = line.partition(" ")
        if name in _STAT_FIELDS and value.isdigit():
            found[name] = int(value)
    return found


def _pressure(directory: str | None) -> dict[str, Any]:
    whose, text = cgroup.pressure(directory)
    return {"of": whose, "memory": text.strip().splitlines()} if text else {}
