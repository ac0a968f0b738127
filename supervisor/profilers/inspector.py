"""The inspector of a running Node: opened by SIGUSR1 where it isn't open, spoken to, closed again.

The protocol is Chrome's DevTools (https://chromedevtools.github.io/devtools-protocol/v8/) over a websocket on loopback.

What guard opened is closed, whatever happens: a watch that lives in the target looks once a second whether anybody is
connected, and closes the inspector when nobody is; a killed worker leaves no open door. Nothing but that watch closes
it: a Node that comes to its end waits for its debuggers, and JavaScript that is run in it then (Runtime.evaluate,
inspector.close) ends it by SIGSEGV. So JavaScript is run when a session begins and not afterwards, and a session lets
go at once when the process says that it waits.
"""

from __future__ import annotations

import json
import select
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

from supervisor import installing
from supervisor.profilers import node_opening
from supervisor.profilers.failure import Failure
from supervisor.profilers.node_threads import Threads
from supervisor.profilers.runner import Interrupted, hold

_ANSWER_S = 20.0

# Node's own timers: tests that fake setTimeout don't fake those. Whose inspector it is stays as the first session found
# it. `exact` is for how many seconds V8 shall inline nothing; that ends by itself, too.
OWN = "guardConnected"  # what guard's own timer in there runs, as stacks show it
_WATCH = """(function (opened, exact) {
  const load = process.getBuiltinModule || require, key = Symbol.for('guard-supervisor.inspector')
  let held = globalThis[key]
  if (!held) {
    const inspector = load('inspector'), fs = load('fs'), timers = load('timers'), v8 = load('v8')
    const port = ':' + Number(new URL(inspector.url()).port).toString(16).toUpperCase().padStart(4, '0') + ' '
    const modern = Number(process.versions.node.split('.')[0]) >= 20
    const guardConnected = (table) => {
      try {
        const text = fs.readFileSync('/proc/self/net/' + table, 'latin1')
        return text.includes(port) && text.split('\\n').some((line) => {
          const words = line.trim().split(' ')
          return words[3] === '01' && (words[1] + ' ').endsWith(port)
        })
      } catch { return false }
    }
    held = { opened, exact: 0, misses: 0, inlines: true }
    held.inline = (on) => {
      held.inlines = on
      for (const each of modern ? ['turbo', 'maglev'] : ['turbo']) {
        v8.setFlagsFromString((on ? '--' : '--no-') + each + '-inlining')
      }
    }
    const timer = timers.setInterval(() => {
      if (held.exact > 0 && --held.exact === 0) held.inline(true)
      held.misses = guardConnected('tcp') || guardConnected('tcp6') ? 0 : held.misses + 1
      if (held.misses < 2) return
      timers.clearInterval(timer)
      delete globalThis[key]
      if (!held.inlines) held.inline(true)
      if (held.opened) inspector.close()
    }, 1000)
    timer.unref()
    Object.defineProperty(globalThis, key, { value: held, configurable: true })
  }
  if (exact > held.exact) {
    held.exact = exact
    held.inline(false)
  }
  return [held.opened, Boolean(process.env.NODE_V8_COVERAGE)]
})"""


class Gone(Exception):
    """The target closed the connection: it ended."""


class Hurry(Exception):
    """The watcher says that there is hardly any time left (SIGUSR1)."""


