"""What a running Go tells of itself: the handlers of its `net/http/pprof`, where the program serves them.

Nothing is attached and nobody stops; the program answers by its own threads. So that no other program's profile is
taken for its own, the process itself has to hold the port that is asked.

Sources: Go's net/http/pprof and runtime/pprof (heap, profile, goroutine), runtime.Stack for the goroutines' text.
"""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
import zlib
from typing import Any

from supervisor import addresses, quantities
from supervisor.analysis import folded, pprof
from supervisor.analysis.reading import FormatError, Reading
from supervisor.profilers import native, runner, sockets
from supervisor.profilers.failure import Failure

AUTO = "auto"
HINT = "guard run --go-pprof http://127.0.0.1:6060 -- COMMAND"
DEADLINE_S = 10.0
_LOOK_S = 1.0
_MOST_PORTS = 8
_MOST_BYTES = 32 << 20
_MOST_UNPACKED = 64 << 20
_MOST_GOROUTINES = 256
_MOST_FRAMES = 100
_TICK_S = 0.1
_HEAD = re.compile(r"goroutine (\d+) (?:gp=\S+ m=\S+ (?:mp=\S+ )?)?\[([^\]]*)\]:")
_PLACE = re.compile(r"\t(.+):(\d+)(?: \+0x[0-9a-f]+)?$")


class Source:
    """Where a process serves its profiles: a base `url` (with whatever secret), and `shown` for people.

    `address` is what is connected to, "" for the URL's host.
    """

    __slots__ = ("address", "shown", "url")

    def __init__(self, url: str, address: str = "") -> None:
        self.url = url.rstrip("/")
        self.address = address
        self.shown = addresses.masked_url(url)

    def fetch(self, what: str, deadline_s: float = DEADLINE_S, *, stoppable: bool = False) -> bytes:
        """The answer to `heap?gc=1` and the like. Raises Failure; Interrupted where `stoppable`."""
        hint = f"curl -sS -o FILE {self.shown.rstrip('…').rstrip('/')}/…/{what}"
        asked = _Asked(f"{self.url}/{what}", self.address)
        return _fetch(asked, f"{self.shown} ({what})", deadline_s, hint, stoppable=stoppable)


def find(pid: int, wanted: str) -> Source:
    """Where this process serves its profiles, from the setting: a URL, or `auto`. Raises Failure.

    By `auto` each port that the process listens on is asked once, which a program that doesn't speak HTTP sees as a
    broken request; so it is never done unasked.
    """
    hint = 'in the program: import _ "net/http/pprof"; go http.ListenAndServe("127.0.0.1:6060", nil)'
    if sockets.other_network(pid):
        raise Failure("pprof-elsewhere", "the process has a network of its own", "run guard in its container")
    try:
        held = sockets.held(pid)
        listening = sockets.listening(pid)
    except OSError as error:
        said = f"whose sockets the process has can't be read: {error.strerror}"
        raise Failure("pprof-elsewhere", said, "run guard as the target's user") from None
    own = [each for each in listening if each.inode in held]
    others = [each for each in listening if each.inode not in held]
    if wanted != AUTO:
        _, place, port, _ = _place(wanted)
        for address in ("127.0.0.1", "::1") if place == "localhost" else (place,):
            if answers(address, port, own, others):
                return Source(_with_path(wanted), address)
        raise Failure("pprof-elsewhere", f"{place}:{port} is nothing that process {pid} listens on", hint)
    reasons = []
    for each in own[:_MOST_PORTS]:
        if not answers(each.address, each.port, own, others):
            reasons.append(f"another process listens on port {each.port}, too")
            continue
        host = f"[{each.address}]" if ":" in each.address else each.address
        source = Source(f"http://{host}:{each.port}/debug/pprof")
        try:
            if b"goroutine" in source.fetch("", _LOOK_S):
                return source
            reasons.append(f"port {each.port} answers something else")
        except Failure as failure:
            reasons.append(failure.said)
    said = "; ".join(reasons) or "the process listens on no port"
    raise Failure("pprof-absent", f"no /debug/pprof/ there: {said}"[:300], hint)


