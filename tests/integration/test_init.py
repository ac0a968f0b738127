"""What `guard init` writes is accepted by those who read it, and says there what was asked for."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import GUARD, ROOT

pytestmark = pytest.mark.integration
yaml = pytest.importorskip("yaml")
BIN = Path(sys.executable).parent
ALL = ("--dockerfile", "--compose", "--kubernetes", "--github-actions", "--gitlab", "--systemd", "--oomd")
# Whatever a format reads as its own: variables, specifiers, expressions, quotes, comments, separators.
HOSTILE = (
    "/bin/sh", "-c", "a $HOME ${HOME} $(id) `id` $$ %h %% 100%", "${{ github.token }}", "<script>&amp;", "it's \"q\"",
    "back\\slash\\", ": - # *a &b !c", "", ";", "|", "{x: [y]}", "ünïcödé 🟡", "-", "--", "null", "1e3", "x" * 2000,
)  # fmt: skip
COMMANDS = {"plain": ("/bin/sh", "-c", "exit 0"), "hostile": HOSTILE}
Init = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def init(tmp_path: Path) -> Init:
    """guard init in an empty directory."""

    def call(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*GUARD, "init", *arguments], cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", timeout=60
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return call


@pytest.fixture(params=list(COMMANDS))
def made(request: pytest.FixtureRequest, init: Init, tmp_path: Path) -> tuple[Path, tuple[str, ...]]:
    """A directory with every file, and the command in them."""
    import shlex

    command = COMMANDS[request.param]
    (tmp_path / "requirements.txt").write_text("")
    init(*ALL, "--name", "my-app", "--image", "registry.example/team/app:1.2", "--command", shlex.join(command))
    return tmp_path, command


def accepted(*line: str | Path) -> None:
    """A validator that has no complaint."""
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def by_schema(schema: str, file: Path) -> None:
    accepted(sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", file)


def test_compose(made: tuple[Path, tuple[str, ...]]) -> None:
    place, command = made
    file = place / "compose.guard.yaml"
    by_schema("compose-spec", file)
    service = yaml.safe_load(file.read_text())["services"]["my-app"]
    assert [word.replace("$$", "$") for word in service["command"]] == list(command)
    assert all(re.fullmatch(r"(\$\$|[^$])*", word) for word in service["command"])
    assert service["build"] == {"context": ".", "dockerfile": "Dockerfile.guard"}
    assert service["mem_limit"] == "512m"


def test_kubernetes(made: tuple[Path, tuple[str, ...]]) -> None:
    place, command = made
    file = place / "guard-deployment.yaml"
    accepted(BIN / "kubernetes-validate", "--strict", file)
    spec = yaml.safe_load(file.read_text())["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["command"] == ["/opt/guard/bin/guard", "run", "--stop-timeout", "20s", "--"]
    assert [word.replace("$$", "$") for word in container["args"]] == list(command)
    assert container["image"] == "registry.example/team/app:1.2"
    assert container["resources"]["limits"] == {"memory": "512Mi"}
    assert container["terminationMessagePath"] == "/dev/termination-log"
    assert spec["terminationGracePeriodSeconds"] > 20
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts["guard-profiles"] == {each["name"]: each["value"] for each in container["env"]}["GUARD_PROFILES_DIR"]
    assert {volume["name"] for volume in spec["volumes"]} == set(mounts)


def shell_words(script: str) -> list[str]:
    """What a shell makes of the command after `--` in the script's line that profiles."""
    (line,) = [line for line in script.splitlines() if "guard profile" in line]
    words = line.partition(" -- ")[2].rpartition(") || exit 1")[0]
    # Separated by 0, the last one ended by it as well.
    done = subprocess.run(["sh", "-c", f"printf '%s\\0' {words}"], capture_output=True, text=True, encoding="utf-8")
    return done.stdout.split("\0")[:-1]


def test_github_actions(made: tuple[Path, tuple[str, ...]]) -> None:
    place, command = made
    file = place / ".github" / "workflows" / "guard.yml"
    by_schema("github-workflows", file)
    steps = yaml.safe_load(file.read_text())["jobs"]["compare"]["steps"]
    script = next(step["run"] for step in steps if step.get("name") == "Profile both")
    expressions = re.findall(r"\$\{\{(.*?)\}\}", script)
    assert all(each == " '${{' " for each in expressions)
    assert shell_words(script.replace("${{ '${{' }}", "${{")) == list(command)
    assert any("requirements.txt" in step.get("run", "") for step in steps)


def test_gitlab(made: tuple[Path, tuple[str, ...]]) -> None:
    place, command = made
    file = place / ".gitlab-ci.guard.yml"
    by_schema("gitlab-ci", file)
    script = yaml.safe_load(file.read_text())["guard-compare"]["script"]
    assert shell_words(next(line for line in script if "guard profile" in line)) == list(command)
    accepted("sh", "-n", "-c", "\n".join(script))


