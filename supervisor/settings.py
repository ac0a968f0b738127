"""The one table of settings.

It drives the typer command's options, the small parser for a plain line, the environment variables, the env file,
`guard config` and the docs. A setting's value has the type its kind's parser returns (see `quantities`).
"""

from __future__ import annotations

from supervisor import addresses, quantities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ENVIRONMENTS = ("development", "production", "ci")
LEVELS = ("warning", "critical", "profiling")
_WEBHOOKS = ("https", "http", "slack+https", "slack+http", "ntfy+https", "ntfy+http")
SECRET_KINDS = ("command", "url", "endpoint", "webhook", "probe", "ship", "pprof")  # their values are shown in part

# kind -> (how its value is written, parser)
KINDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "threshold": ("SIZE|%", quantities.parse_threshold),
    "size": ("SIZE", quantities.parse_size),
    "share": ("PERCENT", quantities.parse_share),
    "interval": ("TIME", lambda text: quantities.parse_duration(text, 1e-3)),
    "microseconds": ("TIME", lambda text: quantities.parse_duration(text, 1e-6)),
    "duration": ("TIME", lambda text: quantities.parse_duration(text, 1.0)),
    "patience": ("TIME", lambda text: quantities.parse_duration(text, 1.0, zero=True)),
    "count": ("N", quantities.parse_count),
    "cpu-share": ("PERCENT|auto", quantities.parse_cpu_share),
    "response-time": ("TIME|auto", quantities.parse_response_time),
    "count-or-share": ("N|%", quantities.parse_count_or_share),
    "pressure": ("WHAT:WHOM:PERCENT", quantities.parse_pressure),
    "probe": ("URL", addresses.parse_probe),
    "switch": ("", quantities.parse_switch),
    "signal": ("SIGNAL", quantities.parse_signal),
    "signal-map": ("FROM:TO", quantities.parse_signal_map),
    "exit-map": ("FROM:TO", quantities.parse_exit_map),
    "mode": ("MODE", quantities.parse_mode),
    "command": ("CMD", quantities.parse_command),
    "state-signal": ("STATE:SIGNAL", quantities.parse_state_signal),
    "url": ("URL", lambda text: addresses.parse_url(text, ("https", "http"))),
    "webhook": ("URL", lambda text: addresses.parse_url(text, _WEBHOOKS)),
    "ship": ("URL|DIR", addresses.parse_ship),
    "path": ("PATH", lambda text: _non_empty(text, "a path")),
    "endpoint": ("URL|env", addresses.parse_endpoint),
    "pprof": ("URL|auto", addresses.parse_pprof),
    "port": ("PORT", addresses.parse_port),
    "address": ("IP", addresses.parse_address),
    "collected": ("PATH.prom", addresses.parse_collected),
    "socket-path": ("PATH", addresses.parse_socket_path),
    "text": ("GLOB", lambda text: _non_empty(text, "a pattern")),
}


def _non_empty(text: str, what: str) -> str:
    if not text or "\0" in text:
        raise quantities.BadValue(what)
    return text


class Setting:
    """One setting: `name` is the long option without dashes; `choices` replaces `kind`'s parser where given.

    `trusted`: it names what guard runs or where it sends, so no file that just lies in the directory may set it.
    """

    __slots__ = ("aliases", "choices", "default", "group", "help", "kind", "name", "repeat", "trusted")

    def __init__(
        self,
        name: str,
        kind: str,
        default: Any,
        help: str,
        *,
        group: str,
        aliases: tuple[str, ...] = (),
        choices: tuple[str, ...] = (),
        repeat: bool = False,
        trusted: bool = False,
    ) -> None:
        self.name = name
        self.kind = kind
        self.default = default
        self.help = help
        self.group = group
        self.aliases = aliases
        self.choices = choices
        self.repeat = repeat
        self.trusted = trusted

    @property
    def key(self) -> str:
        """The name as a Python identifier."""
        return self.name.replace("-", "_")

    @property
    def variables(self) -> tuple[str, ...]:
        """Environment variables that set it; the first one found wins."""
        return ("GUARD_" + self.key.upper(), *self.aliases)

    @property
    def metavar(self) -> str:
        """How its value is written in the help."""
        return "|".join(self.choices) if self.choices else KINDS[self.kind][0]

    def parse(self, text: str) -> Any:
        """The value of `text`; raises `BadValue` saying what is accepted."""
        if self.choices:
            if text not in self.choices:
                raise quantities.BadValue(_either(self.choices))
            return text
        return KINDS[self.kind][1](text)


