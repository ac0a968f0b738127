"""`stacks` of a running Node: where its JavaScript is, and what its diagnostic report tells of heap, handles, workers.

Of the report only what is listed here leaves the process: it holds the whole environment, with every secret in it.
Its network addresses aren't resolved, which would wait for a name server. Nor is the report made where a worker thread
doesn't answer: Node's main thread would wait for it, for as long as that one sits in a system call.
"""

from __future__ import annotations

from typing import Any

from supervisor.actions import stacks
from supervisor.actions.task import Pass, Task
from supervisor.profilers import inspector, kernel, runner
from supervisor.profilers.failure import Failure
from supervisor.profilers.inspector import Gone, Session

# https://nodejs.org/api/report.html
_REPORT = """((whole) => {
  const report = process.report, limit = Error.stackTraceLimit, prepare = Error.prepareStackTrace
  const kept = [report.excludeNetwork, report.excludeEnv]
  let stack, told
  try {
    Error.stackTraceLimit = 200
    Error.prepareStackTrace = (_, sites) => sites.map(
      (site) => [site.getFunctionName(), site.getFileName(), site.getLineNumber()])
    stack = new Error().stack
    Error.prepareStackTrace = prepare
    report.excludeNetwork = report.excludeEnv = true
    told = whole ? report.getReport() : {}
  } finally {
    Error.stackTraceLimit = limit
    Error.prepareStackTrace = prepare
    report.excludeNetwork = kept[0]
    report.excludeEnv = kept[1]
  }
  const handles = {}
  for (const { type, is_active: active } of told.libuv || []) {
    if (active) handles[type] = (handles[type] || 0) + 1
  }
  const { heapSpaces, ...heap } = told.javascriptHeap || {}
  return JSON.stringify({
    stack: Array.isArray(stack) ? stack : [],
    version: process.version,
    uptime_s: process.uptime(),
    memory: process.memoryUsage(),
    heap,
    heap_spaces: heapSpaces,
    handles,
    resources: process.getActiveResourcesInfo ? process.getActiveResourcesInfo().slice(0, 200) : [],
    usage: told.resourceUsage,
    workers: (told.workers || []).slice(0, 50).map((each) => ({
      thread: each.header && each.header.threadId,
      stack: (each.javascriptStack && each.javascriptStack.stack || []).slice(0, 50),
      heap: each.javascriptHeap && { usedMemory: each.javascriptHeap.usedMemory }
    }))
  })
})"""


def take(task: Task) -> dict[str, Any]:
    """Write `.stacks.json`, by its inspector. Raises Pass, Failure, OSError."""
    if not task.spec.get("node_inspector", True):
        raise Pass("inspector-off", "--no-node-inspector keeps guard out of it", "")
    if task.check_target():
        raise Pass("target-stopped", "what is stopped can't answer", f"kill -CONT {task.pid}")
    try:
        found, report = read(task.pid)
    except Failure as failure:
        raise Pass.of(failure, "inspector") from failure
    except ProcessLookupError:
        task.check_target()
        raise
    stacks.write(task, found, nonblocking=False, engine="inspector", node=report)
    task.write_meta(engine="inspector", nonblocking=False, samples=len(found), errors=0,
                    inspector_was_open=report["inspector_was_open"])  # fmt: skip
    return {"threads": len(found), "engine": "inspector"}


def read(pid: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The threads as the kernel tells them, with the JavaScript of the main one; and what Node reports.

    Raises Failure, ProcessLookupError, Interrupted.
    """
    import json

    try:
        session = inspector.attach(pid)
        try:
            silent = _silent_workers(session)
            told = json.loads(session.evaluate(f"{_REPORT}({'false' if silent else 'true'})"))
        except inspector.Hurry:
            raise runner.Interrupted from None
        finally:
            session.close()
    except Gone:
        raise ProcessLookupError(pid) from None
    except (ValueError, TypeError) as error:
        raise Failure("profiler-garbage", f"its report: {error}"[:300], "node --version") from None
    own = frames(told.pop("stack"))
    threads = kernel.threads(pid)
    for thread in threads:
        if thread.get("os_thread_id") == pid and own:
            thread["frames"] = own
    return threads, {**told, "workers_silent": silent, "inspector_was_open": session.was_open}


def _silent_workers(session: Session) -> int:
    """How many worker threads don't answer now. Raises Gone, and what `Session.wait` raises."""
    session.threads.follow()
    for _ in session.threads.ask("Runtime.getHeapUsage"):
        pass
    return len(session.threads.found.keys() - session.threads.read)


def frames(sites: list[Any]) -> list[dict[str, Any]]:
    """Call sites (name, file, line) as the frames of `.stacks.json`, without guard's own. Pure."""
    if any(name == inspector.OWN and not file for name, file, _ in sites):
        return []  # guard's own timer ran, and nothing of the program's
    found = []
    for name, file, line in sites:
        if file:
            found.append(
                {
                    "name": str(name or "(anonymous)"),
                    "filename": str(file).removeprefix("file://"),
                    "line": line if isinstance(line, int) else 0,
                    "locals": None,
                }
            )
    return found
