"""A running Java: its classes by instances and bytes, its threads' stacks, asked for as `jcmd` does it.

HotSpot answers on a socket of its own, `/tmp/.java_pidN`, which it opens when it finds `.attach_pidN` at a SIGQUIT.
Asking that way needs no JDK in the image and no second Java beside one that has hardly any memory left. SIGQUIT is only
sent where the JVM takes it for that: it ends a process that doesn't catch it, and where attaching is switched off it
prints into the target's output.

Source: HotSpot's attachListener_posix.cpp and diagnosticCommand.cpp (`GC.class_histogram`, `Thread.print`).
"""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import time
from typing import Any

from supervisor import sample
from supervisor.cgroup import read_text
from supervisor.profilers.failure import Failure

Histogram = dict[str, tuple[int, int]]  # by class: instances, bytes

DEADLINE_S = 10.0
_READY_S = 2.0
_MOST_BYTES = 16 << 20
_MOST_CLASSES = 20_000
_OFF = ("-XX:+DisableAttachMechanism", "-Xrs", "-XX:+ReduceSignalUsage")
_OPTIONS = ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS")
_ROW = re.compile(r"\s*\d+:\s+(\d+)\s+(\d+)\s+(\S+)(?: \((\S+)\))?$")
_THREAD = re.compile(r'"(.*)" (?:#\d+ |\[|.*?nid=)')
_NID = re.compile(r"\bnid=(0x[0-9a-f]+|\d+)")
_FRAME = re.compile(r"\s+at ([^(]+)\((?:[^/()]*/)*([^()]*)\)$")
_OF_JAVA = ("java.", "javax.", "jdk.", "sun.", "com.sun.")


def histogram(pid: int, *, live: bool, deadline_s: float = DEADLINE_S) -> Histogram:
    """Instances and bytes by class. `live`: only what is still reachable, after a full collection. Raises Failure."""
    return parse_histogram(ask(pid, "jcmd", "GC.class_histogram" if live else "GC.class_histogram -all", deadline_s))


def threads(pid: int) -> list[dict[str, Any]]:
    """Stacks of all threads as in `.stacks.json`. Raises Failure."""
    return parse_threads(pid, ask(pid, "threaddump", "", DEADLINE_S))


def parse_histogram(text: str) -> Histogram:
    """What `GC.class_histogram` prints; the module is left out. Classes of the same name are taken together."""
    found: Histogram = {}
    for line in text.splitlines():
        row = _ROW.match(line)
        if row is not None and len(found) < _MOST_CLASSES:
            count, size = found.get(row[3], (0, 0))
            found[row[3]] = (count + int(row[1]), size + int(row[2]))
    return found


def readable(name: str) -> str:
    """A class as people write it: `[Ljava.lang.String;` is `java.lang.String[]`, `[B` is `byte[]`."""
    element = name.lstrip("[")
    depth = len(name) - len(element)
    if not depth:
        return name
    primitives = {"B": "byte", "C": "char", "D": "double", "F": "float", "I": "int", "J": "long", "S": "short",
                  "Z": "boolean"}  # fmt: skip
    element = element[1:-1] if element.startswith("L") and element.endswith(";") else primitives.get(element, element)
    return element + "[]" * depth


def grown(before: Histogram, now: Histogram) -> list[dict[str, Any]]:
    """Classes that gained bytes, most first: name, count, bytes, gained_count, gained_bytes."""
    rows = []
    for name, (count, size) in now.items():
        old_count, old_size = before.get(name, (0, 0))
        if size > old_size:
            row = {"name": readable(name), "count": count, "bytes": size}
            rows.append(row | {"gained_count": max(0, count - old_count), "gained_bytes": size - old_size})
    return sorted(rows, key=lambda row: -row["gained_bytes"])


