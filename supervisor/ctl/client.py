"""Asking a running guard: which run is meant, its socket, one request and its answer. For `guard ctl` and `api`.

Whoever may write to a profiles directory can put anything there: no link is followed, and what is connected to is a
socket by the time it is. What comes back is bounded, and shown through `analysis.text.visible`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import struct
from collections.abc import Mapping
from typing import Any

from supervisor import evidence, files
from supervisor.ctl.door import NAME
from supervisor.ctl.server import MOST_ANSWER_BYTES
from supervisor.errors import GuardError, UsageError
from supervisor.evidence import Run
from supervisor.evidence.fields import text

REFUSED = 1  # exit code: asked, and not done
_CONNECT_S = 5
_ANSWER_S = 15.0


class Refused(GuardError):
    """guard was asked and didn't, or couldn't; `answer` is all it said."""

    def __init__(self, what: str, *, why: str = "", hint: str = "", answer: Mapping[str, Any] | None = None) -> None:
        super().__init__(what, why=why, hint=hint, code=REFUSED)
        self.answer = dict(answer or {})


def find(root: str, wanted: str | None, verb: str = "state") -> Run:
    """The run that is meant: by id, a part of it or its path; None or `last`: the only one that lives.

    Raises UsageError when there is none or more than one, or when it has ended.
    """
    if wanted is not None and os.sep in wanted:
        return _living(evidence.find(root, wanted))
    living = [run for run in evidence.runs(root) if is_reachable(run)]
    wanted = "" if wanted == "last" else wanted or ""
    fitting = [run for run in living if run.id == wanted] or [run for run in living if wanted in run.id]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        some = ", ".join(run.id for run in fitting[:3]) + (", ..." if len(fitting) > 3 else "")
        what = f"{wanted[:100]!r} fits {len(fitting)} runs" if wanted else f"{len(fitting)} guards run"
        raise UsageError(f"{what} with evidence in {root}", why=some, hint=f"guard ctl {fitting[0].id} {verb}")
    if wanted:
        return _living(evidence.find(root, wanted))
    hint = "guard run -- COMMAND in another terminal, or guard ctl --profiles-dir DIR"
    raise UsageError(f"no guard runs with evidence in {root}", hint=hint)


def is_reachable(run: Run) -> bool:
    """Whether somebody listens there: also between two lives, when the record of the last one is closed already."""
    try:
        _connect(run).close()
    except OSError:
        return run.lives
    return True


def _living(run: Run) -> Run:
    if is_reachable(run):
        return run
    raise UsageError(f"the run {run.id} has ended", why=run.outcome, hint=f"guard postmortem {run.id}")


def _connect(run: Run) -> socket.socket:
    """Raises OSError."""
    where = text(run.record.raw.get("ctl")) or NAME
    # Elsewhere means a private directory of whoever wrote the record.
    folder, name = os.path.split(where) if os.path.isabs(where) else (run.path, NAME)
    directory = files.open_directory(folder)
    try:
        if folder != run.path:
            found, owner = os.fstat(directory), os.stat(run.path, follow_symlinks=False)
            if found.st_uid != owner.st_uid or found.st_mode & 0o077:
                raise PermissionError(1, f"{folder} is not private")
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    finally:
        os.close(directory)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise OSError(88, "it is no socket")  # ENOTSOCK
        # Not by settimeout: where others wait at the door, connect(2) of a socket that doesn't block fails at once.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _CONNECT_S, 0))
        connection.connect(f"/proc/self/fd/{fd}")
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(fd)
    return connection


def ask(run: Run, request: Mapping[str, Any], patience_s: float | None = None) -> dict[str, Any]:
    """The answer to a request, as `server.parse` takes it. Raises Refused when it isn't done.

    `patience_s`: the longest wait for the answer; without it an action, a stop or a restart is waited for until it is
    through, which guard bounds.
    """
    waits = request.get("wait", True) and request["verb"] != "state"
    if patience_s is None and not waits:
        patience_s = _ANSWER_S
    try:
        connection = _connect(run)
    except OSError as error:
        raise _unreachable(run, error) from None
    with connection:
        try:
            connection.settimeout(patience_s)
            with contextlib.suppress(BrokenPipeError):  # refused at the door: the answer is there
                connection.sendall(json.dumps(dict(request)).encode() + b"\n")
            line = _read_line(connection)
        except TimeoutError:
            raise Refused(f"guard did not answer within {patience_s:g} s", hint=f"guard top {run.id}") from None
        except OSError as error:
            raise Refused("guard did not answer", why=error.strerror or "", hint=f"guard postmortem {run.id}") from None
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Refused("guard ended before it answered", hint=f"guard postmortem {run.id}")
    if answer.get("ok") is not True:
        what, hint = str(answer.get("error") or "guard refused")[:1000], str(answer.get("hint") or "")[:1000]
        raise Refused(what, hint=hint, answer=answer)
    return answer


def _read_line(connection: socket.socket) -> bytes:
    """What came up to the line's end or the connection's. Raises OSError."""
    data = b""
    while b"\n" not in data and len(data) <= MOST_ANSWER_BYTES:
        try:
            chunk = connection.recv(MOST_ANSWER_BYTES)
        except ConnectionResetError:  # refused before the request was read
            break
        if not chunk:
            break
        data += chunk
    return data.partition(b"\n")[0]


def _unreachable(run: Run, error: OSError) -> GuardError:
    why = error.strerror or str(error)
    if isinstance(error, PermissionError):
        hint = "sudo guard ctl, or as the user that guard runs as"
        return Refused(f"the socket of {run.id} is not yours to use", why=why, hint=hint)
    if run.lives:
        hint = f"grep ctl.failed {run.path}/events.jsonl"
        return Refused(f"the run {run.id} lives and can't be asked", why=why, hint=hint)
    return UsageError(f"the run {run.id} has ended", why=run.outcome, hint=f"guard postmortem {run.id}")
