"""`guard config`: what was detected, every setting, its value and its source, for people and for programs."""

from __future__ import annotations

import os
import sys
from typing import Any

from supervisor import config as configs
from supervisor import settling
from supervisor.announcing import nearest
from supervisor.quantities import human_bytes, human_duration, human_percent
from supervisor.settings import BY_NAME, PRESETS, SETTINGS

# What differs by operating system, and what each lacks.
PLATFORMS = {
    "linux": {
        "tree": "/proc by kept descriptors",
        "limit": "cgroup v1 or v2, walking up; else the machine's memory",
        "reaping": "PID 1 or child subreaper",
        "growth": "page-fault trap (perf event and ptrace), fault counts, or the running process",
    },
    "darwin": {
        "tree": "psutil",
        "limit": "the machine's memory",
        "reaping": "own children only (no subreaper)",
        "growth": "not available: py-spy needs root, and there is no page-fault trap",
    },
}


def document(given: dict[str, list[str]], environ: dict[str, str]) -> dict[str, Any]:
    """All of it as plain values: bytes, seconds, shares. Raises UsageError on a bad source."""
    config = settling.settle(given, environ)
    facts = config.facts
    preset = PRESETS[config.env]
    settings = {
        setting.name: {
            "value": configs.plain(setting.name, config.values[setting.name].value),
            "shown": configs.show(setting.name, config.values[setting.name].value),
            "source": config.values[setting.name].source,
            "origin": config.values[setting.name].origin,
            "variables": list(setting.variables),
        }
        for setting in SETTINGS
    }
    platform = "darwin" if sys.platform == "darwin" else "linux"
    return {
        "schema_version": 1,
        "environment": {"name": config.env, "evidence": config.detected.evidence},
        "machine": {
            "memory_bytes": facts.memory_bytes,
            "limit_bytes": facts.limit_bytes,
            "limit_source": facts.limit_source,
            "cores": facts.cores,
            "container": facts.container,
            "terminal": facts.terminal,
            "platform": platform,
            "differs": PLATFORMS[platform],
        },
        "thresholds": {
            level.name: {"bytes": level.size_bytes, "metric": level.metric, "source": level.source}
            for level in config.levels
        },
        "auto": {"cpu_share": preset.auto_cpu, "response_s": preset.auto_response_s},
        "env_file": config.env_file or None,
        "profiles_dir": config.profiles_dir,
        "settings": settings,
        "adjusted": list(config.adjusted),
        "unknown": list(config.unknown),
        "ignored": list(config.ignored),
        "distrusted": list(config.distrusted),
    }


def text(shown: dict[str, Any]) -> str:
    """The document for people."""
    machine, environment = shown["machine"], shown["environment"]
    container = f", container ({machine['container']})" if machine["container"] else ""
    lines = [
        f"environment  {environment['name']}  ({environment['evidence']})",
        f"limit        {human_bytes(machine['limit_bytes'])}  ({machine['limit_source']})",
        f"machine      {human_bytes(machine['memory_bytes'])} of memory, {machine['cores']:g} cores{container}",
        f"settings     {shown['env_file'] or 'no .env.profiling in ' + os.getcwd()}",
        f"evidence     {shown['profiles_dir']}",
        "",
        "thresholds that hold",
    ]
    for name, level in shown["thresholds"].items():
        lines.append(f"  {name:<11}{human_bytes(level['bytes']):>9}  of {level['metric']}  ({level['source']})")
    auto = shown["auto"]
    if auto["cpu_share"] is not None:
        lines.append(
            f"  auto       cpu {human_percent(auto['cpu_share'])}, response {human_duration(auto['response_s'])}"
        )
    width = max(len(name) for name in shown["settings"])
    group = ""
    for name, entry in shown["settings"].items():
        if BY_NAME[name].group != group:
            group = BY_NAME[name].group
            lines += ["", group]
        lines.append(f"  {name:<{width}}  {entry['shown']:<12}  {entry['source']} ({entry['origin']})")
    for change in shown["adjusted"]:
        lines.append(f"\nadjusted: {change['setting']} {change['from']} → {change['to']}: {change['reason']}")
    for name in shown["unknown"]:
        near = nearest(name)
        lines.append(f"\nunknown: {name} isn't a setting of guard's{f'; the nearest is {near}' if near else ''}")
    for name in shown["ignored"]:
        lines.append(f"\nignored: {name}, since another guard runs above this one")
    for name in shown["distrusted"]:
        lines.append(f"\nignored: {name}, since a file that was only found here may name no command and no URL")
    lines += ["", f"on {machine['platform']}"]
    lines += [f"  {name:<8} {how}" for name, how in machine["differs"].items()]
    return "\n".join(lines)