def test_dockerfile(made: tuple[Path, tuple[str, ...]]) -> None:
    place, command = made
    file = place / "Dockerfile.guard"
    accepted(BIN / "hadolint", "--no-color", file)
    said = [line.removeprefix("CMD ") for line in file.read_text().splitlines() if line.startswith("CMD ")]
    assert json.loads(said[-1]) == list(command)


@pytest.mark.parametrize("options", [(), ("--base", "localhost/app:1")], ids=["copied", "based"])
def test_dockerfile_of_each_form(init: Init, tmp_path: Path, options: tuple[str, ...]) -> None:
    init("--dockerfile", *options)
    accepted(BIN / "hadolint", "--no-color", tmp_path / "Dockerfile.guard")
    text = (tmp_path / "Dockerfile.guard").read_text()
    assert ("COPY . ." in text) == (not options) and "requirements" not in text


def test_systemd(made: tuple[Path, tuple[str, ...]]) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("absent: systemd (GUARD_TEST_INSTALL=1 scripts/test installs it)")
    place, command = made
    file = place / "guard-my-app.service"
    for unit in (file, place / "guard-oomd.service", place / "guard-oomd.socket"):
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", "--recursive-errors=one", str(unit)],
            capture_output=True,
            text=True,
            env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
    (line,) = [line for line in file.read_text().splitlines() if line.startswith("ExecStart=")]
    assert unquoted(line.removeprefix("ExecStart="))[-len(command) :] == list(command)
    # And not %S/guard-my-app, which is a link for a dynamic user: tried with a real systemd.
    assert "GUARD_PROFILES_DIR=%S/private/guard-my-app\n" in file.read_text()


def unquoted(line: str) -> list[str]:
    """The words of a command line as systemd.syntax(7) and systemd.service(5) have it."""
    words = re.findall(r'"(?:\\.|[^"\\])*"|[^\s"]+', line)
    plain = [re.sub(r"\\(.)", r"\1", word[1:-1]) if word.startswith('"') else word for word in words]
    for word in plain:
        assert "%" not in word.replace("%%", "") and "$" not in word.replace("$$", "")
    return [word.replace("%%", "%").replace("$$", "$") for word in plain]


def test_a_validator_refuses_what_is_wrong(init: Init, tmp_path: Path) -> None:
    """So that their silence says something."""
    init(*ALL)
    for name, old, new, check in (
        ("compose.guard.yaml", "mem_limit", "memory_limit", lambda file: by_schema("compose-spec", file)),
        (".gitlab-ci.guard.yml", "when: always", "when: sometimes", lambda file: by_schema("gitlab-ci", file)),
        (".github/workflows/guard.yml", "runs-on", "runs-at", lambda file: by_schema("github-workflows", file)),
        ("Dockerfile.guard", "ENTRYPOINT", "ENTRYPONT", lambda file: accepted(BIN / "hadolint", file)),
        ("guard-deployment.yaml", "emptyDir", "emptyDirectory",
         lambda file: accepted(BIN / "kubernetes-validate", "--strict", file)),
    ):  # fmt: skip
        file = tmp_path / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        with pytest.raises(AssertionError):
            check(file)


