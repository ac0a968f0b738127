"""`.env.profiling` from the table of settings, each with its meaning and its value; what a file has set stays set."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from supervisor.envfile import Entry
from supervisor.quantities import MEGABYTE, Threshold, signal_name
from supervisor.settings import ENVIRONMENTS, PRESET, PRESETS, SETTINGS, Setting

_LEFT_OUT = {"env-file"}  # it names this file
_ACCEPTED = {
    "threshold": "MB, a size such as 1.5GiB, or a share of the limit such as 60%",
    "size": "bytes, or a size such as 64MB",
    "share": "a percentage such as 5%, or none",
    "interval": "ms, or a time such as 500ms or 5s",
    "microseconds": "µs, or a time such as 1ms",
    "duration": "s, or a time such as 500ms or 2m",
    "patience": "s, or a time such as 500ms or 2m",
    "response-time": "ms, a time such as 200ms or 1s, or auto",
    "mode": "an octal file mode such as 0640",
}
_EXAMPLES = {
    "chdir": "/srv/app",
    "log-file": "guard.log",
    "signal": "TERM",
    "signal-map": "TERM:QUIT",
    "exit-map": "143:0",
    "reload-dir": "src",
    "reload-include": "*.sql",
    "reload-exclude": "drafts",
    "restart-max": "10",
    "restart-at": "95%",
    "cpu-threshold": "90%",
    "response-time": "200",
    "fd-threshold": "80%",
    "thread-threshold": "200",
    "stall": "30s",
    "pressure": "memory:some:10%",
    "signal-at": "critical:USR1",
    "metrics-port": "9464",
    "metrics-socket": "/run/guard/metrics.sock",
    "metrics-file": "/var/lib/node_exporter/textfile_collector/guard.prom",
}
_HEAD = f"""\
# Settings of guard in this directory, written by `guard init`. Valid shell (`source .env.profiling`); guard executes
# nothing of it. Lines that set a variable show what holds without them: take the # away to change one. A switch takes
# 1 or 0. Where environments differ the value is {ENVIRONMENTS[0]}'s. What wins: command line, environment variables,
# this file, the environment's preset. `guard config` tells what holds here and where it came from.
"""


def render(chosen: Mapping[str, Entry]) -> str:
    """The file; `chosen` is what an older one sets, which stays."""
    lines = [_HEAD.rstrip("\n")]
    group = ""
    for setting in SETTINGS:
        if setting.name in _LEFT_OUT or (setting.trusted and not any(_set(setting, chosen))):
            continue
        if setting.group != group:
            group = setting.group
            lines += ["", f"# --- {group} ---"]
        own = list(_set(setting, chosen))
        lines += ["", f"# {setting.help}", *_about(setting, is_set=bool(own))]
        lines += own or [f"#{variable(setting)}={default(setting)}"]
    return "\n".join(lines) + "\n"


def variable(setting: Setting) -> str:
    """The name by which a setting is shown: its own where the contract gives it one, else GUARD_<OPTION>."""
    return next((name for name in setting.aliases if not name.startswith("BUN_")), setting.variables[0])


def default(setting: Setting) -> str:
    """What the setting's line shows: the value that holds without it, or an example where none does."""
    if setting.default is PRESET:
        return written(setting, PRESETS[ENVIRONMENTS[0]].values[setting.name])
    if setting.default is None or setting.default == ():
        return setting.choices[0] if setting.choices else _EXAMPLES.get(setting.name, _EXAMPLES.get(setting.kind, ""))
    return written(setting, setting.default)


def written(setting: Setting, value: Any) -> str:
    """A value as the setting's parser reads it back."""
    if isinstance(value, Threshold):
        if value.share is not None:
            return f"{_number(value.share * 100)}%"
        size = value.size_bytes or 0
        return f"{size}B" if size % MEGABYTE else str(size // MEGABYTE)
    match setting.kind:
        case "switch":
            return "1" if value else "0"
        case "share":
            return f"{_number(value * 100)}%"
        case "interval":
            return _number(value * 1e3)
        case "microseconds":
            return _number(value * 1e6)
        case "duration" | "patience":
            return _time(value)
        case "signal":
            return signal_name(value).removeprefix("SIG")
        case "mode":
            return f"{value:04o}"
    return shlex.quote(str(value))


def _about(setting: Setting, *, is_set: bool) -> Iterator[str]:
    """A comment line: what is accepted, and what other environments have."""
    parts = []
    if setting.choices:
        parts.append(f"Takes {', '.join(setting.choices[:-1])} or {setting.choices[-1]}.")
    elif setting.kind in _ACCEPTED:
        parts.append(f"Takes {_ACCEPTED[setting.kind]}.")
    if setting.repeat:
        parts.append("Several are separated by spaces.")
    if setting.default is PRESET:
        other = [f"{name} {written(setting, PRESETS[name].values[setting.name])}" for name in ENVIRONMENTS[1:]]
        parts.append(f"Elsewhere: {', '.join(other)}.")
    elif (setting.default is None or setting.default == ()) and not is_set:
        parts.append("Not set; this is an example.")
    if parts:
        yield f"# {' '.join(parts)}"


def _set(setting: Setting, chosen: Mapping[str, Entry]) -> Iterator[str]:
    for name in setting.variables:
        if name in chosen and not chosen[name].expands:
            yield f"{name}={shlex.quote(chosen[name].value)}"


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _time(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{_number(seconds / size)}{unit}"
    return f"{_number(seconds)}s"
