"""The small parser and typer must mean the same by every line that the small one takes."""

from __future__ import annotations

import contextlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import cli, quickparse, run
from supervisor.errors import UsageError
from supervisor.settings import BY_NAME, SETTINGS

_GOOD = {
    "threshold": ["80%", "512", "1.5GiB"],
    "size": ["64MB"],
    "share": ["5%", "none"],
    "interval": ["500ms", "5s", "2000"],
    "microseconds": ["100"],
    "duration": ["3s"],
    "patience": ["0"],
    "count": ["7"],
    "cpu-share": ["90%", "auto"],
    "response-time": ["200ms", "auto"],
    "count-or-share": ["800", "80%"],
    "pressure": ["memory:some:10%"],
    "probe": ["http://127.0.0.1:8000/health", "tcp://localhost:5432", "unix:///run/app.sock"],
    "signal": ["TERM", "15"],
    "signal-map": ["15:3", "15:0"],
    "exit-map": ["143:0"],
    "mode": ["0640"],
    "path": ["x y", "=", "."],
    "command": ["echo 'a b'"],
    "state-signal": ["critical:USR1"],
    "url": ["https://a.example/x?y=z"],
    "webhook": ["slack+https://a.example/x"],
    "endpoint": ["http://127.0.0.1:4318", "env"],
    "pprof": ["http://127.0.0.1:6060", "auto"],
    "port": ["0", "9464"],
    "address": ["127.0.0.1", "::1"],
    "collected": ["a/guard.prom"],
    "socket-path": ["/run/guard.sock"],
    "ship": ["away", "https://u:p@a.example/x?y=z", "s3://bucket/x"],
    "text": ["*.py", "a b"],
}
_BAD = ["", "nan", "-1", "--", "x=y"]


def typer_line(arguments: list[str]) -> quickparse.Line | None:
    """What typer and the checks behind it make of the line; None when it is refused."""
    seen: list[tuple[dict[str, list[str]], list[str]]] = []

    original = run.execute
    run.execute = lambda given, command, mask, environ: seen.append((given, command))  # type: ignore[assignment,misc,return-value]
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            cli.app(args=["run", *arguments], prog_name="guard", standalone_mode=False)
    except (UsageError, Exception):
        return None
    finally:
        run.execute = original
    return quickparse.Line(*seen[0]) if seen else None


@st.composite
def options(draw: st.DrawFn) -> list[str]:
    setting = draw(st.sampled_from(SETTINGS))
    if setting.kind == "switch":
        return [draw(st.sampled_from(list(quickparse.switches(setting))))]
    values = list(setting.choices) or _GOOD[setting.kind]
    value = draw(st.sampled_from(values + _BAD) if draw(st.booleans()) else st.sampled_from(values))
    return [f"--{setting.name}={value}"] if draw(st.booleans()) else [f"--{setting.name}", value]


words = st.sampled_from(
    ["python", "app.py", "-c", "--port", "--warning", "80", "--", "|", "-", "--help", "-h", "", "a=b", "--watch"]
)


@given(st.lists(options(), max_size=4), st.booleans(), st.lists(words, max_size=4))
def test_the_same_as_typer(chosen: list[list[str]], dashes: bool, command: list[str]) -> None:
    arguments = [word for option in chosen for word in option] + (["--"] if dashes else []) + command
    quick = quickparse.parse(arguments)
    if quick is None:
        return
    slow = typer_line(arguments)
    assert slow is not None, arguments
    assert (quick.given, quick.command) == (slow.given, slow.command), arguments


@given(st.lists(st.one_of(words, st.text(max_size=6)), max_size=6))
def test_the_same_as_typer_on_any_words(arguments: list[str]) -> None:
    quick = quickparse.parse(arguments)
    if quick is not None:
        slow = typer_line(arguments)
        assert slow is not None, arguments
        assert (quick.given, quick.command) == (slow.given, slow.command)


def test_a_plain_line_is_taken_without_typer() -> None:
    line = quickparse.parse(
        [
            "--warning",
            "80%",
            "--interval=500ms",
            "--no-watch",
            "--remap-exit",
            "1:2",
            "--remap-exit",
            "3:4",
            "--",
            "a",
            "--b",
        ]
    )
    assert line is not None
    assert line.given == {"warning": ["80%"], "interval": ["500ms"], "watch": ["0"], "remap-exit": ["1:2", "3:4"]}
    assert line.command == ["a", "--b"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--"],
        ["--help"],
        ["--warn", "1", "--", "x"],
        ["--warning"],
        ["--warning", "nan", "--", "x"],
        ["--", "a", "|", "b"],
        ["--quiet=1", "--", "x"],
        ["--no-quiet", "--", "x"],
    ],
)
def test_what_it_is_not_sure_of_goes_to_typer(arguments: list[str]) -> None:
    assert quickparse.parse(arguments) is None


def test_every_setting_has_an_example_here() -> None:
    assert all(setting.choices or setting.kind == "switch" or setting.kind in _GOOD for setting in SETTINGS)
    assert len(BY_NAME) == len(SETTINGS)
