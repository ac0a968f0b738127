"""What `cpu-profile` writes, whatever engine took it: folded stacks, flame graph, speedscope, pprof, Markdown, meta."""

from __future__ import annotations

from typing import Any

from supervisor.actions import forms
from supervisor.actions.task import Task
from supervisor.analysis import flamegraph, folded, markdown, pprof, speedscope

_TOLD = ("samples", "used_rate_hz", "asked_rate_hz", "achieved_rate_hz", "rate_reason", "ended_early", "seconds")


def write(
    task: Task, pid: int, counts: folded.Counts, rate: float, facts: dict[str, Any], notes: list[str]
) -> dict[str, Any]:
    """Put the profile of a process in place in all its forms; the result for the watcher.

    `counts` are samples at `rate` a second, `facts` what the meta tells of them; its `seconds`, `asked_rate_hz` and
    `rate_reason` are in the summary, too. Raises OSError.
    """
    samples = sum(counts.values())
    seconds = float(facts["seconds"])
    title = f"CPU profile of process {pid}"
    subtitle = f"{samples} samples at {rate:.4g} Hz over {seconds:.1f} s"
    scale = 1 / rate
    task.write(".folded", folded.render(counts))
    task.write(".svg", flamegraph.render(counts, title=title, unit="samples", subtitle=subtitle))
    task.write(".speedscope.json", speedscope.render(counts, name=title, unit="seconds", scale=scale, exporter="guard"))
    task.write(".pb.gz", pprof.render(counts, unit="samples", seconds_per_sample=scale, seconds=seconds))
    how = f"{rate:.4g} Hz ({facts['asked_rate_hz']} asked; {facts['rate_reason']})"
    profile = markdown.Profile(
        title=title,
        kind="cpu",
        counts=counts,
        unit="samples",
        head=[*task.head(), ("Rate", how), ("Samples", str(samples))],
        notes=notes,
        seconds_per_sample=scale,
        data={"run": task.spec["run"], "pid": pid, **facts},
    )
    task.write(".md", markdown.render(profile))
    task.write_meta(**facts)
    return {**{key: facts[key] for key in _TOLD}, "top": forms.top(counts)}
