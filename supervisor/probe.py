"""`--probe`: asks the target again and again whether it answers, in a process of its own.

A helper (see `helped`), whose spec comes by stdin, since a URL may hold a secret. Every probe is a JSON line on stdout:
`outcome`, `elapsed_s`, and what was `said` when it is no answer:

- `answered`: a status below 400 and the whole page (1 MiB of it at most), or a connection, in time. A redirect is an
  answer and isn't followed.
- `timeout`: neither in time. Whatever hangs, name resolution included, ends with the deadline.
- `refused`: nobody listens.
- `failed`: everything else: a status from 400 on, a connection reset, a name that doesn't resolve, garbage.
"""

from __future__ import annotations

import json
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from supervisor.addresses import authorization

_MOST_PAGE = 1 << 20
_MOST_HANGING = 4  # probes that outlive their deadline; while there are so many none is begun


def main(spec: dict[str, Any]) -> NoReturn:
    """Probe until the other end of stdout, or the watcher, is gone."""
    ask = asker(spec["url"], spec["timeout_s"])
    hanging: list[threading.Thread] = []
    next_s = time.monotonic()
    while True:
        hanging = [thread for thread in hanging if thread.is_alive()]
        if len(hanging) < _MOST_HANGING:
            told, thread = probe(ask, spec["timeout_s"])
            hanging.append(thread)
        else:
            time.sleep(spec["timeout_s"])
            told = {"outcome": "timeout", "elapsed_s": spec["timeout_s"], "said": "earlier probes still hang"}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        now_s = time.monotonic()
        next_s = max(next_s + spec["interval_s"], now_s)
        time.sleep(next_s - now_s)


def probe(ask: Callable[[], str], timeout_s: float) -> tuple[dict[str, Any], threading.Thread]:
    """One probe. It runs in a thread: no timeout of a socket's ends one that gets a byte now and then."""
    answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    began_s = time.monotonic()

    def run() -> None:
        try:
            said = ask()
            outcome = "failed" if said else "answered"
        except TimeoutError:
            outcome, said = "timeout", ""
        except ConnectionRefusedError as error:
            outcome, said = "refused", error.strerror or ""
        except FileNotFoundError as error:  # a unix socket that isn't there
            outcome, said = "refused", error.strerror or ""
        except Exception as error:
            outcome, said = "failed", f"{type(error).__name__}: {error}"
        answers.put({"outcome": outcome, "said": said, "elapsed_s": time.monotonic() - began_s})

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        told = answers.get(timeout=timeout_s)
    except queue.Empty:
        told = {"outcome": "timeout", "said": ""}
    if told["outcome"] == "timeout" or told["elapsed_s"] > timeout_s:
        told = {"outcome": "timeout", "said": f"no answer within {timeout_s:g} s", "elapsed_s": timeout_s}
    return told | {"elapsed_s": round(told["elapsed_s"], 6)}, thread


def asker(url: str, timeout_s: float) -> Callable[[], str]:
    """What asks once: returns "" for an answer, else what is wrong with it. Raises what sockets raise."""
    from urllib.parse import unquote, urlsplit

    if url.startswith("unix://"):
        return lambda: _connect_unix(url.removeprefix("unix://"), timeout_s)
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "tcp":
        return lambda: _connect(host, parts.port or 0, timeout_s)
    target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
    target = target if target.startswith("/") else f"/{target}"
    headers = {"User-Agent": "guard-probe", "Accept": "*/*", "Connection": "close"}
    headers |= authorization(url)
    if parts.scheme == "http+unix":
        path = unquote(parts.netloc.rpartition("@")[2])
        headers["Host"] = "localhost"
        return lambda: _page(_unix_connection(path, timeout_s), target, headers)
    context = _tls(host) if parts.scheme == "https" else None
    return lambda: _page(_connection(host, parts.port, timeout_s, context), target, headers)


def _connect_unix(path: str, timeout_s: float) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connected:
        connected.settimeout(timeout_s)
        connected.connect(path)
    return ""


def _connect(host: str, port: int, timeout_s: float) -> str:
    with socket.create_connection((host, port), timeout_s):
        return ""


def _tls(host: str) -> Any:
    """Certificates are checked, but for this machine's own: nobody stands between, and few are made for its name."""
    import ipaddress
    import ssl

    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    context = ssl.create_default_context()
    if local:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _connection(host: str, port: int | None, timeout_s: float, context: Any) -> Any:
    import http.client

    if context is None:
        return http.client.HTTPConnection(host, port, timeout=timeout_s)
    return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)


def _unix_connection(path: str, timeout_s: float) -> Any:
    import http.client

    connection = http.client.HTTPConnection("localhost", timeout=timeout_s)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.settimeout(timeout_s)
    connection.sock.connect(path)
    return connection


def _page(connection: Any, target: str, headers: dict[str, str]) -> str:
    try:
        connection.request("GET", target, headers=headers)
        response = connection.getresponse()
        status = int(response.status)
        response.read(_MOST_PAGE)
    finally:
        connection.close()
    return f"status {status}" if status >= 400 else ""
