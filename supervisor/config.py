"""Sources to one Config, with the source of each value: pure.

Order: command line, environment variables, the env file, the environment's preset, the built-in value. See the
contract's section on settings for what moves and what is refused.
"""

from __future__ import annotations

from supervisor import environment
from supervisor.addresses import masked_url
from supervisor.errors import UsageError
from supervisor.quantities import BadValue, Threshold, human_bytes, human_duration, human_percent
from supervisor.settings import BY_NAME, ENVIRONMENTS, LEVELS, PRESET, PRESETS, SECRET_KINDS, SETTINGS, Setting
from supervisor.thresholds import Level, Value, levels_at_start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from supervisor.envfile import Entry
    from supervisor.facts import Facts
    from supervisor.quantities import Pressure

_TIMES = ("interval", "microseconds", "duration", "patience", "response-time")
_LOW_MEMORY = 2 * 10**9
_FEW_CORES = 4
# Kubernetes injects these for a Service named "guard"; they aren't settings.
_SERVICE_MARKS = ("_SERVICE_", "_PORT_")


class Config:
    """Every setting's value under its name, the levels, and what was detected, moved or not understood."""

    warning: Threshold
    critical: Threshold
    profiling: Threshold
    no_profiling: bool
    interval: float
    metric: str
    env: str
    profiles_dir: str
    env_file: str
    forward: str
    rewrite_signal: tuple[tuple[int, int], ...]
    remap_exit: tuple[tuple[int, int], ...]
    subreaper: bool
    parent_death_signal: int | None
    stop_signal: int
    stop_timeout: float
    keep_group: bool
    chdir: str | None
    allow_ptrace: bool
    restart: str
    restart_max: int | None
    restart_at: Threshold | None
    reload: bool
    reload_dir: tuple[str, ...]
    reload_include: tuple[str, ...]
    reload_exclude: tuple[str, ...]
    cpu_threshold: float | str | None  # a share, or "auto"
    cpu_window: float
    probe: str | None
    probe_interval: float
    probe_timeout: float
    response_time: float | str | None  # seconds, or "auto"
    fd_threshold: int | float | None  # a count, or a share of the process's limit
    thread_threshold: int | None
    stall: float | None
    pressure: tuple[Pressure, ...]
    sampling_interval: float
    max_samples: int
    heap_interval: int
    heap_agent: str
    remote_exec: bool
    node_inspector: bool
    go_pprof: str | None
    source_locations: bool
    library_frames: bool
    overhead_budget: float | None  # None: no budget
    profile_duration: float
    cooldown: float
    max_actions: int
    on_warning: tuple[str, ...] | None
    on_critical: tuple[str, ...] | None
    on_profiling: tuple[str, ...] | None
    on_exit: tuple[str, ...] | None
    hook_timeout: float
    signal_at: tuple[tuple[str, int], ...]
    notify: str | None
    pyroscope: str | None
    keep_runs: int
    keep_age: float
    keep_bytes: int
    metrics_port: int | None
    metrics_address: str
    metrics_socket: str | None
    metrics_file: str | None
    ship: str | None
    ship_timeout: float
    otlp: str | None
    log_format: str
    log_level: str
    log_file: str | None
    quiet: bool
    watch: bool
    evidence_mode: int

    def __init__(
        self,
        values: dict[str, Value],
        *,
        chosen: dict[str, Value],
        levels: tuple[Level, ...],
        detected: environment.Detected,
        facts: Facts,
        adjusted: tuple[dict[str, Any], ...],
        unknown: tuple[str, ...],
        ignored: tuple[str, ...],
        distrusted: tuple[str, ...],
    ) -> None:
        self.values = values
        self.chosen = chosen  # thresholds before any was moved
        self.levels = levels
        self.detected = detected
        self.facts = facts
        self.adjusted = adjusted
        self.unknown = unknown
        self.ignored = ignored
        self.distrusted = distrusted  # variables of a file that may not set them
        self.directory = ""  # where guard was started
        for setting in SETTINGS:
            setattr(self, setting.key, values[setting.name].value)


