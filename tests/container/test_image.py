"""What the Dockerfile makes: lean, not root, isolated, with the command's own exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.container import base
from tests.container.engine import ROOT, Container, Engine

OWN_MB = 75  # measured: 66 MB, of which py-spy is 8, typer with pydantic and rich 17


def inspected(engine: Engine, image: str) -> dict[str, Any]:
    return dict(json.loads(engine.must("image", "inspect", image))[0])


def test_the_image_starts_guard_as_another_user_than_root(engine: Engine, image: str) -> None:
    settings = inspected(engine, image)["Config"]
    assert settings["Entrypoint"] == ["guard"]
    assert settings["User"] not in ("", "0", "root")
    assert engine.must("run", "--rm", image, "--version").startswith("guard ")
    assert engine.must("run", "--rm", image).startswith("Usage: guard ")  # without a command


def test_what_guard_adds_is_bounded(engine: Engine, image: str, bare_image: str) -> None:
    added = inspected(engine, image)["Size"] - inspected(engine, base.IMAGE)["Size"]
    assert 0 < added < OWN_MB * 1_000_000
    assert added < inspected(engine, bare_image)["Size"] < (OWN_MB + 3) * 1_000_000


def test_no_installer_and_no_source_of_the_build_is_left(engine: Engine, image: str) -> None:
    names = engine("run", "--rm", "--entrypoint", "find", image, "/opt/guard", "/src", "/venv").stdout.split()
    assert "/opt/guard/bin/guard" in names
    assert not [name for name in names if name.startswith(("/src", "/venv"))]
    assert not [name for name in names if "/site-packages/pip" in name or "patchelf" in name or "/tests/" in name]


def test_the_build_sees_only_what_it_needs(engine: Engine, image: str) -> None:
    engine.build("--tag", "guard-tests-build", "--target", "build", str(ROOT))
    listing = engine.must("run", "--rm", "guard-tests-build", "ls", "-A", "/src", "/src/scripts").split()
    assert sorted(word for word in listing if not word.endswith(":")) == sorted(
        ["LICENSE", "README.md", "bin", "bundle.py", "constraints.txt", "pyproject.toml", "scripts", "supervisor"]
    )


def test_the_images_user_owns_nothing_of_guard(engine: Engine, image: str) -> None:
    found = engine.must("run", "--rm", "--entrypoint", "find", image, "/opt/guard", "-writable", "-not", "-type", "l")
    assert found == ""


def test_the_command_is_isolated_by_its_first_line(engine: Engine, image: str) -> None:
    line = engine.must("run", "--rm", "--entrypoint", "head", image, "-n1", "/opt/guard/bin/guard")
    assert line == "#!/opt/guard/bin/python3 -IS"


@pytest.mark.parametrize(
    ("setting", "shown"),
    [
        ("PYTHONHOME=/nowhere", "/nowhere"),
        ("PYTHONPATH=/programs", "/programs"),
        ("LD_LIBRARY_PATH=/programs", "/programs"),
        ("LC_ALL=xx_YY", "xx_YY"),
    ],
)
def test_the_environment_is_the_targets_and_leaves_guard_alone(
    start: Callable[..., Container], setting: str, shown: str
) -> None:
    name = setting.partition("=")[0]
    container = start(
        ["--env", setting], ["run", "--", "sh", "-c", f"echo ${name}; tr '\\0' '\\n' </proc/self/environ"]
    )
    assert container.end() == 0
    own, *environment = container.output().splitlines()
    assert own == shown
    assert not [entry for entry in environment if entry.startswith("LC_CTYPE=")]
    assert container.noise == []


CODES: list[tuple[list[str], int]] = [
    (["true"], 0),
    (["sh", "-c", "exit 3"], 3),
    (["sh", "-c", "kill -TERM $$"], 143),
    (["sh", "-c", "kill -KILL $$"], 137),
    (["no-such-command"], 127),
    (["/etc/passwd"], 126),
]


@pytest.mark.parametrize(("command", "code"), CODES, ids=[str(code) for _, code in CODES])
def test_exit_codes(start: Callable[..., Container], command: list[str], code: int) -> None:
    assert start([], ["run", "--", *command]).end() == code


def test_a_bad_option_is_explained(start: Callable[..., Container]) -> None:
    container = start([], ["run", "--warning", "lots", "--", "true"])
    assert container.end() == 2
    assert "lots" in container.said()


def test_guard_is_pid_1_and_reaps(start: Callable[..., Container]) -> None:
    orphan = "(sh -c 'sleep 0.1 & echo $!' >/tmp/orphan); o=$(cat /tmp/orphan)"
    script = f"{orphan}; while [ -d /proc/$o ]; do sleep 0.05; done; cat /proc/1/comm"
    container = start([], ["run", "--", "sh", "-c", script])
    assert container.end() == 0
    assert container.output() == "guard\n"
    assert container.named("run.started")[0]["guard_pid"] == 1
    assert container.named("reaper.unavailable") == []


def test_the_container_is_taken_for_production(start: Callable[..., Container]) -> None:
    container = start([], ["run", "--", "true"])
    assert container.end() == 0
    started = container.named("run.started")[0]
    assert started["environment"] == "production"
    assert "container" in started["environment_evidence"]
