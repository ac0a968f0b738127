"""A real headless Chromium, driven over its debugging pipe, and speedscope out of its npm package."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEEDSCOPE = ROOT / ".venv" / "npm" / "node_modules" / "speedscope" / "dist" / "release"
PATIENCE_S = 60.0
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --remote-debugging-pipe --allow-file-access-from-files"
)


class Page:
    """One page of a browser. Messages are JSON ended by NUL bytes, on descriptors 3 (in) and 4 (out)."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Runtime.enable")
        self.call("Page.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a command of the DevTools protocol."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(answer["params"]["exceptionDetails"])[:500])
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def _read(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(self._from, 1 << 16) if ready else b""
            assert data, "the browser says nothing any more"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))

    def open(self, url: str) -> None:
        """Go to a page."""
        self.call("Page.navigate", url=url)

    def press(self, key: str) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, text=key if len(key) == 1 else "")

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is, a promise's value included."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """The first true value of an expression, asked for at each animation frame of the page."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            found = self.value(f"new Promise(done => requestAnimationFrame(() => done({expression})))")
            if found:
                return found
        raise AssertionError(
            f"never true: {expression}; errors: {self.errors}; {self.value('document.body.innerText')}"
        )


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A page of a new Chromium, which is ended by its pid."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed: GUARD_TEST_INSTALL=1 scripts/test installs it")
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    # The browser wants exactly 3 and 4; a shell puts them there.
    line = f'exec "$0" {FLAGS} --user-data-dir="$1" 3<&{in_read} 4>&{out_write}'
    process = subprocess.Popen(
        ["bash", "-c", line, chromium, str(tmp_path / "browser")],
        pass_fds=(in_read, out_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(in_read)
    os.close(out_write)
    try:
        yield Page(in_write, out_read)
    finally:
        os.close(in_write)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait()
        os.close(out_read)


@pytest.fixture
def speedscope() -> Path:
    """The directory of speedscope's page."""
    if not (SPEEDSCOPE / "index.html").exists():
        pytest.skip("speedscope's npm package is not installed: GUARD_TEST_INSTALL=1 scripts/test installs it")
    return SPEEDSCOPE
