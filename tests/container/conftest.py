"""Images made once a session, containers removed when their test ends."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.container import base
from tests.container.engine import BUILD_S, ROOT, Container, Engine, missing

HERE = Path(__file__).resolve().parent
GUARD_UID = 10001


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.container)
            # The first one makes the images.
            item.add_marker(pytest.mark.timeout(base.TIMEOUT_S + 2 * BUILD_S))


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """podman with the base image; one session at a time, as they share storage and names."""
    why = missing()
    if why is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no container tests: {why}")
        pytest.skip(why)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "guard-tests"
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "containers.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        podman = Engine(cache / "containers")
        archive = base.archive(cache)
        made_from = podman("image", "inspect", "--format", "{{.Comment}}", base.IMAGE).stdout.strip()
        if made_from != archive.name:
            changes = [word for change in base.CHANGES for word in ("--change", change)]
            podman.must(
                "import", "--quiet", "--message", archive.name, *changes, str(archive), base.IMAGE, timeout=BUILD_S
            )
        yield podman
        podman("image", "prune", "--force", "--filter", "until=72h")


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """The Dockerfile's image."""
    engine.build("--tag", "guard-tests", str(ROOT))
    return "guard-tests"


@pytest.fixture(scope="session")
def bare_image(engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """/opt/guard in an image that has nothing else but a static busybox: no Python, no C library, no /etc/passwd."""
    context = tmp_path_factory.mktemp("bare")
    (context / "Dockerfile").write_text(
        f"FROM {base.IMAGE} AS files\n"
        "RUN mkdir -p /root-of-it/usr/bin /root-of-it/tmp && cp /usr/bin/busybox /root-of-it/usr/bin/ \\\n"
        " && chmod 1777 /root-of-it/tmp && busybox --install -s /root-of-it/usr/bin && ln -s usr/bin /root-of-it/bin\n"
        "FROM scratch\n"
        "COPY --from=files /root-of-it /\n"
        f"COPY --from={image} /opt/guard /opt/guard\n"
        'ENTRYPOINT ["/opt/guard/bin/guard"]\n'
    )
    engine.build("--tag", "guard-tests-bare", str(context))
    return "guard-tests-bare"


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    """A directory that belongs to the image's user, as a volume for evidence."""
    path = tmp_path / "profiles"
    path.mkdir(mode=0o700)
    os.chown(path, GUARD_UID, 0)
    return path


@pytest.fixture
def start(engine: Engine, image: str, tmp_path: Path) -> Iterator[Callable[..., Container]]:
    """Start a container: start(["--memory=128m"], ["run", "--", "true"])."""
    begun: list[Container] = []
    # What the targets are: their own directory, mounted at /programs.
    programs = ["--volume", f"{HERE / 'programs'}:/programs:ro"]

    def begin(options: list[str], command: list[str], *, of: str = image) -> Container:
        name = f"guard-test-{os.getpid()}-{len(begun)}-{tmp_path.name[-20:]}".replace("[", "").replace("]", "")
        begun.append(Container(engine, name, [*programs, *options], of, command))
        return begun[-1]

    yield begin
    for container in begun:
        container.remove()
    shutil.rmtree(tmp_path, ignore_errors=True)