def _either(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


PRESET = object()  # the default comes from the environment's preset

SETTINGS: tuple[Setting, ...] = (
    Setting("warning", "threshold", PRESET, "Memory at which a snapshot is taken and growth is attributed.",
            group="thresholds", aliases=("MEMORY_WARNING_THRESHOLD",)),
    Setting("critical", "threshold", PRESET, "Memory at which stacks of the guilty process are taken, too.",
            group="thresholds", aliases=("MEMORY_CRITICAL_THRESHOLD",)),
    Setting("profiling", "threshold", PRESET, "Memory at which the guilty process is profiled.",
            group="thresholds", aliases=("MEMORY_PROFILING_THRESHOLD",)),
    Setting("no-profiling", "switch", False, "Keep states and logs, start no profiler.", group="thresholds"),
    Setting("interval", "interval", 5.0, "Longest wait between samples; a bare number is ms.",
            group="thresholds", aliases=("MEMORY_CHECK_INTERVAL",)),
    Setting("metric", "", "rss", "What thresholds are held against.",
            group="thresholds", choices=("rss", "pss", "uss", "cgroup")),
    Setting("env", "", None, "The environment, instead of the detected one.", group="environment",
            choices=ENVIRONMENTS),
    Setting("profiles-dir", "path", "profiles", "Where evidence goes.", group="environment"),
    Setting("env-file", "path", ".env.profiling", "File of settings (valid shell; nothing is executed).",
            group="environment"),
    Setting("forward", "", "group", "Who gets forwarded signals.", group="process", choices=("group", "child")),
    Setting("rewrite-signal", "signal-map", (), "Send TO when FROM comes; TO 0 drops it.", group="process",
            repeat=True),
    Setting("remap-exit", "exit-map", (), "End with TO when the target's exit code is FROM.", group="process",
            repeat=True),
    Setting("subreaper", "switch", True, "Adopt the target's orphans when not PID 1.", group="process"),
    Setting("parent-death-signal", "signal", None, "Signal the target gets when guard dies.", group="process"),
    Setting("stop-signal", "signal", int(quantities.parse_signal("TERM")), "First signal of a stop that guard starts.",
            group="process"),
    Setting("stop-timeout", "patience", 10.0, "Patience before KILL in such a stop, and for what the target leaves.",
            group="process"),
    Setting("keep-group", "switch", False, "Leave alone what is left of the target's group when it ends.",
            group="process"),
    Setting("chdir", "path", None, "Directory the target starts in.", group="process"),
    Setting("allow-ptrace", "switch", True, "Under Yama 1, let guard's profilers into the target.", group="process"),
    Setting("restart", "", "no", "Start the target again when it has ended.", group="life",
            choices=("no", "on-failure", "always")),
    Setting("restart-max", "count", None, "Most restarts in a row, none of them up for 30 s; without it, no bound.",
            group="life"),
    Setting("restart-at", "threshold", None, "Memory at which the target is ended and started again, after evidence.",
            group="life"),
    Setting("reload", "switch", False, "Start the target again when files change (extra: reload).", group="life"),
    Setting("reload-dir", "path", (), "Directory to watch, instead of the one guard was started in.", group="life",
            repeat=True),
    Setting("reload-include", "text", (), "Files that count, instead of sources and settings.", group="life",
            repeat=True),
    Setting("reload-exclude", "text", (), "Files or folders that don't count.", group="life", repeat=True),
    Setting("cpu-threshold", "cpu-share", None, "Share of the cores the tree may use at which the busiest is profiled.",
            group="triggers"),
    Setting("cpu-window", "duration", 30.0, "Time over which that share counts.", group="triggers"),
    Setting("probe", "probe", None, "What to ask again and again whether, and how soon, the target answers.",
            group="triggers", trusted=True),
    Setting("probe-interval", "interval", 1.0, "Time from one probe to the next; a bare number is ms.",
            group="triggers"),
    Setting("probe-timeout", "duration", 5.0, "A probe without an answer by then timed out.", group="triggers"),
    Setting("response-time", "response-time", None, "Response time (p95 of 20 probes) at which it is profiled.",
            group="triggers"),
    Setting("fd-threshold", "count-or-share", None, "Open descriptors of one process, or the share of its own limit.",
            group="triggers"),
    Setting("thread-threshold", "count", None, "Threads of one process.", group="triggers"),
    Setting("stall", "duration", None, "Time without processor time and I/O, while the probe fails.", group="triggers"),
    Setting("pressure", "pressure", (), "Share of the time that tasks wait for memory, cpu or io.", group="triggers",
            repeat=True),
    Setting("sampling-interval", "microseconds", PRESET, "Time between CPU samples; a bare number is µs.",
            group="profiler", aliases=("CPU_PROF_SAMPLING_INTERVAL", "BUN_CPU_PROF_SAMPLING_INTERVAL")),
    Setting("max-samples", "count", PRESET, "Most samples a CPU profile keeps.",
            group="profiler", aliases=("CPU_PROF_MAX_SAMPLES", "BUN_CPU_PROF_MAX_SAMPLES")),
    Setting("heap-interval", "size", 1024, "Bytes between allocation samples.",
            group="profiler", aliases=("HEAP_PROF_INTERVAL", "BUN_HEAP_PROF_INTERVAL")),
    Setting("heap-agent", "", "none", "Put an agent for heap evidence into each Python that the target starts.",
            group="profiler", choices=("none", "census", "tracemalloc", "memray")),
    Setting("remote-exec", "switch", True, "Have a running Python 3.14+ count its objects for heap evidence.",
            group="profiler"),
    Setting("source-locations", "switch", PRESET, "Full file names and line numbers in frames.",
            group="profiler", aliases=("PRESERVE_SOURCE_LOCATIONS", "BUN_PRESERVE_SOURCE_LOCATIONS")),
    Setting("library-frames", "switch", PRESET, "Keep frames of libraries.", group="profiler"),
    Setting("overhead-budget", "share", PRESET, "Most of the target's time that profiling may take.",
            group="profiler"),
    Setting("node-inspector", "switch", True, "Open the inspector of a running Node for evidence (extra: node).",
            group="profiler"),
    Setting("go-pprof", "pprof", None, "Where a Go serves net/http/pprof; auto: ask the ports that it listens on.",
            group="profiler", trusted=True),
    Setting("profile-duration", "duration", 10.0, "Longest CPU profile that a state starts.", group="actions"),
    Setting("cooldown", "patience", 300.0, "Least time between two actions of a kind in a state.", group="actions"),
    Setting("max-actions", "count", 5, "Most actions of a kind in a run.", group="actions"),
    *(
        Setting(f"on-{moment}", "command", None, f"Run when {what}, without a shell; facts in GUARD_EVENT_*.",
                group="actions", trusted=True)
        for moment, what in (
            ("warning", "memory reaches warning"), ("critical", "memory reaches critical"),
            ("profiling", "memory reaches profiling"), ("exit", "the target has ended"),
        )
    ),
    Setting("hook-timeout", "duration", 30.0, "Longest that such a command may take.", group="actions"),
    Setting("signal-at", "state-signal", (), "Send the target SIGNAL when memory reaches STATE.", group="actions",
            repeat=True),
    Setting("notify", "webhook", None, "POST what happens to this URL: JSON, or a message for Slack or ntfy.",
            group="actions", trusted=True),
    Setting("pyroscope", "url", None, "Push profiles to this Pyroscope server.", group="actions", trusted=True),
    Setting("keep-runs", "count", 50, "Retention: runs kept, and as many profiles.", group="retention"),
    Setting("keep-age", "duration", 30 * 86400.0, "Retention: age of runs kept.", group="retention"),
    Setting("keep-bytes", "size", 1 << 30, "Retention: bytes kept.", group="retention"),
    Setting("metrics-port", "port", None, "Serve metrics for Prometheus on this port; 0 takes a free one.",
            group="metrics"),
    Setting("metrics-address", "address", "127.0.0.1", "Address that --metrics-port binds.", group="metrics",
            trusted=True),
    Setting("metrics-socket", "socket-path", None, "Serve metrics on a unix socket, for this user alone.",
            group="metrics"),
    Setting("metrics-file", "collected", None, "Keep metrics in this file, for node_exporter's textfile collector.",
            group="metrics"),
    Setting("otlp", "endpoint", None, "Push metrics by OTLP to this URL (extra: otlp); env: as OTEL_* variables say.",
            group="metrics", trusted=True),
    Setting("ship", "ship", None, "Ship evidence to a directory, by HTTP PUT or to s3:// (extra: ship).",
            group="output", trusted=True),
    Setting("ship-timeout", "patience", 10.0, "How long guard waits at the end for evidence to leave.",
            group="output"),
    Setting("log-format", "", "auto", "Log lines for people or programs; auto: by whether stderr is a terminal.",
            group="output", choices=("auto", "console", "json")),
    Setting("log-level", "", "info", "Least level that is logged.", group="output",
            choices=("debug", "info", "warning", "error")),
    Setting("log-file", "path", None, "Write log lines to this file, too (JSON).", group="output"),
    Setting("quiet", "switch", False, "Nothing on stderr but errors.", group="output"),
    Setting("watch", "switch", True, "Watch memory; --no-watch is a plain init.", group="output"),
    Setting("evidence-mode", "mode", 0o600, "File mode of evidence.", group="output"),
)  # fmt: skip

BY_NAME: dict[str, Setting] = {setting.name: setting for setting in SETTINGS}


class Preset:
    """What an environment (or the mode `critical`) sets; sizes in bytes, times in seconds, shares 0 to 1."""

    __slots__ = ("auto_cpu", "auto_response_s", "values")

    def __init__(self, values: dict[str, Any], auto_cpu: float | None, auto_response_s: float | None) -> None:
        self.values = values
        self.auto_cpu = auto_cpu
        self.auto_response_s = auto_response_s


def _preset(
    interval_us: int,
    samples: int,
    locations: bool,
    library: bool,
    megabytes: tuple[int, int, int] | tuple[()],
    budget: float | None,
) -> dict[str, Any]:
    thresholds = [quantities.Threshold(value * quantities.MEGABYTE, None) for value in megabytes]
    return {
        "sampling-interval": interval_us * 1e-6,
        "max-samples": samples,
        "source-locations": locations,
        "library-frames": library,
        "overhead-budget": budget,
        **dict(zip(LEVELS, thresholds, strict=False)),
    }


PRESETS: dict[str, Preset] = {
    "development": Preset(_preset(100, 200_000, True, True, (128, 256, 512), 0.10), 0.70, 0.2),
    "production": Preset(_preset(2000, 50_000, False, False, (512, 1024, 2048), 0.03), 0.90, 1.0),
    "ci": Preset(_preset(500, 75_000, True, False, (384, 768, 1536), 0.05), 0.85, 0.75),
    # A mode of `guard profile`: the environment's thresholds stay, there is no budget.
    "critical": Preset(_preset(100, 200_000, True, True, (), None), None, None),
}
