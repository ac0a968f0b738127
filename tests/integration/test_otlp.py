"""`--otlp`: what a collector on loopback finds in the protobuf that a real guard sends."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration import stepping
from tests.integration.receiver import Receiver

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otlp isn't installed")

pytestmark = pytest.mark.integration


def decoded(body: bytes) -> tuple[dict[str, str], dict[str, dict[str, float]]]:
    """Resource attributes, and values by metric and by the labels' values."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    (resource,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
    (scope,) = resource.scope_metrics
    found: dict[str, dict[str, float]] = {}
    for metric in scope.metrics:
        points = getattr(metric, str(metric.WhichOneof("data"))).data_points
        found[metric.name] = {
            ",".join(each.value.string_value for each in point.attributes): (
                point.as_int if point.WhichOneof("value") == "as_int" else point.as_double
            )
            for point in points
        }
    return {each.key: each.value.string_value for each in resource.resource.attributes}, found


def first_request(collector: Receiver) -> tuple[str, str, dict[str, str], bytes]:
    method, path, headers, body = collector.wait_for_request()[0]
    return method, path, {name.lower(): value for name, value in headers.items()}, body


def test_a_collector_gets_the_figures(start: Callable[..., Any]) -> None:
    with Receiver() as collector:
        url = collector.url.replace("://", "://me:p%40ss@")
        options = [*stepping.SMALL, "--no-profiling", "--otlp", url]
        run = stepping.begin(start, options, env={"OTEL_RESOURCE_ATTRIBUTES": "service.namespace=shop"})
        method, path, headers, body = first_request(collector)
        assert (method, path, headers["content-type"]) == ("POST", "/v1/metrics", "application/x-protobuf")
        assert headers["authorization"] == "Basic bWU6cEBzcw=="
        about, first = decoded(body)
        assert about["service.name"] == "stepper" and about["service.namespace"] == "shop"
        assert about["service.instance.id"] == run.record["run"]
        assert first["guard.target_up"] == {"": 1}
        stepping.tell(run, "grow 100")
        run.wait_for("state.changed", to="critical")
        before = len(collector.requests)
        _, large = decoded(collector.wait_for_request(before + 1)[-1][3])  # a state doesn't wait for the minute
        assert large["guard.tree_rss"][""] > first["guard.tree_rss"][""] + 30e6
        stepping.order(run, "exit 3")
        assert run.end() == 3
        _, last = decoded(collector.requests[-1][3])
        assert last["guard.up"] == last["guard.target_up"] == {"": 0}
        assert last["guard.samples"] == {"": run.record["samples"]}
        serving = run.wait_for("metrics.serving", what="otlp")
        assert serving["place"] == f"{collector.url}/…"
    assert "p%40ss" not in run.said() and "bWU6" not in run.said()


def test_the_usual_variables_are_honoured(start: Callable[..., Any]) -> None:
    with Receiver() as collector:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"{collector.url}/base", "OTEL_SERVICE_NAME": "shop",
                     "OTEL_EXPORTER_OTLP_HEADERS": "x-key=abc", "GUARD_OTLP": "env"}  # fmt: skip
        run = start(["--interval", "200ms"], ["cat"], stdin=subprocess.PIPE, env=variables)
        _, path, headers, body = first_request(collector)
        assert path == "/base/v1/metrics" and headers["x-key"] == "abc"
        assert decoded(body)[0]["service.name"] == "shop"
        run.process.stdin.close()
        assert run.end() == 0


@pytest.mark.parametrize(("answer", "said"), [(401, "401"), (None, "refused"), ("hang", "")])
def test_a_collector_that_does_not_take_them(start: Callable[..., Any], answer: int | str | None, said: str) -> None:
    """Named without a secret; the other ways to the figures work, and the end isn't held up."""
    with Receiver(answer or 200) as collector:
        if answer is None:
            collector.close()
        url = collector.url.replace("://", "://me:pw@") + "/s3cret"
        run = start(["--interval", "200ms", "--otlp", url, "--metrics-port", "0"], ["sh", "-c", "read line; exit 7"],
                    stdin=subprocess.PIPE, env={"OTEL_EXPORTER_OTLP_TIMEOUT": "3"})  # fmt: skip
        run.wait_for("metrics.serving", what="port")
        if said:
            failed = run.wait_for("metrics.failed", what="otlp")
            assert said in failed["reason"].lower()
            assert "s3cret" not in run.said() and "pw" not in str(failed)
        else:
            collector.wait_for_request()
        began = time.monotonic()
        run.process.stdin.write(b"\n")
        run.process.stdin.flush()
        assert run.end() == 7
        assert time.monotonic() - began < 10