def answers(address: str, port: int, own: list[sockets.Listener], others: list[sockets.Listener]) -> bool:
    """Whether a process with the listeners `own` is who answers at a literal address, and none of the `others`. Pure.

    The kernel takes the most specific listener, and any of several that share a place. A listener on all addresses is
    believed for loopback only: others may be another machine's.
    """
    served = [address]
    if address == "127.0.0.1":
        served += ["0.0.0.0", "::"]  # the last one for both families, unless it is told to leave IPv4 out
    elif address == "::1":
        served.append("::")
    mapped = {f"::ffff:{each}": each for each in served}
    for host in served:
        if any(each.port == port and mapped.get(each.host, each.host) == host for each in others):
            return False
        if any(each.port == port and mapped.get(each.host, each.host) == host for each in own):
            return True
    return False


def _with_path(url: str) -> str:
    """A URL without a path means the usual one."""
    scheme, _, rest = url.partition("://")
    place, _, path = rest.partition("/")
    return f"{scheme}://{place}/{path or 'debug/pprof'}"


def _place(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path of a URL that the settings have let in."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80), parts.path


def _fetch(asked: _Asked, shown: str, deadline_s: float, hint: str, *, stoppable: bool) -> bytes:
    """By a thread, so that an answer that comes byte by byte ends with the deadline, too. Raises Failure."""
    thread = threading.Thread(target=asked.run, daemon=True)
    thread.start()
    until_s = time.monotonic() + deadline_s
    while thread.is_alive() and time.monotonic() < until_s:
        if not stoppable:
            thread.join(min(_TICK_S, until_s - time.monotonic()))
        elif runner.pause(_TICK_S / 4):
            asked.close()
            raise runner.Interrupted
    if thread.is_alive():
        asked.close()
        raise Failure("pprof-hung", f"{shown}: no whole answer within {deadline_s:g} s", hint)
    if isinstance(asked.error, OverflowError):
        most = quantities.human_bytes(_MOST_BYTES)
        raise Failure("pprof-flood", f"{shown}: more than {most}, and it would have gone on", hint)
    if asked.error is not None:
        why = getattr(asked.error, "strerror", None) or str(asked.error) or type(asked.error).__name__
        raise Failure("pprof-refused", f"{shown}: {why}"[:300], hint)
    if asked.status != 200:
        words = " ".join(asked.data[:200].decode("utf-8", "replace").split())
        said = f"{shown} answered {asked.status}" + ("" if words.startswith("<") else f": {words}")
        raise Failure("pprof-refused", said[:300], hint)
    return bytes(asked.data)


class _Asked:
    """One GET; `status`, `data` or `error`."""

    def __init__(self, url: str, address: str) -> None:
        self.data = bytearray()
        self.status = 0
        self.error: Exception | None = None
        self._url = url
        self._address = address
        self._connection: http.client.HTTPConnection | None = None
        self._answer: http.client.HTTPResponse | None = None
        self._socket: socket.socket | None = None  # also while the answer has it to itself

    def run(self) -> None:
        try:
            self._run()
        except Exception as error:
            self.error = error
        finally:
            if self._answer is not None:
                self._answer.close()
            if self._connection is not None:
                self._connection.close()

    def close(self) -> None:
        """End it from outside."""
        try:
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _run(self) -> None:
        scheme, host, port, _ = _place(self._url)
        context: Any = None
        if scheme == "https":
            import ssl

            context = ssl.create_default_context()
            self._connection = http.client.HTTPSConnection(host, port, context=context)
        else:
            self._connection = http.client.HTTPConnection(host, port)
        target = "/" + addresses.without_userinfo(self._url).partition("://")[2].partition("/")[2]
        headers = {"User-Agent": "guard", "Connection": "close", **addresses.authorization(self._url)}
        # Connected here, since a name may mean several addresses, and others' programs.
        self._socket = socket.create_connection((self._address or host, port))
        if context is not None:
            self._socket = context.wrap_socket(self._socket, server_hostname=host)
        self._connection.sock = self._socket
        self._connection.request("GET", target, headers=headers)
        answer = self._answer = self._connection.getresponse()
        self.status = answer.status
        while chunk := answer.read1(65536):
            self.data += chunk
            if len(self.data) > _MOST_BYTES:
                raise OverflowError
        if answer.length:
            raise http.client.IncompleteRead(b"", answer.length)


def profile(data: bytes, shown: str) -> Reading:
    """A pprof answer as guard's own reading, with its stacks. Raises Failure for what is none."""
    try:
        found = pprof.read(_unpacked(data), keep=True)
    except FormatError as error:
        raise Failure("pprof-garbage", f"{shown}: {error}"[:300], f"curl -sS {shown} | head -c 200") from None
    stacks: folded.Counts = {}
    for stack, weight in (found.stacks or {}).items():
        text = ";".join(map(_told_apart, stack.split(";")))
        stacks[text] = stacks.get(text, 0) + weight
    found.stacks = stacks
    return found


def _unpacked(data: bytes) -> bytes:
    """Raises FormatError."""
    if not data.startswith(b"\x1f\x8b"):
        seen = " ".join(data[:60].decode("utf-8", "replace").split())
        raise FormatError(f"it isn't packed by gzip, as Go's profiles are, but begins with {seen!r}")
    unpacker = zlib.decompressobj(31)
    try:
        unpacked = unpacker.decompress(data, _MOST_UNPACKED)
    except zlib.error as error:
        raise FormatError(f"the packed data is damaged ({error})") from None
    if not unpacker.eof:
        more = "is more than 64 MiB" if unpacker.unconsumed_tail else "is cut off"
        raise FormatError(f"the packed data {more}")
    return unpacked


def _told_apart(text: str) -> str:
    """A frame of Go's own library goes by the file `[runtime]`, as in native stacks: whoever calls it is the cause."""
    function = folded.split_frame(text)[0]
    return folded.frame(function, native.RUNTIME) if native.is_runtime(function) else text


def goroutines(pid: int, text: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What `goroutine?debug=2` tells, as threads of `.stacks.json`; how many there are, and which stand in one place.

    Pure. Arguments of functions, which are addresses, are left out.
    """
    found: list[dict[str, Any]] = []
    groups: dict[tuple[str, str], int] = {}
    total = 0
    for block in text.split("\n\n"):
        lines = block.strip("\n").split("\n")
        head = _HEAD.match(lines[0])
        if head is None:
            continue
        total += 1
        frames = _frames(lines[1:])
        state = head[2].partition(",")[0]
        own = next((each for each in frames if each["filename"] != native.RUNTIME), frames[0] if frames else None)
        place = f"{own['name']} ({own['filename']}:{own['line']})" if own else "(no frames)"
        groups[state, place] = groups.get((state, place), 0) + 1
        if len(found) < _MOST_GOROUTINES:
            found.append(
                {
                    "pid": pid,
                    "thread_id": int(head[1]),
                    "thread_name": f"goroutine {head[1]} [{head[2]}]",
                    "os_thread_id": None,
                    "active": state in ("running", "runnable", "syscall"),
                    "owns_gil": False,
                    "frames": frames,
                }
            )
    most = sorted(groups.items(), key=lambda item: (-item[1], item[0]))[:20]
    rows = [{"count": count, "state": state, "place": place} for (state, place), count in most]
    return found, {"count": total, "groups": rows}


def _frames(lines: list[str]) -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = []
    for call, place in zip(lines[::2], lines[1::2], strict=False):
        at = _PLACE.match(place)
        if call.startswith("created by ") or at is None:
            break
        # Arguments have braces in them, but no parentheses.
        name = call.rpartition("(")[0] if call.endswith(")") else call
        file = native.RUNTIME if native.is_runtime(name) else at[1]
        if len(frames) < _MOST_FRAMES:
            frames.append({"name": name, "filename": file, "short_filename": None, "module": None,
                           "line": int(at[2]) if len(at[2]) < 10 else 0, "locals": None})  # fmt: skip
    return frames