def test_the_command_line(init: Init, tmp_path: Path) -> None:
    said = init("--compose").stdout
    assert said == ".env.profiling: written\ncompose.guard.yaml: written\n"
    assert init().stdout == ".env.profiling: is up to date\n"
    assert init("--compose", "--stdout").stdout == (tmp_path / "compose.guard.yaml").read_text()
    assert init("--stdout").stdout == (tmp_path / ".env.profiling").read_text() == (ROOT / ".env.profiling").read_text()
    refused = init("--compose", "--memory", "1GiB", code=1).stdout
    assert "-    mem_limit: 512m\n+    mem_limit: 1024m\n" in refused and "--force" in refused
    assert "512m" in (tmp_path / "compose.guard.yaml").read_text()
    document = json.loads(init("--compose", "--memory", "1GiB", "--json", code=1).stdout)
    assert document["refused"] and [each["status"] for each in document["files"]] == ["same", "differs"]
    init("--compose", "--memory", "1GiB", "--dry-run", "--force")
    assert "512m" in (tmp_path / "compose.guard.yaml").read_text()
    init("--compose", "--memory", "1GiB", "--force")
    assert "1024m" in (tmp_path / "compose.guard.yaml").read_text()
    (tmp_path / "sub").mkdir()
    init("--directory", "sub", "--kubernetes")
    assert sorted(os.listdir(tmp_path / "sub")) == [".env.profiling", "guard-deployment.yaml"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--name", "My App"), "small letters"),
        (("--command", "a 'b"), "--command"),
        (("--memory", "much"), "--memory"),
        (("--directory", "absent"), "--directory absent can't be used"),
        (("--stdout", "--force"), "--stdout writes nothing"),
        (("--image", "a b"), "--image"),
    ],
)
def test_bad_input_is_explained(init: Init, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    said = init("--compose", *arguments, code=2).stderr
    assert words in said and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_broken_settings_file_is_explained(init: Init, tmp_path: Path) -> None:
    (tmp_path / ".env.profiling").write_text("rm -rf /\n")
    assert ".env.profiling, line 1: not an assignment" in init("--force", code=2).stderr


@pytest.mark.parametrize("plain", [False, True])
def test_colour_on_a_terminal(init: Init, tmp_path: Path, plain: bool) -> None:
    init("--compose")
    main, side = pty.openpty()
    environment = {**os.environ, "TERM": "xterm"} | ({"NO_COLOR": "1"} if plain else {})
    environment = {key: value for key, value in environment.items() if plain or key != "NO_COLOR"}
    process = subprocess.Popen(
        [*GUARD, "init", "--compose", "--memory", "1GiB"], cwd=tmp_path, env=environment, stdin=side, stdout=side
    )
    os.close(side)
    said = b""
    try:
        while piece := os.read(main, 65536):
            said += piece
    except OSError:  # the terminal's other end is closed
        pass
    os.close(main)
    assert process.wait(60) == 1
    assert (b"\x1b[32m+    mem_limit: 1024m\x1b[0m" in said) == (not plain)
    assert (b"\x1b" in said) == (not plain)


def test_the_commands_of_the_page(tmp_path: Path) -> None:
    """docs/deploying.md; what it does with docker is in tests/container."""
    page = (ROOT / "docs" / "deploying.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    mine = [block for block in blocks if not block.startswith("docker ")]
    assert len(mine) == 2 and len(blocks) == 3
    tools = with_guard(tmp_path / "bin")
    place = tmp_path / "project"
    place.mkdir()
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    subprocess.run(["guard", "init", "--systemd", "--command", "sh app.sh"], cwd=place, env=environment, check=True)
    for block in mine:
        if "systemd-analyze" in block and shutil.which("systemd-analyze") is None:
            continue
        done = subprocess.run(["sh", "-eu", "-c", block], cwd=place, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (place / "compose.guard.yaml").exists()
    named = set(re.findall(r"^\| `(--[a-z-]+)` \| `([^`]+)`", page, re.MULTILINE))
    assert {option for option, _ in named} == set(ALL)


def with_guard(tools: Path) -> Path:
    """A directory for PATH with guard in it."""
    tools.mkdir()
    (tools / "guard").write_text(f'#!/bin/sh\nexec {" ".join(GUARD)} "$@"\n')
    (tools / "guard").chmod(0o755)
    return tools


SLOWER = """
import time
def handle():
    end = time.process_time() + {seconds}
    while time.process_time() < end:
        sum(range(1000))
def other():
    end = time.process_time() + 0.3
    while time.process_time() < end:
        sum(range(1000))
handle()
other()
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("slower", [True, False])
def test_the_workflow_finds_a_regression(init: Init, tmp_path: Path, slower: bool) -> None:
    """Its shell is run as GitHub runs it, on two checkouts."""
    init("--github-actions", "--command", f"{sys.executable} app.py")
    steps = yaml.safe_load((tmp_path / ".github/workflows/guard.yml").read_text())["jobs"]["compare"]["steps"]
    place, tools = tmp_path / "work", with_guard(tmp_path / "bin")
    for side, seconds in (("baseline", 0.3), ("current", 0.9 if slower else 0.3)):
        (place / side).mkdir(parents=True)
        (place / side / "app.py").write_text(SLOWER.format(seconds=seconds))
    outside = {key: value for key, value in os.environ.items() if not key.startswith(("GUARD_", "MEMORY_"))}
    environment = outside | {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "GUARD_ENV": "ci",
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "GITHUB_WORKSPACE": str(place),
    }
    codes = {}
    rounds = "1 2 3 4 5 6 7 8"  # for a regression as large as this one fewer are enough
    assert rounds in str(steps)
    for step in steps:
        if "run" not in step or step["name"] == "Install":
            continue
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"].replace(rounds, "1 2 3 4 5")],
            cwd=place / step.get("working-directory", "."),
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        codes[step["name"]] = done.returncode
        said = done.stdout + done.stderr
        assert done.returncode == 0 or step["name"] == "Compare", said
    assert codes["Compare"] == (1 if slower else 0), said
    assert (place / "reports" / "comparison.html").read_text().count("<svg") == 2  # the stacks are found, too
    assert len(codes) == 3
    assert "handle" in (place / "reports" / "comparison.html").read_text()
    assert "handle" in (tmp_path / "summary.md").read_text()
    if slower:
        assert re.search(r"::error .*Performance regression.*::handle", said), said
