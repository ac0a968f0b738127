"""How long guard stays at the end of a run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.stay import Bounds, bounds


def config(*explicit: str, **settings: Any) -> Any:
    names = ("hook-timeout", "ship-timeout")
    values = {name: SimpleNamespace(explicit=name in explicit) for name in names}
    return SimpleNamespace(values=values, **({"hook_timeout": 30.0, "ship_timeout": 10.0, "otlp": None} | settings))


@pytest.mark.parametrize(
    ("found", "expected", "whole_s"),
    [
        (bounds(config(), stopped=False, hooks=0), Bounds(0.0, 5.0, 10.0, 1.0, 2.0), 10.0),
        (bounds(config(), stopped=False, hooks=2), Bounds(70.0, 5.0, 10.0, 1.0, 2.0), 80.0),
        (bounds(config(otlp="env"), stopped=False, hooks=0), Bounds(0.0, 5.0, 10.0, 3.0, 2.0), 10.0),
        (bounds(config(), stopped=True, hooks=2), Bounds(4.0, 2.0, 3.0, 1.0, 2.0), 7.0),
        (
            bounds(config("hook-timeout", hook_timeout=6.0), stopped=True, hooks=2),
            Bounds(11.0, 2.0, 3.0, 1.0, 2.0),
            14.0,
        ),
        (bounds(config("ship-timeout"), stopped=True, hooks=0), Bounds(0.0, 2.0, 10.0, 1.0, 2.0), 10.0),
        (bounds(config(ship_timeout=1.0), stopped=True, hooks=0), Bounds(0.0, 2.0, 1.0, 1.0, 2.0), 2.0),
        (bounds(config(), stopped=False, hooks=0, again=True, wait_s=0.9), Bounds(0.0, 0.0, 0.0, 0.0, 2.0), 2.0),
        (bounds(config(), stopped=False, hooks=0, again=True, wait_s=4.0), Bounds(0.0, 0.0, 4.0, 0.0, 2.0), 4.0),
        (bounds(config(), stopped=False, hooks=0, again=True, wait_s=15.0), Bounds(0.0, 0.0, 10.0, 0.0, 2.0), 10.0),
        (bounds(config(), stopped=False, hooks=0, again=True), Bounds(0.0, 0.0, 10.0, 0.0, 2.0), 10.0),
    ],
)
def test_bounds(found: Bounds, expected: Bounds, whole_s: float) -> None:
    assert found == expected and found.whole_s == whole_s