class Session:
    """A connection to the inspector of one process.

    `was_open`: somebody else had opened it, and it stays open. `leaving`: the process has come to its end and waits.
    `collects`: it counts coverage itself. Events that are asked for go to `on_event`.
    """

    def __init__(self, pid: int, socket: Any, *, was_open: bool) -> None:
        self.pid = pid
        self.was_open = was_open
        self.leaving = False
        self.on_event: Callable[[str, dict[str, Any]], None] | None = None
        self.threads = Threads(self)
        self._socket = socket
        self._number = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self.collects = False

    # -- asking ---------------------------------------------------------------------------------------------------

    def call(self, method: str, timeout_s: float = _ANSWER_S, **parameters: Any) -> dict[str, Any]:
        """What the method answers. Raises Failure, Gone, and what `wait` raises."""
        number = self._send(method, parameters)
        until_s = time.monotonic() + timeout_s
        while number not in self._answers:
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise self._silent(method, timeout_s)
            self._receive(left_s)
        return self._result(self._answers.pop(number), method)

    def _silent(self, method: str, timeout_s: float) -> Failure:
        said = f"no answer to {method} within {timeout_s:g} s: its main thread is busy outside JavaScript"
        return Failure("inspector-silent", said, f"guard profile --pid {self.pid}, once more")

    def _result(self, answer: dict[str, Any], method: str) -> dict[str, Any]:
        if "error" in answer:
            said = str(answer["error"].get("message", answer["error"]))[:300]
            raise Failure("inspector-refused", f"{method}: {said}", f"node --version; guard doctor --pid {self.pid}")
        result: dict[str, Any] = answer.get("result", {})
        return result

    def evaluate(self, expression: str, timeout_s: float = _ANSWER_S) -> Any:
        """The value of a JavaScript expression: only when a session begins, see above. Raises Failure, Gone."""
        if self.leaving:
            raise Gone("it has come to its end")
        found = self.call(
            "Runtime.evaluate",
            timeout_s,
            expression=expression,
            includeCommandLineAPI=True,
            returnByValue=True,
            silent=True,
        )
        if "exceptionDetails" in found:
            said = str(found.get("result", {}).get("description", found["exceptionDetails"].get("text", "")))[:300]
            raise Failure("inspector-refused", said, f"node --version; guard doctor --pid {self.pid}")
        return found.get("result", {}).get("value")

    def stream(self, method: str, event: str, key: str, timeout_s: float) -> Iterator[bytes]:
        """What comes in the events of a method until it answers, piece by piece: nothing is kept.

        Raises Failure, Gone, Interrupted, Hurry.
        """
        waiting: list[str] = []
        before = self.on_event
        self.on_event = lambda name, found: waiting.append(str(found.get(key, ""))) if name == event else None
        try:
            number = self._send(method, {})
            until_s = time.monotonic() + timeout_s
            while number not in self._answers:
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    raise self._silent(method, timeout_s)
                self._receive(left_s)
                while waiting:
                    yield waiting.pop(0).encode("utf-8", "surrogatepass")
        finally:
            self.on_event = before
        self._result(self._answers.pop(number), method)

    def wait(self, seconds: float) -> bool:
        """Let events come in for so long; False when the process is `leaving`. Raises Gone, Interrupted, Hurry."""
        until_s = time.monotonic() + seconds
        while not self.leaving:
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                return True
            self._receive(left_s)
            self._answers.clear()  # of calls that nobody waits for any more
        return False

    def post(self, method: str, **parameters: Any) -> None:
        """Ask for something whose answer nobody waits for. Raises Gone."""
        self._send(method, parameters)

    def listen(self, seconds: float) -> None:
        """Let one message come in, if any does in this time. Raises Gone, Interrupted, Hurry."""
        self._receive(seconds)

    def _send(self, method: str, parameters: dict[str, Any]) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        try:
            self._socket.send(json.dumps(message))
        except Exception as error:  # the library's own family, OSError, and what a closed socket makes of them
            raise Gone(str(error)) from None
        return self._number

    def _receive(self, seconds: float) -> None:
        """One message, if any comes in this time. Signals are let in while it waits."""
        # The answer to a call counts before what asks for the end: that is let in where nothing is under way.
        if not _readable(self._socket.sock, seconds):
            return
        try:
            text = self._socket.recv()
            message = json.loads(text) if text else None
        except Exception as error:
            raise Gone(str(error)) from None
        if not isinstance(message, dict):
            raise Gone("the connection was closed")
        if "id" in message:
            self._answers[message["id"]] = message
        elif message.get("method") == "NodeRuntime.waitingForDisconnect":
            self.leaving = True
        elif not self.threads.take(str(message.get("method")), message.get("params", {})) and self.on_event is not None:
            self.on_event(str(message.get("method")), message.get("params", {}))

    # -- beginning and end ----------------------------------------------------------------------------------------

    def begin(self, exact_s: int = 0) -> None:
        """Set the watch, and ask to be told when the process comes to its end. Raises Failure, Gone.

        For `exact_s` V8 inlines nothing: its profilers charge what an inlined function does to its caller.
        """
        try:
            self.call("NodeRuntime.notifyWhenWaitingForDisconnect", enabled=True)
        except Failure:
            pass  # an old Node
        opened = "false" if self.was_open else "true"
        mine, self.collects = self.evaluate(f"{_WATCH}({opened}, {exact_s})")
        self.was_open = not mine
        if exact_s:
            self.forget_optimised()

    def forget_optimised(self) -> None:
        """Have V8 throw away what it optimised, with whatever was inlined. Raises Failure, Gone.

        Turning the counts of coverage on and off does that; not where the process collects coverage itself.
        """
        if not self.collects:
            self.call("Profiler.enable")
            self.call("Profiler.startPreciseCoverage", callCount=False, detailed=False)
            self.call("Profiler.stopPreciseCoverage")

    def close(self) -> None:
        """Let go; the watch closes the inspector. Raises nothing."""
        try:
            self._socket.close(timeout=1)
        except Exception:  # it is gone, and so is the connection
            pass


def _readable(sock: Any, seconds: float) -> bool:
    """Wait for data with SIGINT and SIGUSR1 let in; both are blocked elsewhere. Raises Interrupted, Hurry."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGUSR1))
        return bool(select.select([sock], [], [], max(0.0, seconds))[0])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


# -- opening ------------------------------------------------------------------------------------------------------


def attach(pid: int, exact_s: int = 0) -> Session:
    """A session with a Node, whose inspector is opened where it isn't; for `exact_s` see `begin`. Raises Failure, Gone.

    From here on SIGINT and SIGUSR1 are let in only where a session waits.
    """
    hold(signal.SIGINT, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, _hurried)
    library = _library()
    listener, path, was_open = node_opening.opened(pid)
    try:
        host = f"[{listener.address}]" if ":" in listener.address else listener.address
        socket = library.create_connection(
            f"ws://{host}:{listener.port}{path}",
            suppress_origin=True,
            timeout=_ANSWER_S,
            enable_multithread=False,
            http_no_proxy=["*"],
        )
    except Exception as error:
        raise Failure("inspector-refused", f"{type(error).__name__}: {error}"[:300], "guard doctor") from None
    session = Session(pid, socket, was_open=was_open)
    try:
        session.begin(exact_s)
    except BaseException:
        session.close()
        raise
    return session


def installed() -> bool:
    """Whether the client for its websocket is there."""
    from importlib.util import find_spec

    return find_spec("websocket") is not None


def _library() -> Any:
    try:
        import websocket
    except ImportError:
        said = "Node speaks websocket, and guard has no client for it: the extra `node` isn't installed"
        raise Failure("node-extra-missing", said, installing.extra("node")) from None
    return websocket


def _hurried(number: int, frame: object) -> None:
    raise Hurry


__all__ = ["Gone", "Hurry", "Interrupted", "Session", "attach"]
