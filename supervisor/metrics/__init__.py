"""Figures of a run for others: `teller` tells them, in the watcher; all else is the helper process that shows them."""

from __future__ import annotations

from supervisor.config import Config


def wanted(config: Config) -> bool:
    """Whether the settings ask for figures."""
    return any(value is not None for value in (config.metrics_port, config.metrics_socket, config.metrics_file))
