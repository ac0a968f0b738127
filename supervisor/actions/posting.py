"""POST to a URL of the user's: authorization out of it, no redirect, some tries. Shared by what sends."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple

from supervisor import linklocal
from supervisor.addresses import authorization, masked_url, without_userinfo
from supervisor.profilers.failure import Failure
from supervisor.version import VERSION

_TRIES = 4
_FIRST_WAIT_S = 0.5
_TIMEOUT_S = 5.0
_MOST_SAID = 200


class Words(NamedTuple):
    """How failures are called: `RECEIVER-refused`, `-failed`, `-unreachable`; `THING-refused` for what never fits."""

    receiver: str
    thing: str
    hint: str
    for_good: tuple[int, ...] = (400, 404, 410, 413, 422)  # the receiver won't take this later either


class _Connection(http.client.HTTPConnection):
    """One that is never made to a link-local address, by whatever name."""

    def connect(self) -> None:
        linklocal.checked(self.host, self.port)
        super().connect()
        if linklocal.is_link_local(str(self.sock.getpeername()[0])):  # its name meant another address by then
            self.close()
            raise linklocal.LinkLocal(self.host)


class _SecureConnection(_Connection, http.client.HTTPSConnection):
    """The same with TLS."""


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, req)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A receiver that answers with another address, of a file or inside the network, isn't followed."""

    def redirect_request(self, *_: Any) -> None:
        return None


def post(url: str, body: bytes, headers: Mapping[str, str], words: Words) -> None:
    """Send `body`, tried a few times. Raises Failure."""
    shown = masked_url(url)
    wait_s = _FIRST_WAIT_S
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(wait_s)
            wait_s *= 2
        try:
            _post(url, body, headers)
            return
        except urllib.error.HTTPError as error:
            said = f"{shown} answered {error.code} {error.reason}{_why(error)}"[:_MOST_SAID]
            error.close()
            if 300 <= error.code < 400:
                said += f": guard follows no redirect of a {words.receiver}"
                raise Failure("redirect-refused", said, words.hint) from None
            if error.code in words.for_good:
                raise Failure(f"{words.thing}-refused", said, words.hint) from None
            if error.code < 500 and error.code not in (408, 425, 429):
                raise Failure(f"{words.receiver}-refused", said, words.hint) from None
            reason = f"{words.receiver}-failed"
        except linklocal.LinkLocal as error:
            raise Failure("link-local", str(error), words.hint) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = getattr(error, "reason", None) or error
            said, reason = f"{shown}: {why}"[:_MOST_SAID], f"{words.receiver}-unreachable"
    raise Failure(reason, f"{said} ({_TRIES} tries)", words.hint)


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Raises OSError (HTTPError for an answer that isn't 2xx), HTTPException, ValueError."""
    place, headers = without_userinfo(url), {"User-Agent": f"guard/{VERSION}", **headers, **authorization(url)}
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(), _Http(), _Https(), _NoRedirect(),
        urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPErrorProcessor(),
    ):  # fmt: skip
        opener.add_handler(handler)
    request = urllib.request.Request(place, body, headers, method="POST")
    with opener.open(request, timeout=_TIMEOUT_S) as answer:
        answer.read(1024)


def _why(error: urllib.error.HTTPError) -> str:
    """What the receiver says of it, a line."""
    try:
        words = error.read(1024).decode("utf-8", "replace").split()
    except (OSError, http.client.HTTPException):
        return ""
    text = " ".join(words)
    return f": {text}" if text and text.isprintable() and not text.startswith("<") else ""
