"""Shipping by HTTP PUT: streamed, verified, never redirected, never to a link-local address."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from http import HTTPStatus
from typing import BinaryIO
from urllib.parse import quote, unquote

from supervisor import linklocal
from supervisor.addresses import basic
from supervisor.shipping.failure import Undelivered
from supervisor.shipping.target import Target
from supervisor.version import VERSION

_CHUNK = 1 << 16
_TYPES = {".json": "application/json", ".jsonl": "application/x-ndjson", ".md": "text/markdown; charset=utf-8",
          ".svg": "image/svg+xml", ".folded": "text/plain; charset=utf-8"}  # fmt: skip
_AGAIN = (408, 425, 429)
_NOT_ALLOWED = (401, 403, 407)
_EVERY_FILE = (404, 405, 501)


class Put:
    """One connection, kept for all files of a batch. `patience_s`: the longest silence of the other side."""

    def __init__(self, target: Target, patience_s: float) -> None:
        self._target = target
        self._patience_s = patience_s
        self._connection: http.client.HTTPConnection | None = None
        self._address = f"{target.host}:{target.port}"

    def send(self, key: tuple[str, ...], file: BinaryIO, size: int, left_s: float) -> None:
        """PUT the first `size` bytes of the file below the prefix. Raises Undelivered."""
        deadline_s = time.monotonic() + left_s
        try:
            status, location = self._exchange(key, file, size, deadline_s)
        except Undelivered:
            self.close()
            raise
        except ssl.SSLCertVerificationError as error:
            self.close()
            said = f"the certificate of {self._address} isn't trusted: {error.verify_message}"
            raise Undelivered("certificate", said, "SSL_CERT_FILE=CA.pem guard run ...") from None
        except TimeoutError:
            self.close()
            said = f"{self._address} did not answer in time"
            raise Undelivered("timeout", said, f"curl -v {self._masked}", again=True) from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            said = f"{self._address}: {getattr(error, 'strerror', None) or type(error).__name__}"
            raise Undelivered("unreachable", said, f"curl -v {self._masked}", again=True) from None
        if not 200 <= status < 300:
            self.close()
            raise self._refused(status, location)

    @property
    def _masked(self) -> str:
        return f"http{'s' if self._target.secure else ''}://{self._address}/"

    def _exchange(self, key: tuple[str, ...], file: BinaryIO, size: int, deadline_s: float) -> tuple[int, str]:
        """Status and Location of the answer. Raises Undelivered, OSError, HTTPException."""
        if self._connection is None or self._connection.sock is None:  # the other side wanted it closed
            self._connection = self._connect(deadline_s)
        connection = self._connection
        path = "/" + "/".join(part for part in (self._target.path, *(quote(each, safe="") for each in key)) if part)
        connection.putrequest("PUT", path + (f"?{self._target.query}" if self._target.query else ""))
        connection.putheader("Content-Length", str(size))
        connection.putheader("Content-Type", _TYPES.get("." + key[-1].rpartition(".")[2], "application/octet-stream"))
        connection.putheader("User-Agent", f"guard/{VERSION}")
        if self._target.user is not None:
            for name, value in basic(unquote(self._target.user), unquote(self._target.password)).items():
                connection.putheader(name, value)
        assert connection.sock is not None
        try:
            connection.endheaders()
            self._send_body(connection, file, size, deadline_s)
        except TimeoutError:
            raise
        except OSError:
            if connection.sock is None:  # not even the headers went out
                raise
            # Most likely it has answered already (too large, not allowed) and hung up: that answer tells more.
        connection.sock.settimeout(self._left_s(deadline_s))
        response = connection.getresponse()
        response.read(_CHUNK)
        if not response.isclosed():
            self.close()  # the rest of its answer is nobody's next one
        return response.status, response.getheader("Location", "")

    def _send_body(self, connection: http.client.HTTPConnection, file: BinaryIO, size: int, deadline_s: float) -> None:
        while size > 0:
            chunk = file.read(min(size, _CHUNK))
            if not chunk:  # it was cut meanwhile, and the length is promised: this one can't be finished
                raise Undelivered("evidence-changed", "the file became shorter while it was sent", "", whole=False)
            assert connection.sock is not None
            connection.sock.settimeout(self._left_s(deadline_s))
            connection.sock.sendall(chunk)
            size -= len(chunk)

    def _left_s(self, deadline_s: float) -> float:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return min(left_s, self._patience_s)

    def _connect(self, deadline_s: float) -> http.client.HTTPConnection:
        """Connect to an address that was looked at, not to a name that may lead elsewhere the next time."""
        target = self._target
        try:
            addresses = linklocal.checked(target.host, target.port)
        except linklocal.LinkLocal as error:
            raise Undelivered("link-local", str(error), "guard run --ship https://HOST/PREFIX/ -- COMMAND") from None
        except (socket.gaierror, UnicodeError) as error:
            said = f"{target.host}: {getattr(error, 'strerror', None) or 'no host name'}"
            raise Undelivered("unresolved", said, f"getent hosts {target.host}", again=True) from None
        sock = self._first(addresses, deadline_s)
        try:
            if not target.secure:
                connection = http.client.HTTPConnection(target.host, target.port)
            else:
                context = ssl.create_default_context()
                connection = http.client.HTTPSConnection(target.host, target.port, context=context)
                sock = context.wrap_socket(sock, server_hostname=target.host)
        except BaseException:
            sock.close()
            raise
        connection.sock = sock
        connection.auto_open = 0  # by itself it would connect to the name
        return connection

    def _first(self, addresses: list[str], deadline_s: float) -> socket.socket:
        """A connection to the first address that takes one. Raises OSError."""
        for place, address in enumerate(dict.fromkeys(addresses)):
            try:
                left_s = self._left_s(deadline_s)
                return socket.create_connection((address, self._target.port), timeout=left_s)
            except OSError:
                if place == len(dict.fromkeys(addresses)) - 1:
                    raise
        raise OSError("no address")

    def _refused(self, status: int, location: str) -> Undelivered:
        said = f"{self._address} answered {status}{_phrase(status)}"
        if 300 <= status < 400:
            said += f", to {_place(location)}: redirects are not followed" if location else ""
            return Undelivered("redirected", said, "guard run --ship with the address it leads to, if you trust that")
        if status >= 500 and status != 501:
            return Undelivered("server-error", said, f"curl -v {self._masked}", again=True)
        if status in _AGAIN:
            return Undelivered("busy", said, f"curl -v {self._masked}", again=True)
        if status in _NOT_ALLOWED:
            return Undelivered("not-allowed", said, "look at the user, password or signature in the URL")
        hint = "see whether the server takes PUT there"
        return Undelivered("refused", said, hint, whole=status in _EVERY_FILE)

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _phrase(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""


def _place(location: str) -> str:
    """Scheme and host of where a redirect leads; its path and query may hold secrets."""
    scheme, separator, rest = location.partition("://")
    if not separator:
        return "another path" if location.startswith("/") else f"{location.partition(':')[0][:10]!a}"
    host = rest.partition("/")[0].partition("?")[0].rpartition("@")[2]
    return ascii(f"{scheme[:10]}://{host[:80]}").strip("'")
