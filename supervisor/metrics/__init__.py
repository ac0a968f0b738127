"""Figures of a run for others: `teller` tells them, in the watcher; all else is the helper process that shows them.

`exporter` keeps the last line and makes families of it (`figures`) and text of those (`exposition`, both pure), for a
port and a unix socket (`serving`) and a file, or pushes them (`otlp`, in a thread of its own).
"""

from __future__ import annotations

from supervisor.config import Config
from supervisor.errors import UsageError


def wanted(config: Config) -> bool:
    """Whether the settings ask for figures."""
    every = (config.metrics_port, config.metrics_socket, config.metrics_file, config.otlp)
    return any(value is not None for value in every)


def check() -> None:
    """Refuse `--otlp` without its extra. Raises UsageError."""
    from importlib.util import find_spec

    try:
        found = find_spec("opentelemetry.exporter.otlp.proto.http.metric_exporter")
    except ImportError:
        found = None
    if found is None:
        from supervisor import installing

        why, hint = "opentelemetry-exporter-otlp-proto-http isn't installed", installing.extra("otlp")
        raise UsageError("--otlp needs OpenTelemetry's exporter", why=why, hint=hint)
