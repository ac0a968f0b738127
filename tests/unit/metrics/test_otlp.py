"""What is pushed by OTLP: the same figures as the text's, under names that lead back to it."""

from __future__ import annotations

import importlib.util

import pytest

from supervisor import installing, metrics
from supervisor.errors import UsageError
from supervisor.metrics import otlp
from supervisor.metrics.exposition import Family
from tests.unit.metrics.test_exposition import LINE, shown


def back(name: str, unit: str, monotonic: bool) -> str:
    """The Prometheus name of a metric (OpenTelemetry: Prometheus and OpenMetrics compatibility, metric metadata)."""
    words = {"By": "bytes", "s": "seconds", "1": "ratio", "By/s": "bytes_per_second", "": ""}[unit]
    found = name.replace(".", "_") + (f"_{words}" if words else "")
    return found + ("_total" if monotonic else "")


def pairs(families: list[Family]) -> list[tuple[Family, otlp.Point]]:
    return [(family, point) for family in families for point in otlp.points([family])]


def test_every_figure_comes_out_at_its_own_name() -> None:
    families = shown()
    expected = [
        (family.name, dict(labels), value)
        for family in families
        if family.kind != "info"
        for labels, value in family.samples
    ]
    found = [
        (back(name, unit, monotonic), dict(labels), value)
        for name, unit, monotonic, _, labels, value in otlp.points(families)
    ]
    assert found == expected
    assert len(found) > 25
    named = {(family.name, point[0]) for family, point in pairs(families)}
    assert len({name for _, name in named}) == len(families) - 1, "two metrics of one name"


def test_data_is_cumulative_since_guard_began() -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics

    request = encode_metrics(otlp.data(LINE | {"begun_at": 1795716270.5}, shown(), 1795716281 * 10**9))
    (resource,) = request.resource_metrics
    (scope,) = resource.scope_metrics
    about = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert about["service.name"] == "app" and about["service.instance.id"] == LINE["run"]
    assert scope.scope.name == "guard" and scope.scope.version == "0.1.0"
    by_name = {metric.name: metric for metric in scope.metrics}
    cpu = by_name["guard.cpu"]
    assert (cpu.unit, cpu.sum.is_monotonic, cpu.sum.aggregation_temporality) == ("s", True, 2)
    (point,) = cpu.sum.data_points
    assert (point.as_double, point.start_time_unix_nano) == (1.25, 1795716270_500000000)
    (limit,) = by_name["guard.limit"].gauge.data_points
    assert (limit.as_int, limit.time_unix_nano, by_name["guard.limit"].unit) == (1000, 1795716281 * 10**9, "By")
    states = {
        point.attributes[0].value.string_value: point.as_int for point in by_name["guard.state"].gauge.data_points
    }
    assert states == {"ok": 0, "warning": 1, "critical": 0, "profiling": 0}


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://collector:4318", "http://collector:4318/v1/metrics"),
        ("http://collector:4318/", "http://collector:4318/v1/metrics"),
        ("https://a.example/otlp", "https://a.example/otlp/v1/metrics"),
        ("https://a.example/otlp/v1/metrics", "https://a.example/otlp/v1/metrics"),
    ],
)
def test_the_endpoint(given: str, used: str) -> None:
    assert otlp.endpoint(given) == used


def test_the_interval() -> None:
    name = "OTEL_METRIC_EXPORT_INTERVAL"
    given = {"15000": 15.0, "1": 1.0, "1e99": 3600.0, "": 60.0, "soon": 60.0, "nan": 60.0}
    assert {text: otlp.interval_s({name: text}) for text in given} == given
    assert otlp.interval_s({}) == 60.0


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as refused:
        metrics.check()
    assert installing.extra("otlp") in "\n".join(refused.value.lines())


def test_nothing_secret_is_said() -> None:
    said = otlp._Said("https://a.example/s3cret/v1/metrics", "https://a.example/…")
    for text in ("Failed to export to https://a.example/s3cret/v1/metrics", "refused: /s3cret/v1/metrics\n(a, b)"):
        assert "s3cret" not in said.clean(text) and "\n" not in said.clean(text)
