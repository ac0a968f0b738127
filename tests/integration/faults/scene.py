"""A guard, its target and what they leave, for one row of the table."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
GUARD = [sys.executable, "-IS", str(ROOT / "bin" / "guard")]
TARGET = str(Path(__file__).parent / "target.py")
# The target begins with some 10 MB: `grow 50`, `grow 40`, `grow 40` lead from state to state.
OPTIONS = [
    "--env", "development", "--warning", "40", "--critical", "80", "--profiling", "120", "--interval", "100ms",
    "--profile-duration", "2s",
]  # fmt: skip
STEPS = {"ok": 0, "warning": 50, "critical": 40, "profiling": 40}
PATIENCE_S = float(os.environ.get("GUARD_TEST_PATIENCE", "60"))
CODE = 37


class Namespace:
    """A mount namespace (or more) of the row's own, held by a process; `root` is its `/` as seen from here."""

    def __init__(self, script: str, *flags: str) -> None:
        line = ["unshare", *(flags or ("-m",)), "sh", "-c", f"{script}\necho made; exec sleep 3600"]
        self.holder = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.holder.stdout is not None and self.holder.stderr is not None
        if self.holder.stdout.readline() != b"made\n":
            raise AssertionError(self.holder.stderr.read().decode())
        self.root = Path(f"/proc/{self.holder.pid}/root")
        self.enter = ["nsenter", "-t", str(self.holder.pid), "-m"]

    def run(self, script: str) -> None:
        """A shell script inside."""
        subprocess.run([*self.enter, "sh", "-c", script], check=True, timeout=20, capture_output=True)

    def close(self) -> None:
        """Let it go."""
        self.holder.kill()
        self.holder.communicate()


