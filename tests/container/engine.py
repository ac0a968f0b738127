"""podman with a storage of its own, so that no image of the developer's is touched, and containers run with it."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.telling import PATIENCE_S, Telling

ROOT = Path(__file__).resolve().parents[2]
BUILD_S = 400.0
# The default limits of open files and processes can't be raised where the machine's are lower.
CONFIGURATION = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


def missing() -> str | None:
    """Why no container can be run here, or None."""
    absent = [name for name in ("podman", "runc", "mmdebstrap") if shutil.which(name) is None]
    if absent:
        return f"absent: {', '.join(absent)} (GUARD_TEST_INSTALL=1 scripts/test installs them)"
    if os.geteuid() != 0:
        return "not root: memory limits of containers and mmdebstrap need it"
    return None


class Engine:
    """podman, its storage below `place`."""

    def __init__(self, place: Path) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.place = place
        configuration, storage = place / "containers.conf", place / "storage.conf"
        configuration.write_text(f'{CONFIGURATION}tmp_dir = "{place}/tmp"\n')
        storage.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{place}/images"\nrunroot = "{place}/run"\n')
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("GUARD_", "MEMORY_"))},
            "CONTAINERS_CONF": str(configuration),
            "CONTAINERS_STORAGE_CONF": str(storage),
        }

    def __call__(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run podman to its end, output captured."""
        options = {"timeout": PATIENCE_S, "stdin": subprocess.DEVNULL, "capture_output": True, **options}
        options.setdefault("cwd", self.place)  # conmon marks an OOM kill by a file where it was started
        return subprocess.run(["podman", *words], env=self.environment, text=True, **options)

    def must(self, *words: str, **options: Any) -> str:
        """The same for what has to succeed: its output."""
        done = self(*words, **options)
        assert done.returncode == 0, f"podman {' '.join(words)}\n{done.stdout}{done.stderr}"
        return str(done.stdout).strip()

    def build(self, *words: str) -> str:
        """Build an image; its id."""
        # pip has to be reached, in a network that may have none for containers.
        return self.must("build", "--quiet", "--network=host", *words, timeout=BUILD_S).splitlines()[-1]


class Container(Telling):
    """A container in the foreground of a `podman run`, whose stderr is read as guard's events."""

    def __init__(self, engine: Engine, name: str, options: list[str], image: str, command: list[str]) -> None:
        self.engine = engine
        self.name = name
        line = ["podman", "run", "--name", name, *options, image, *command]
        pipe = subprocess.PIPE
        super().__init__(
            subprocess.Popen(
                line,
                cwd=engine.place,
                env=engine.environment,
                stdin=subprocess.DEVNULL,
                stdout=pipe,
                stderr=pipe,
            )
        )

    def output(self) -> str:
        """All of the target's stdout, once it has ended. For small outputs."""
        assert self.process.stdout is not None
        return self.process.stdout.read().decode()

    def first_line(self) -> str:
        """The next line of the target's stdout."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], PATIENCE_S)[0], f"no output:\n{self.said()}"
        return self.process.stdout.readline().decode().strip()

    def remove(self) -> None:
        """Away with it, whatever it does."""
        self.engine("rm", "--force", "--time", "0", self.name)
        try:
            self.process.wait(PATIENCE_S)
        finally:
            for stream in (self.process.stdout, self.process.stderr):
                if stream is not None:
                    stream.close()