def telling(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The class that tells most: the first of the program's own that gained a notable part, else the first of all.

    What fills the memory is mostly byte[] and String; whose they are, the objects that hold them tell.
    """
    total = sum(row["gained_bytes"] for row in rows)
    for row in rows:
        if 50 * row["gained_bytes"] < total:
            break
        element = row["name"].rstrip("[]")
        if "." in element and element.startswith(_OF_JAVA):
            continue
        if "." in element or element[:1].isupper():
            return row
    return rows[0] if rows else None


def parse_threads(pid: int, text: str) -> list[dict[str, Any]]:
    """What `Thread.print` prints. A thread without frames of Java (the JVM's own) has none here, too."""
    found: list[dict[str, Any]] = []
    for line in text.splitlines():
        if line.startswith('"') and (head := _THREAD.match(line)) is not None:
            nid = _NID.search(line)
            tid = int(nid[1], 0) if nid is not None else None
            found.append(
                {
                    "pid": pid,
                    "thread_id": tid or 0,
                    "thread_name": head[1],
                    "os_thread_id": tid,
                    "active": " runnable" in line[head.end() :],
                    "owns_gil": False,
                    "frames": [],
                }
            )
        elif found and (at := _FRAME.match(line)) is not None:
            file, _, number = at[2].partition(":")
            found[-1]["frames"].append(
                {
                    "name": at[1].rpartition("/")[2],
                    "filename": file,
                    "short_filename": file,
                    "module": None,
                    "line": int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 0,
                    "locals": None,
                }
            )
        elif not line.strip() and found:
            found[-1]["frames"] = found[-1]["frames"][:200]
    return found


# -- asking ------------------------------------------------------------------------------------------------------------


def refusal(pid: int) -> str:
    """Why this JVM isn't asked; "" when it may be."""
    if sample.stopped(pid):
        return "it is stopped, and would answer when it goes on"
    words = _words(pid)
    if not any(words):
        return "its arguments can't be read, and they may forbid it"
    off = next((word for word in words if word in _OFF), None)
    if off is not None:
        return f"it runs with {off}"
    return ""


def _words(pid: int) -> list[str]:
    """Its arguments and what its environment adds to them."""
    words: list[str] = []
    for name in ("cmdline", "environ"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                found = [os.fsdecode(word) for word in file.read(1 << 20).split(b"\0")]
        except OSError:
            continue
        if name == "environ":
            found = [
                part for each in found if each.partition("=")[0] in _OPTIONS for part in each.split("=", 1)[1].split()
            ]
        words += found
    return words


def ask(pid: int, command: str, argument: str, deadline_s: float) -> str:
    """What the JVM answers to a command of its attach protocol. Raises Failure."""
    why = refusal(pid)
    if why:
        raise Failure("java-refused", why, f"jcmd {pid} VM.version")
    until_s = time.monotonic() + deadline_s
    inside = _namespaced(pid)
    path = f"/proc/{pid}/root/tmp/.java_pid{inside}"
    try:
        if not os.path.exists(path):
            _open_listener(pid, inside, path)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(deadline_s)
            connection.connect(path)
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            if struct.unpack("3i", credentials)[0] != pid:
                raise Failure("java-refused", f"{path} is answered by somebody else", f"jcmd {pid} VM.version")
            words = ["1", command, argument, "", ""]
            connection.sendall("".join(f"{word}\0" for word in words).encode())
            data = _receive(connection, until_s)
    except OSError as error:
        said = error.strerror or str(error)
        raise Failure(
            "java-silent", f"the JVM gave no answer: {said}", f"jcmd {pid} {argument or 'Thread.print'}"
        ) from error
    status, _, text = data.decode("utf-8", "replace").partition("\n")
    if status.strip() != "0":
        raise Failure("java-refused", f"{status} {text}"[:300].strip(), f"jcmd {pid} {argument or 'Thread.print'}")
    return text


def _receive(connection: socket.socket, until_s: float) -> bytes:
    data = bytearray()
    while len(data) < _MOST_BYTES:
        connection.settimeout(max(0.01, until_s - time.monotonic()))
        chunk = connection.recv(65536)
        if not chunk:
            break
        data += chunk
    return bytes(data)


def _namespaced(pid: int) -> int:
    """The pid as the process itself sees it."""
    for line in (read_text(f"/proc/{pid}/status") or "").splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return pid


def _open_listener(pid: int, inside: int, path: str) -> None:
    """Have the JVM open its socket. Raises Failure, OSError."""
    status = dict(
        line.partition(":")[::2] for line in (read_text(f"/proc/{pid}/status") or "").splitlines() if ":" in line
    )
    if not int(status.get("SigCgt", "0").strip() or "0", 16) >> signal.SIGQUIT - 1 & 1:
        raise Failure("java-refused", "it doesn't catch SIGQUIT, which asks a JVM to listen", f"jcmd {pid} VM.version")
    trigger = f"/proc/{pid}/root/tmp/.attach_pid{inside}"
    fd = os.open(trigger, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        owner = os.stat(f"/proc/{pid}")
        if owner.st_uid != os.geteuid():
            os.fchown(fd, owner.st_uid, owner.st_gid)  # else it isn't believed
        os.kill(pid, signal.SIGQUIT)
        until_s = time.monotonic() + _READY_S
        while not os.path.exists(path):
            if time.monotonic() >= until_s:
                raise Failure("java-silent", "the JVM didn't open its socket", f"jcmd {pid} VM.version")
            time.sleep(0.005)
    finally:
        os.close(fd)
        os.unlink(trigger)
