"""The worker threads of a Node (`worker_threads`), all asked at once through the session with its process.

Node's domain NodeWorker hands messages on. A worker isn't asked to tell of its end: it would wait for whoever asked,
and with guard gone for ever; so it just ends, and is no more in `found`.

One that sits in code that isn't JavaScript (a read, a child it waits for) answers when it is back, or never. It isn't
asked again until then, so that it is waited for once, together with all others, and what it owed counts when it comes.
"""

from __future__ import annotations

import json
import time

from supervisor.profilers.failure import Failure
from supervisor.profilers.runner import Interrupted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from supervisor.profilers.inspector import Session

ANSWER_S = 2.0  # for all of them together
BRIEF_S = 0.3  # where more is lost by waiting than by an answer that counts later
Message = tuple[str, "dict[str, Any]"]


class Threads:
    """Those of one session: `found` has the numbers of those that are there, `read` the keys of those that answered."""

    def __init__(self, session: Session) -> None:
        self.found: dict[str, str] = {}  # by the key of their session
        self.read: set[str] = set()
        self._session = session
        self._number = 0
        self._numbers: dict[str, str] = {}  # as `found`, of all that there ever were
        self._owed: dict[str, dict[int, str]] = {}  # what each hasn't answered yet: the question, "" of a `post`
        self._answers: list[tuple[str, str, dict[str, Any]]] = []  # to what `ask` asked

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
            number = str(parameters.get("workerInfo", {}).get("workerId", key))
            self.found[key] = self._numbers[key] = number
        elif method == "NodeWorker.detachedFromWorker":
            self.found.pop(key, None)
            self._owed.pop(key, None)
        elif method == "NodeWorker.receivedMessageFromWorker":
            message = json.loads(str(parameters.get("message", "null")))
            if isinstance(message, dict) and isinstance(message.get("id"), int):
                asked = self._owed.get(key, {}).pop(message["id"], "")
                if asked and isinstance(message.get("result"), dict):
                    self._answers.append((key, asked, message["result"]))
        return True

    def post(self, key: str, *messages: Message) -> None:
        """Have a worker do this, in this order, without waiting for it. Raises Gone."""
        self._post(key, "", messages)

    def ask(self, method: str, *then: Message, within_s: float = ANSWER_S) -> Iterator[tuple[str, dict[str, Any]]]:
        """What each worker answers, by its key, with what came late of the same question before.

        All are asked at once but those that owe an answer, and have this time together; less when the process is
        `leaving` or guard ends this. After the question each does what `then` says.
        Raises Gone, Hurry; and Interrupted, at its end.
        """
        asked = [key for key in self.found if not self._owed.get(key)]
        for key in asked:
            self._post(key, method, ((method, {}), *then))
        until_s = time.monotonic() + within_s
        interrupted: Interrupted | None = None
        while True:
            mine = [answer for answer in self._answers if answer[1] == method]
            self._answers.clear()
            for key, _, result in mine:
                self.read.add(key)
                yield key, result
            now_s = time.monotonic()
            if self._session.leaving:
                until_s = min(until_s, now_s + BRIEF_S)
            if now_s >= until_s or not any(method in self._owed.get(key, {}).values() for key in asked):
                break
            try:
                self._session.listen(until_s - now_s)
            except Interrupted as what:  # who answers does it at once
                interrupted = what
                until_s = min(until_s, now_s + BRIEF_S)
        if interrupted is not None:
            raise interrupted

    def _post(self, key: str, question: str, messages: tuple[Message, ...]) -> None:
        owed = self._owed.setdefault(key, {})
        for method, parameters in messages:
            self._number += 1
            owed[self._number] = method if method == question else ""
            message = json.dumps({"id": self._number, "method": method, "params": parameters})
            self._session.post("NodeWorker.sendMessageToWorker", sessionId=key, message=message)

    def forget_optimised(self, key: str) -> None:
        """As `Session.forget_optimised`, of a worker, without waiting for it. Raises Gone."""
        if not self._session.collects:
            counts = {"callCount": False, "detailed": False}
            self.post(key, ("Profiler.enable", {}), ("Profiler.startPreciseCoverage", counts),
                      ("Profiler.stopPreciseCoverage", {}))  # fmt: skip

    def marked(self, key: str, stack: str) -> str:
        """A worker's stack, with the thread that it is of below it."""
        mark = f"thread ({self._numbers.get(key, key)}): worker"
        return f"{mark};{stack}" if stack else mark

    def note(self, file: str) -> list[str]:
        """What a report says of them, beside what `file` has: nothing where there were none."""
        if not self._numbers:
            return []
        read, all_of_them = len(self.read), len(self._numbers)
        if read == all_of_them:
            return [f"Of {read} worker threads as well; the `{file}` is the main thread's."]
        return [
            f"Of {read} of {all_of_them} worker threads as well; the others didn't answer, as one that sits in "
            f"a system call doesn't. The `{file}` is the main thread's."
        ]
