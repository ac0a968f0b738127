"""What `heap-profile` writes: folded bytes, flame graph, Markdown with tables of types, meta."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from supervisor.actions import forms
from supervisor.actions.task import Task
from supervisor.analysis import census, folded, markdown
from supervisor.analysis.census import Row
from supervisor.quantities import human_bytes

_MOST_MODULES = 10
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
) -> list[dict[str, Any]]:
    """Put a heap profile in place in all its forms; its first functions, with their places.

    `basis` says what it rests on.
    """
    first = forms.top(forms.without_library(task, counts)[0])
    counts, _ = forms.shown(task, counts)
    forms.write_by_bytes(task, counts, title, basis, facts["samples"])
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
    return first


def types_section(rows: list[Row]) -> str:
    """Types by what they hold."""
    cells = ((f"{row.count:,}", human_bytes(row.size_bytes), row.type, row.held_in) for row in rows)
    return forms.table("Types", ("Objects", "Bytes"), ("Type", "Mostly in"), cells)


def modules_section(rows: list[Row]) -> str:
    """The modules of the classes."""
    cells = [(f"{count:,}", human_bytes(size), name) for name, count, size in census.by_module(rows)[:_MOST_MODULES]]
    return forms.table("Modules", ("Objects", "Bytes"), ("Module of the class",), cells)


def grew_section(rows: list[Row], chains: dict[str, dict[str, Any]], seconds: float) -> str:
    """What grew, and who holds it."""
    title = f"What grew in {seconds:.1f} s"
    if not rows:
        return f"## {title}\n\nNo type grew beyond what sampling explains."
    cells = (
        (f"+{human_bytes(row.more_bytes)}", f"{row.more:+,}", f"{row.count:,}", row.type,
         str(chains.get(row.type, {}).get("holder") or "") or row.held_in)
        for row in rows
    )  # fmt: skip
    lines = [forms.table(title, ("More bytes", "More objects", "Now"), ("Type", "Held by"), cells)]
    for name, found in chains.items():
        if len(found.get("chain", ())) > 1:
            words = " ← ".join(map(str, found["chain"]))[:_MOST_CHAINS]
            lines += ["", f"Who holds {markdown.code(name)}: {markdown.plain(words)}"]
    return "\n".join(lines)


def sites_section(before: dict[str, int], after: dict[str, int], seconds: float) -> str:
    """Sites by how much more they hold than before; sites are `file:line` of tracemalloc's innermost frames."""
    more = {site: size - before.get(site, 0) for site, size in after.items()}
    largest = sorted(more.items(), key=lambda pair: -pair[1])
    cells = (
        (f"+{human_bytes(size)}", human_bytes(after[site]), site)
        for site, size in largest
        if size >= census.LEAST_BYTES
    )
    return forms.table(f"Sites that grew in {seconds:.1f} s", ("More bytes", "Now"), ("Site",), cells)


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
