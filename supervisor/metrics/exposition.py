"""Families of metrics as text: Prometheus 0.0.4 and OpenMetrics 1.0. Pure.

Written here and not by prometheus_client: the two formats are a page of code, and that package takes 13 MB and 50 ms
more in a process that counts against the target's limit. Its parsers read what this writes in the tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_UNITS = ("bytes", "seconds", "ratio")
_MOST_LABEL = 200


class Family(NamedTuple):
    """Metrics of one name. `kind`: gauge, counter (whose name ends in _total) or info (in _info).

    `samples` are (labels, value); without samples the family isn't shown.
    """

    name: str
    kind: str
    help: str
    samples: tuple[tuple[Mapping[str, str], float], ...]

    @property
    def base(self) -> str:
        """The name as OpenMetrics has it in HELP and TYPE: without the suffix that the kind adds."""
        suffix = {"counter": "_total", "info": "_info"}.get(self.kind, "")
        return self.name.removesuffix(suffix) if suffix else self.name

    @property
    def unit(self) -> str:
        """The unit that the name ends in; "" without one."""
        return next((unit for unit in _UNITS if self.base.endswith("_" + unit)), "")


def prometheus(families: Iterable[Family]) -> str:
    """The text that Prometheus reads, and node_exporter from a file."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        kind = "gauge" if family.kind == "info" else family.kind
        lines += [f"# HELP {family.name} {_help(family.help)}", f"# TYPE {family.name} {kind}"]
        lines += [_sample(family.name, *sample) for sample in family.samples]
    return "\n".join(lines) + "\n" if lines else ""


def open_metrics(families: Iterable[Family]) -> str:
    """The same as OpenMetrics."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        lines.append(f"# TYPE {family.base} {family.kind}")
        if family.unit:
            lines.append(f"# UNIT {family.base} {family.unit}")
        lines.append(f"# HELP {family.base} {_help(family.help, quotes=True)}")
        lines += [_sample(family.name, *sample) for sample in family.samples]
    return "\n".join([*lines, "# EOF"]) + "\n"


def wants_open_metrics(accept: str) -> bool:
    """Whether an Accept header asks for OpenMetrics 1.0, and for no plain text before it (RFC 9110, 12.5.1)."""
    best = {"open": 0.0, "plain": 0.0}
    for part in accept.lower().split(","):
        kind, *parameters = (word.strip() for word in part.split(";"))
        given = dict(parameter.replace(" ", "").partition("=")[::2] for parameter in parameters)
        try:
            weight = float(given.get("q", "1"))
        except ValueError:
            continue
        if kind == "application/openmetrics-text" and given.get("version", "1.0.0") == "1.0.0":
            best["open"] = max(best["open"], weight)
        elif kind == "text/plain":
            best["plain"] = max(best["plain"], weight)
    return best["open"] > 0 and best["open"] >= best["plain"]


def _help(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    shown = ",".join(f'{key}="{_label(text)}"' for key, text in labels.items())
    return f"{name}{{{shown}}} {_number(value)}" if shown else f"{name} {_number(value)}"


def _label(text: str) -> str:
    text = text[:_MOST_LABEL].encode("utf-8", "backslashreplace").decode()
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1 << 53 else repr(float(value))