class Scene:
    """`begin`, then the fault, then `finish`. What a row needs undone goes on `undo`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.profiles = folder / "profiles"
        self.seen = self.profiles  # the same place as this process sees it
        self.undo = contextlib.ExitStack()
        self.code = CODE
        self.over = False  # the row itself has seen to the end
        self.pid = 0
        self.guard_pid = 0
        self._events: list[dict[str, Any]] = []
        self._rest = b""
        self._stderr = -1

    # -- the start --------------------------------------------------------------------------------------------------

    def begin(
        self,
        options: list[str] | None = None,
        *,
        before: list[str] | None = None,
        guard: list[str] | None = None,
        stderr: int | None = None,
        env: dict[str, str] | None = None,
        prepare: Callable[[], None] | None = None,
        command: list[str] | None = None,
    ) -> None:
        """Start guard and its target. `stderr`: guard's, else a pipe that is read. `command`: another target."""
        ours, theirs = socket.socketpair()
        ours.settimeout(PATIENCE_S)
        self.undo.enter_context(ours)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("GUARD_", "MEMORY_"))}
        given = [] if stderr is not None else [stderr_end := self._pipe()]
        line = [*(before or []), *(guard or GUARD), "run", *OPTIONS, *(options or [])]
        line += ["--profiles-dir", str(self.profiles), "--"]
        line += [*(command or [sys.executable, "-IS", TARGET]), str(theirs.fileno())]
        self.process = subprocess.Popen(
            line, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=stderr if stderr is not None else stderr_end, env=environment | (env or {}),
            pass_fds=[theirs.fileno()], start_new_session=True, preexec_fn=prepare,  # noqa: PLW1509
        )  # fmt: skip
        theirs.close()
        for fd in given:
            os.close(fd)
        self.undo.callback(self._end_process, self.process)
        self._channel = ours.makefile("rw")
        self.undo.enter_context(contextlib.suppress(OSError))
        self.undo.callback(self._channel.close)
        word, _, pid = self.answer().partition(" ")
        assert word == "ready"
        self.pid = int(pid)
        self.guard_pid = self.process.pid

    def _pipe(self) -> int:
        self._stderr, write_end = os.pipe()
        os.set_blocking(self._stderr, False)
        self.undo.callback(os.close, self._stderr)
        return write_end

    def _end_process(self, process: subprocess.Popen[bytes]) -> None:
        for pid in (self.pid, process.pid):
            if pid and process.poll() is None:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGCONT)
                    os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()

    # -- the target -------------------------------------------------------------------------------------------------

    def order(self, line: str) -> None:
        """Tell the target, without waiting."""
        self._channel.write(f"{line}\n")
        self._channel.flush()

    def answer(self) -> str:
        """Its answer; '' when it is gone."""
        return self._channel.readline().strip()

    def ask(self, line: str) -> str:
        """Tell it and wait for the answer."""
        self.order(line)
        return self.answer()

    def reach(self, state: str) -> None:
        """Grow from `ok` up to this state, waiting for each change."""
        for name, megabytes in STEPS.items():
            if megabytes:
                assert self.ask(f"grow {megabytes}") == "done"
                self.wait_for("state.changed", to=name)
            if name == state:
                return

    def status(self, name: str, pid: int = 0) -> str:
        """A field of the target's /proc/PID/status."""
        for line in Path(f"/proc/{pid or self.pid}/status").read_text(errors="replace").splitlines():
            if line.startswith(f"{name}:"):
                return line.partition(":")[2].strip()
        raise AssertionError(name)

    def runs(self) -> None:
        """The target answers, and nobody has stopped it."""
        assert self.ask("ping") == "done"
        self.until(lambda: self.status("State")[0] in "RSD", "it is stopped")

    # -- what guard tells -------------------------------------------------------------------------------------------

    def _read(self) -> None:
        if self._stderr < 0 or not select.select([self._stderr], [], [], 0.02)[0]:
            time.sleep(0.005)
            return
        with contextlib.suppress(BlockingIOError):
            *lines, self._rest = (self._rest + os.read(self._stderr, 65536)).split(b"\n")
            for line in lines:
                with contextlib.suppress(ValueError):
                    self._events.append(json.loads(line))

    def events(self) -> list[dict[str, Any]]:
        """What came on stderr, and what is in the newest events.jsonl."""
        self._read()
        found = list(self._events)
        for path in self.paths("monitored/*/events.jsonl"):
            for line in path.read_bytes().splitlines():
                with contextlib.suppress(ValueError):
                    found.append(json.loads(line))
        return found

    def paths(self, pattern: str) -> list[Path]:
        """Files below the profiles directory."""
        try:
            return sorted(self.seen.glob(pattern))
        except OSError:
            return []

    def wait_for(self, name: str, **fields: Any) -> dict[str, Any]:
        """The first event of this name that has these fields."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            events = self.events()
            for event in events:
                if event["event"] == name and all(key in event and want == event[key] for key, want in fields.items()):
                    return event
            if time.monotonic() > deadline:
                raise AssertionError(f"no {name} {fields} in:\n" + "\n".join(map(str, events)) + repr(self._rest))

    def until(self, check: Callable[[], Any], what: str) -> None:
        """Wait until it holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not check():
            assert time.monotonic() < deadline, what
            time.sleep(0.01)

    def record(self) -> dict[str, Any]:
        """The newest run.json."""
        return dict(json.loads(self.paths("monitored/*/run.json")[-1].read_bytes()))

    def workers(self) -> list[int]:
        """guard's children but for the target."""
        text = Path(f"/proc/{self.guard_pid}/task/{self.guard_pid}/children").read_text()
        return [int(pid) for pid in text.split() if int(pid) != self.pid]

    # -- the end ----------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """The target runs on, its code is guard's."""
        if not self.over:
            self.runs()
            self.order(f"exit {self.code}")
            assert self.ends() == self.code
        self.whole()

    def ends(self) -> int:
        """guard's exit code; stderr is read meanwhile."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"guard did not end: {self._events}"
            self._read()
        for _ in range(3):
            self._read()
        return self.process.returncode

    def whole(self) -> None:
        """Nothing half-written that a reader trips over."""
        for path in self.paths("**/*"):
            assert not path.name.startswith("."), path
            if path.suffix == ".json":
                json.loads(path.read_bytes())
            elif path.suffix == ".jsonl":
                for line in path.read_bytes().splitlines()[:-1]:
                    json.loads(line)