def resolve(
    given: Mapping[str, list[str]],
    environ: Mapping[str, str],
    entries: Mapping[str, Entry] | None,
    facts: Facts,
    *,
    nested: bool = False,
    file_name: str = ".env.profiling",
    mode: str = "",
    file_is_named: bool = False,
) -> Config:
    """The Config of these sources. `nested`: another guard is among the ancestors; `mode`: a preset whose values
    come before the environment's; `file_is_named`: a person chose the file. Raises UsageError.
    """
    distrusted = [] if file_is_named else _distrusted(entries or {})
    entries = {name: entry for name, entry in (entries or {}).items() if name not in distrusted}
    values: dict[str, Value] = {}
    ignored: list[str] = []
    for setting in SETTINGS:
        found = _explicit(setting, given, environ, entries, nested, ignored, file_name)
        if found is not None:
            values[setting.name] = found
    detected = environment.detect(environ, container=facts.container, terminal=facts.terminal)
    if "env" in values:
        detected = environment.Detected(values["env"].value, values["env"].origin)
    else:
        values["env"] = Value(detected.name, "detected", detected.evidence)
    preset = PRESETS[detected.name].values | (PRESETS[mode].values if mode else {})
    for setting in SETTINGS:
        if setting.name not in values:
            source = "preset" if setting.default is PRESET else "default"
            value = preset[setting.name] if setting.default is PRESET else setting.default
            named = mode if mode and setting.name in PRESETS[mode].values else detected.name
            values[setting.name] = Value(value, source, named if source == "preset" else "built in")
    adjusted = _adapt(values, facts)
    _without_probe(values, adjusted)
    chosen = {name: values[name] for name in LEVELS}
    levels = levels_at_start(values, facts, adjusted)
    unknown = tuple(name for name in (*environ, *entries) if _unknown(name, environ.get(name, "")))
    return Config(
        values,
        chosen=chosen,
        levels=levels,
        detected=detected,
        facts=facts,
        adjusted=tuple(adjusted),
        unknown=unknown,
        ignored=tuple(ignored),
        distrusted=tuple(distrusted),
    )


def _distrusted(entries: Mapping[str, Entry]) -> list[str]:
    """What a file that was just found may not set: a checkout must not make guard run its commands."""
    trusted = {variable for setting in SETTINGS if setting.trusted for variable in setting.variables}
    return [name for name in entries if name in trusted]


def one(
    name: str, given: str | None, environ: Mapping[str, str], entries: Mapping[str, Entry] | None, file_name: str
) -> Value:
    """One setting that has a built-in value, by itself: no other's bad value is in its way. Raises UsageError."""
    setting = next(setting for setting in SETTINGS if setting.name == name)
    options = {} if given is None else {name: [given]}
    found = _explicit(setting, options, environ, entries or {}, False, [], file_name)
    return found or Value(setting.default, "default", "built in")


def _explicit(
    setting: Setting,
    given: Mapping[str, list[str]],
    environ: Mapping[str, str],
    entries: Mapping[str, Entry],
    nested: bool,
    ignored: list[str],
    file_name: str,
) -> Value | None:
    if setting.name in given:
        texts = given[setting.name]
        parsed = [_parse(setting, text, f"--{setting.name}", "on the command line") for text in texts]
        return Value(tuple(parsed) if setting.repeat else parsed[-1], "command line", f"--{setting.name}")
    for name in setting.variables:
        if name not in environ or _from_kubernetes(name, environ[name]):
            continue
        # GUARD_ENV and GUARD_PROFILES_DIR tell of the place, the others of one guard's behaviour.
        if nested and name.startswith("GUARD_") and setting.name not in ("env", "profiles-dir"):
            ignored.append(name)
            continue
        return Value(_parse_variable(setting, environ[name], name, "in the environment"), "environment", name)
    for name in setting.variables:
        entry = entries.get(name)
        if entry is None:
            continue
        where = f"in {file_name}, line {entry.line}"
        if entry.expands:
            raise UsageError(
                f"{name}={entry.value[:80]} {where}",
                why="guard reads the file without a shell, so nothing is expanded or executed",
                hint="write the value itself, or put it in single quotes",
            )
        return Value(_parse_variable(setting, entry.value, name, where), "file", f"{name} {where}")
    return None


def _parse_variable(setting: Setting, text: str, name: str, where: str) -> Any:
    if setting.repeat:
        return tuple(_parse(setting, word, name, where) for word in text.split())
    return _parse(setting, text, name, where)


