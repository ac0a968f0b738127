"""The worker threads of a Node (`worker_threads`), each asked through the session with its process.

Node's domain NodeWorker hands messages on. A worker isn't asked to tell of its end: it would wait for whoever asked,
and with guard gone for ever; so it just ends, and is no more in `found`.
"""

from __future__ import annotations

import json
import time

from supervisor.profilers.pyspy import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervisor.profilers.inspector import Session

_ANSWER_S = 2.0  # one that waits for others (Atomics.wait) doesn't answer at all


class Threads:
    """Those of one session: `found` has their numbers, `most` is how many there were at a time."""

    def __init__(self, session: Session) -> None:
        self.found: dict[str, str] = {}  # by the key of their session
        self.most = 0
        self._session = session
        self._number = 0
        self._answers: dict[tuple[str, int], dict[str, Any]] = {}

    def follow(self) -> None:
        """Be told of those that there are and of those that come. Raises Gone; an old Node has none to tell."""
        try:
            self._session.call("NodeWorker.enable", waitForDebuggerOnStart=False)
        except Failure:
            pass

    def take(self, method: str, parameters: dict[str, Any]) -> bool:
        """An event that came in; whether it is one of these."""
        if not method.startswith("NodeWorker."):
            return False
        key = str(parameters.get("sessionId", ""))
        if method == "NodeWorker.attachedToWorker":
            self.found[key] = str(parameters.get("workerInfo", {}).get("workerId", key))
            self.most = max(self.most, len(self.found))
        elif method == "NodeWorker.detachedFromWorker":
            self.found.pop(key, None)
        elif method == "NodeWorker.receivedMessageFromWorker":
            message = json.loads(str(parameters.get("message", "null")))
            if isinstance(message, dict) and isinstance(message.get("id"), int):
                self._answers[key, message["id"]] = message
        return True

    def call(self, key: str, method: str, **parameters: Any) -> dict[str, Any]:
        """What a worker answers. Raises Failure (`worker-gone`, `worker-silent`), Gone, and what `wait` raises."""
        self._number += 1
        message = json.dumps({"id": self._number, "method": method, "params": parameters})
        self._session.call("NodeWorker.sendMessageToWorker", sessionId=key, message=message)
        until_s = time.monotonic() + _ANSWER_S
        while (answer := self._answers.pop((key, self._number), None)) is None:
            left_s = until_s - time.monotonic()
            if key not in self.found or left_s <= 0:
                self._answers.clear()
                reason = "worker-gone" if self.found.pop(key, None) is None else "worker-silent"  # not asked again
                raise Failure(reason, f"worker {key} of process {self._session.pid}", "node --version")
            self._session.listen(left_s)
        result = answer.get("result")
        if not isinstance(result, dict):
            raise Failure("inspector-refused", f"{method}: {answer.get('error')}"[:300], "node --version")
        return result

    def forget_optimised(self, key: str) -> None:
        """As `Session.forget_optimised`, of a worker. Raises Failure, Gone, and what `wait` raises."""
        if not self._session.collects:
            self.call(key, "Profiler.enable")
            self.call(key, "Profiler.startPreciseCoverage", callCount=False, detailed=False)
            self.call(key, "Profiler.stopPreciseCoverage")

    def marked(self, key: str, stack: str) -> str:
        """A worker's stack, with the thread that it is of below it."""
        mark = f"thread ({self.found.get(key, key)}): worker"
        return f"{mark};{stack}" if stack else mark
