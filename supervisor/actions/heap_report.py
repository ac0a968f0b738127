"""What `heap-profile` writes: folded bytes, flame graph, Markdown with tables of types, meta."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from supervisor.actions.forms import write_by_bytes
from supervisor.actions.task import Task
from supervisor.analysis import census, folded, markdown
from supervisor.analysis.census import Row
from supervisor.quantities import human_bytes

_MOST_ROWS = 25
_MOST_CHAINS = 400  # characters of a chain on its line


def publish(
    task: Task,
    pid: int,
    counts: folded.Counts,
    *,
    title: str,
    basis: str,
    head: Sequence[tuple[str, str]],
    notes: list[str],
    sections: Sequence[str],
    facts: dict[str, Any],
) -> None:
    """Put a heap profile in place in all its forms. `basis` says what it rests on."""
    if not task.spec.get("source_locations", True):
        counts = folded.strip_locations(counts)
    write_by_bytes(task, counts, title, basis, facts["samples"])
    profile = markdown.Profile(
        title=title,
        kind="heap",
        counts=counts,
        unit="bytes",
        head=[*task.head(), *head],
        notes=notes,
        seconds_per_sample=None,
        data={"run": task.spec["run"], "pid": pid, **facts},
        sections=tuple(sections),
    )
    task.write(".md", markdown.render(profile))
    task.write_meta(profiled_pid=pid, mode=task.spec.get("profile_mode"), **facts)


def types_section(rows: list[Row]) -> str:
    """Types by what they hold."""
    lines = ["## Types", "", "| Objects | Bytes | Type | Mostly in |", "|---:|---:|---|---|"]
    lines += [
        f"| {row.count:,} | {human_bytes(row.size_bytes)} | {markdown.code(row.type, cell=True)} "
        f"| {markdown.code(row.held_in, cell=True) if row.held_in else ''} |"
        for row in rows[:_MOST_ROWS]
    ]
    return "\n".join(lines)


def modules_section(rows: list[Row]) -> str:
    """The modules of the classes."""
    lines = ["## Modules", "", "| Objects | Bytes | Module of the class |", "|---:|---:|---|"]
    lines += [
        f"| {count:,} | {human_bytes(size)} | {markdown.code(name, cell=True)} |"
        for name, count, size in census.by_module(rows)[:10]
    ]
    return "\n".join(lines)


def grew_section(rows: list[Row], chains: dict[str, dict[str, Any]], seconds: float) -> str:
    """What grew, and who holds it."""
    lines = [f"## What grew in {seconds:.1f} s", ""]
    if not rows:
        return "\n".join([*lines, "No type grew beyond what sampling explains."])
    lines += ["| More bytes | More objects | Now | Type | Held by |", "|---:|---:|---:|---|---|"]
    for row in rows[:_MOST_ROWS]:
        holder = str(chains.get(row.type, {}).get("holder") or "")
        held = markdown.code(holder or row.held_in, cell=True) if holder or row.held_in else ""
        lines.append(
            f"| +{human_bytes(row.more_bytes)} | {row.more:+,} | {row.count:,} | {markdown.code(row.type, cell=True)} "
            f"| {held} |"
        )
    for name, found in chains.items():
        if len(found.get("chain", ())) > 1:
            words = " ← ".join(map(str, found["chain"]))[:_MOST_CHAINS]
            lines += ["", f"Who holds {markdown.code(name)}: {markdown.plain(words)}"]
    return "\n".join(lines)


def sites_section(before: dict[str, int], after: dict[str, int], seconds: float) -> str:
    """Sites by how much more they hold than before; sites are `file:line` of tracemalloc's innermost frames."""
    more = {site: size - before.get(site, 0) for site, size in after.items()}
    largest = sorted(more.items(), key=lambda pair: -pair[1])[:_MOST_ROWS]
    lines = [f"## Sites that grew in {seconds:.1f} s", "", "| More bytes | Now | Site |", "|---:|---:|---|"]
    lines += [
        f"| +{human_bytes(size)} | {human_bytes(after[site])} | {markdown.code(site, cell=True)} |"
        for site, size in largest
        if size >= census.LEAST_BYTES
    ]
    return "\n".join(lines)


def by_type(rows: list[Row], chains: dict[str, dict[str, Any]], *, grown: bool) -> folded.Counts:
    """Bytes by type as stacks: who holds it, where that is known, else the module of the class, then the type."""
    counts: folded.Counts = {}
    for row in rows:
        weight = row.more_bytes if grown else row.size_bytes
        if weight <= 0:
            continue
        chain = [str(each) for each in chains.get(row.type, {}).get("chain", ())]
        above = chain[:0:-1] if len(chain) > 1 else [f"in {row.held_in}"] if row.held_in else []
        stack = ";".join(folded.frame(name, None) for name in (*above, row.type))
        counts[stack] = counts.get(stack, 0) + weight
    return counts


def top(counts: folded.Counts) -> list[dict[str, Any]]:
    """The first frames by self weight."""
    total = sum(counts.values()) or 1
    return [
        {"function": each.function, "file": each.file, "line": each.line, "share": round(each.self_weight / total, 4)}
        for each in folded.by_function(counts)[:5]
        if each.self_weight
    ]