def _parse(setting: Setting, text: str, name: str, where: str) -> Any:
    try:
        return setting.parse(text)
    except BadValue as error:
        shown = text if len(text) <= 80 else text[:77] + "..."
        if setting.kind in SECRET_KINDS and text:
            shown = "…"
        raise UsageError(f"{name}={shown!r} {where}: not accepted", why=f"it takes {error}") from None


def _from_kubernetes(name: str, value: str) -> bool:
    return value.startswith(("tcp://", "udp://", "sctp://")) or any(mark in name for mark in _SERVICE_MARKS)


def _unknown(name: str, value: str) -> bool:
    if not name.startswith("GUARD_") or name.startswith("GUARD_EVENT_"):
        return False
    known = any(name in setting.variables for setting in SETTINGS)
    return not known and not _from_kubernetes(name, value) and name != "GUARD_TEST_INSTALL"


def _adapt(values: dict[str, Value], facts: Facts) -> list[dict[str, Any]]:
    """What little memory and few cores change in values that nobody chose."""
    adjusted: list[dict[str, Any]] = []

    def move(name: str, value: Any, reason: str) -> None:
        old = values[name]
        if not old.explicit:
            adjusted.append({"setting": name, "from": show(name, old.value), "to": show(name, value), "reason": reason})
            values[name] = Value(value, "adjusted", f"{old.source} {old.origin}, {reason}")

    if facts.limit_bytes < _LOW_MEMORY:
        move(
            "max-samples", values["max-samples"].value // 2, f"{human_bytes(facts.limit_bytes)} of memory is under 2 GB"
        )
    if facts.cores < _FEW_CORES:
        move("sampling-interval", values["sampling-interval"].value * 2, f"{facts.cores:g} cores are fewer than 4")
    return adjusted


def _without_probe(values: dict[str, Value], adjusted: list[dict[str, Any]]) -> None:
    """What only a probe can tell is refused without one; a file's is off, since the file may name no probe itself."""
    for name in ("response-time", "stall"):
        if values[name].value is None or values["probe"].value is not None:
            continue
        if values[name].source == "file":
            reason = "it needs a probe, and none was given"
            adjusted.append({"setting": name, "from": show(name, values[name].value), "to": "-", "reason": reason})
            values[name] = Value(None, "adjusted", reason)
        else:
            raise UsageError(
                f"--{name} ({values[name].origin}) needs a probe",
                why="only a probe tells whether, and how soon, the target answers",
                hint="--probe http://127.0.0.1:8000/health   or   --probe tcp://127.0.0.1:8000",
            )


def show(name: str, value: Any) -> str:
    """A setting's value for people."""
    setting = BY_NAME[name]
    if value is None:
        return "-"
    if setting.repeat:
        return " ".join(_one(each) for each in value) or "-"
    if setting.kind == "switch":
        return "on" if value else "off"
    if setting.kind == "command":
        return f"{value[0]} …" if len(value) > 1 else str(value[0])
    if setting.kind in SECRET_KINDS:
        return masked_url(value)
    if setting.kind == "share":
        return human_percent(value)
    if setting.kind == "size":
        return human_bytes(value)
    if isinstance(value, float) and setting.kind in ("cpu-share", "count-or-share"):
        return human_percent(value)
    if isinstance(value, float) and setting.kind in _TIMES:
        return human_duration(value)
    if setting.kind == "mode":
        return f"{value:04o}"
    if setting.kind == "signal":
        from supervisor.quantities import signal_name

        return signal_name(value)
    return str(value)


def _one(value: Any) -> str:
    return ":".join(str(each) for each in value) if isinstance(value, tuple) else str(value)


def plain(name: str, value: Any) -> Any:
    """A setting's value for programs: bytes, seconds, shares and numbers as they are; signals by name."""
    if isinstance(value, Threshold):
        return {"bytes": value.size_bytes} if value.size_bytes is not None else {"share": value.share}
    if BY_NAME[name].repeat:
        return [_one(each) for each in value]
    if value is not None and BY_NAME[name].kind in ("signal", "mode", *SECRET_KINDS):
        return show(name, value)
    return value


__all__ = ["ENVIRONMENTS", "Config", "plain", "resolve", "show"]
