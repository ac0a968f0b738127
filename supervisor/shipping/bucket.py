"""Shipping into a bucket of S3 or what speaks like it, by obstore (extra: ship)."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, BinaryIO

from supervisor import installing, linklocal
from supervisor.shipping.failure import Undelivered
from supervisor.shipping.target import Target

if TYPE_CHECKING:
    from obstore.store import ClientConfig

# S3 takes no part under 5 MiB but the last one; one part at a time bounds memory.
_PART = 5 << 20
_CHUNK = 1 << 20
_HINT = "see AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL"


class Bucket:
    """A bucket and its prefix. `patience_s`: the longest that one request may take."""

    def __init__(self, target: Target, patience_s: float, environ: Mapping[str, str] = os.environ) -> None:
        """Raises Undelivered."""
        try:
            import obstore
            from obstore.store import S3Store
        except ImportError as error:
            raise Undelivered("no-extra", f"s3:// needs obstore: {error}", installing.extra("ship")) from None
        self._obstore = obstore
        self._target = target
        endpoint = target.endpoint or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or ""
        self.where = _host(endpoint) or f"s3 bucket {target.bucket}"
        _check(endpoint)
        region = target.region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        wait_s = f"{max(1, round(patience_s))}s"
        options: ClientConfig = {
            "timeout": wait_s,
            "connect_timeout": wait_s,
            "allow_http": endpoint.startswith("http://"),
            "allow_invalid_certificates": False,
        }
        try:
            self._store = S3Store(
                target.bucket,
                endpoint=endpoint or None,
                region=region,
                client_options=options,
                retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=patience_s)},
            )
        except (self._obstore.exceptions.BaseError, ValueError) as error:
            raise Undelivered("refused", _said(str(error)), _HINT) from None

    def send(self, key: tuple[str, ...], file: BinaryIO, size: int, left_s: float) -> None:
        """Put the first `size` bytes of the file below the prefix. Raises Undelivered."""
        path = "/".join(part for part in (self._target.path, *key) if part)
        try:
            if size <= _PART:
                self._obstore.put(self._store, path, file.read(size), use_multipart=False)
            else:
                self._obstore.put(self._store, path, _pieces(file, size), chunk_size=_PART, max_concurrency=1)
        except (self._obstore.exceptions.BaseError, OSError) as error:
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> Undelivered:
        text = str(error)
        said = f"{self.where}: {_said(text)}"
        status = int(found[1]) if (found := re.search(r"status code: (\d{3})", text)) else 0
        if "169.254.169.254" in text or "169.254.170." in text:
            said = f"{self.where}: no credentials in the environment, and none from the machine's own service"
            return Undelivered("no-credentials", said, _HINT)
        if isinstance(
            error, self._obstore.exceptions.PermissionDeniedError | self._obstore.exceptions.UnauthenticatedError
        ):
            return Undelivered("not-allowed", said, _HINT)
        if 300 <= status < 400:
            return Undelivered("redirected", f"{said}: redirects are not followed", "see AWS_REGION, AWS_ENDPOINT_URL")
        if status >= 500 or status in (408, 429):
            return Undelivered("server-error", said, "see the state of the service", again=True)
        if isinstance(error, FileNotFoundError) or status == 404:
            return Undelivered("refused", said, f"see whether there is a bucket {self._target.bucket}")
        if status:
            return Undelivered("refused", said, _HINT, whole=status in (400, 405, 501))
        if "certificate" in text.lower() or "UnknownIssuer" in text:
            said = f"{self.where}: its certificate isn't trusted"
            return Undelivered("certificate", said, "SSL_CERT_FILE=CA.pem guard run ...")
        hint = "see AWS_ENDPOINT_URL, and whether it can be reached"
        if "kind: Timeout" in text:
            return Undelivered("timeout", f"{self.where} did not answer in time", hint, again=True)
        return Undelivered("unresolved" if "dns error" in text else "unreachable", said, hint, again=True)

    def close(self) -> None:
        """Nothing is held open."""


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0 and (chunk := file.read(min(size, _CHUNK))):
        size -= len(chunk)
        yield chunk


def _said(text: str) -> str:
    """What is worth telling of an answer: S3's own code and message, else its first line. No URL, no header."""
    code, message = re.search(r"<Code>([\w.]{1,60})</Code>", text), re.search(r"<Message>([^<]{1,160})", text)
    if code is not None:
        return code[1] + (f": {message[1]}" if message is not None else "")
    status = re.search(r"status code: (\d{3}[\w ]{0,40})", text)
    if status is not None:
        return f"answered {status[1].strip()}"
    # obstore tells the system's own words in a dump of its error only.
    said = re.search(r"(?:message|error): \"([\w :,()-]{1,120})", text) or re.search(r"(HTTP error: [\w ]{1,80})", text)
    return said[1] if said is not None else re.sub(r"\w+://\S+", "…", text.partition("\n")[0])[:160]


def _host(endpoint: str) -> str:
    return endpoint.partition("://")[2].partition("/")[0].rpartition("@")[2]


def _check(endpoint: str) -> None:
    """Refuse an endpoint at a link-local address. Raises Undelivered."""
    host = _host(endpoint)
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if not host:
        return
    try:
        linklocal.checked(host, None)
    except linklocal.LinkLocal as error:
        raise Undelivered("link-local", str(error), "see AWS_ENDPOINT_URL") from None
    except (socket.gaierror, UnicodeError):
        pass  # obstore says so itself
