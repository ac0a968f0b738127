"""Figures pushed by OTLP over HTTP, in a thread of the helper: what waits for a network waits there.

The data is made from the same families as the text. Names follow OpenTelemetry's rules for Prometheus backwards: the
unit leaves the name, so that a collector which writes to Prometheus comes out at the names that `/metrics` has.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from supervisor import addresses, installing
from supervisor.metrics.exposition import Family

_TIMEOUT_S = 5.0
_TIMEOUTS = ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
_EVERY_S = 60.0  # OTEL_METRIC_EXPORT_INTERVAL's own default
_LEAST_S = 1.0
_UNITS = {"bytes": "By", "seconds": "s", "ratio": "1"}
_MOST_SAID = 300

Point = tuple[str, str, bool, str, Mapping[str, str], float]


class Pusher:
    """Pushes what `figures` gives: every so often, soon after `hurry`, and a last time at `end`.

    `url` is the base of the endpoint, "env" for what OTEL_EXPORTER_OTLP_ENDPOINT and its like say. `tell` is called
    from the thread: (kind, fields).
    """

    def __init__(
        self, url: str, figures: Callable[[], tuple[dict[str, Any], list[Family]]], tell: Callable[..., None]
    ) -> None:
        self._url = url
        self._figures = figures
        self._tell = tell
        self._exporter: Any = None
        self._wake = threading.Condition()
        self._urgent = self._over = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _open(self) -> None:
        """The library, which takes its time to be imported. Raises what it likes."""
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        url = self._url
        given = url != "env"
        self._exporter = OTLPMetricExporter(
            endpoint=endpoint(addresses.without_userinfo(url)) if given else None,
            headers=addresses.authorization(url) or None if given else None,
            timeout=None if any(os.environ.get(name) for name in _TIMEOUTS) else _TIMEOUT_S,
        )
        used = str(getattr(self._exporter, "_endpoint", url))
        self._place = addresses.masked_url(used)
        self._said = _Said(used, self._place)
        logger = logging.getLogger("opentelemetry")
        logger.addHandler(self._said)
        logger.propagate = False

    def hurry(self) -> None:
        """Something changed that shouldn't wait."""
        with self._wake:
            self._urgent = True
            self._wake.notify()

    def end(self, patience_s: float) -> None:
        """Push a last time, and wait this long for it."""
        with self._wake:
            self._over = True
            self._wake.notify()
        self._thread.join(patience_s)

    def _run(self) -> None:
        try:
            self._open()
        except Exception as error:
            hint = installing.extra("otlp", upgrade=True)
            self._tell("failed", reason=f"{type(error).__name__}: {error}"[:_MOST_SAID], hint=hint)
            return
        every_s = interval_s(os.environ)
        last_s = float("-inf")
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._over or self._urgent, every_s)
                over = self._over
            if not over and (early_s := last_s + _LEAST_S - time.monotonic()) > 0:
                with self._wake:
                    over = self._wake.wait_for(lambda: self._over, early_s)
            self._urgent = False
            last_s = time.monotonic()
            self._push()
            if over:
                return

    def _push(self) -> None:
        from opentelemetry.sdk.metrics.export import MetricExportResult

        line, families = self._figures()
        if not line:
            return
        self._said.texts.clear()
        try:
            done = self._exporter.export(data(line, families, time.time_ns()))
            why = "" if done == MetricExportResult.SUCCESS else self._said.all() or "it was refused"
        except Exception as error:  # whatever a library of that size raises: the thread has to go on
            why = self._said.clean(f"{type(error).__name__}: {error}")
        if why:
            self._tell("failed", reason=why, hint=f"curl -i -X POST {self._place}")
        else:
            self._tell("serving", place=self._place)


class _Said(logging.Handler):
    """Keeps the first and the last thing that the library logged, without the endpoint's secrets: cause and end."""

    def __init__(self, url: str, shown: str) -> None:
        super().__init__(logging.WARNING)
        self._url, self._shown = url, shown
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts[1:] = [record.getMessage()]

    def all(self) -> str:
        """What it said."""
        return self.clean("; ".join(dict.fromkeys(self.texts)))

    def clean(self, text: str) -> str:
        """One line, the endpoint masked."""
        path = self._url.partition("://")[2].partition("/")[2]
        text = text.replace(self._url, self._shown)
        if path and path != "v1/metrics":
            text = text.replace("/" + path, "/…")
        return " ".join(text.split())[:_MOST_SAID]


def endpoint(url: str) -> str:
    """The address for metrics below a base, as OTEL_EXPORTER_OTLP_ENDPOINT is understood."""
    base = url.rstrip("/")
    return base if base.endswith("/v1/metrics") else base + "/v1/metrics"


def interval_s(environ: Mapping[str, str]) -> float:
    """How often to push, from OTEL_METRIC_EXPORT_INTERVAL (ms)."""
    try:
        given = float(environ.get("OTEL_METRIC_EXPORT_INTERVAL", "")) / 1000
    except ValueError:
        return _EVERY_S
    return min(max(given, _LEAST_S), 3600.0) if given == given else _EVERY_S


def points(families: Iterable[Family]) -> list[Point]:
    """(name, unit, monotonic, help, attributes, value) of every sample; `info` is the resource's."""
    found: list[Point] = []
    for family in families:
        if family.kind == "info":
            continue
        name, unit = family.base, family.unit
        if name.endswith("_bytes_per_second"):
            name, unit = name.removesuffix("_bytes_per_second"), "By/s"
        elif unit:
            name, unit = name.removesuffix("_" + unit), _UNITS[unit]
        name = name.replace("_", ".", 1)
        for labels, value in family.samples:
            found.append((name, unit, family.kind == "counter", family.help, labels, value))
    return found


def data(line: Mapping[str, Any], families: Iterable[Family], now_ns: int) -> Any:
    """The library's MetricsData."""
    from opentelemetry.sdk.metrics.export import (
        AggregationTemporality,
        Gauge,
        Metric,
        MetricsData,
        NumberDataPoint,
        ResourceMetrics,
        ScopeMetrics,
        Sum,
    )
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    begun_ns = int(line.get("begun_at", 0) * 1e9)
    by_name: dict[tuple[str, str, bool, str], list[NumberDataPoint]] = {}
    for name, unit, monotonic, text, labels, value in points(families):
        number = int(value) if value == int(value) else value
        point = NumberDataPoint(dict(labels), begun_ns if monotonic else 0, now_ns, number)
        by_name.setdefault((name, unit, monotonic, text), []).append(point)
    metrics = [
        Metric(name, text, unit, Sum(found, AggregationTemporality.CUMULATIVE, True) if monotonic else Gauge(found))
        for (name, unit, monotonic, text), found in by_name.items()
    ]
    version = str(line.get("version", ""))
    resource = Resource.create({
        "service.name": os.environ.get("OTEL_SERVICE_NAME") or str(line.get("command_name", "")),
        "service.instance.id": str(line.get("run", "")),
        "host.name": os.uname().nodename,
        "deployment.environment.name": str(line.get("environment", "")),
    })  # fmt: skip
    scope = ScopeMetrics(InstrumentationScope("guard", version), metrics, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])
