"""`--ship`: a directory, an HTTP(S) address or a bucket, from its text. Pure but for `check_extra`."""

from __future__ import annotations

import os

from supervisor.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_ACCEPTED = "a directory, file:///DIRECTORY, https://HOST/PREFIX/ or s3://BUCKET/PREFIX"
_SECURE = {"https": True, "http": False}
_MOST_LETTERS = 4096
_BUCKET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"


class Target:
    """Where to. `kind` is `directory`, `http` or `s3`; `path` is the directory, or the prefix without its slashes."""

    def __init__(self, kind: str, path: str) -> None:
        self.kind = kind
        self.path = path
        self.secure = True
        self.host = ""  # of http; without brackets
        self.port = 0
        self.user: str | None = None  # as written, with its %XX
        self.password = ""
        self.query = ""  # of http: kept with every file, since a signature may stand in it
        self.bucket = ""
        self.endpoint = ""  # of s3, when it is given
        self.region = ""

    @property
    def identity(self) -> str:
        """What makes it another place when it differs: no userinfo, no query."""
        place = self.bucket if self.kind == "s3" else f"{self.host}:{self.port}"
        return f"{self.kind} {place} {self.endpoint} {self.path}"


def parse(text: str) -> Target:
    """The target that `text` names. Raises ValueError saying what is accepted; the message holds nothing of `text`."""
    if not text or "\0" in text or len(text) > _MOST_LETTERS:
        _refuse(_ACCEPTED)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Target("directory", text)
    if scheme == "file":
        if not rest.startswith("/"):
            _refuse("file:///DIRECTORY with three slashes, a directory of this machine")
        return Target("directory", _unquoted(rest))
    if scheme not in ("http", "https", "s3") or not all("!" <= letter <= "~" for letter in text):
        _refuse(_ACCEPTED)
    rest, _, query = rest.partition("#")[0].partition("?")
    place, _, path = rest.partition("/")
    return _bucket(place, path, query) if scheme == "s3" else _http(scheme, place, path, query)


def _http(scheme: str, place: str, path: str, query: str) -> Target:
    target = Target("http", path.strip("/"))
    target.secure = _SECURE[scheme]
    target.query = query
    userinfo, at, place = place.rpartition("@")
    if at:
        target.user, _, target.password = userinfo.partition(":")
    if place.startswith("["):
        target.host, _, port = place[1:].partition("]")
        port = port.removeprefix(":")
    else:
        target.host, _, port = place.partition(":")
    target.port = int(port) if port.isdigit() and len(port) < 6 else -1 if port else 443 if target.secure else 80
    if not target.host or not 0 < target.port < 65536:
        _refuse("https://HOST/PREFIX/ or https://HOST:PORT/PREFIX/")
    return target


def _bucket(bucket: str, path: str, query: str) -> Target:
    if "@" in bucket:
        _refuse("s3://BUCKET/PREFIX without credentials, which come from AWS_ACCESS_KEY_ID or what else S3 knows")
    if not bucket or not all(letter in _BUCKET for letter in bucket):
        _refuse("s3://BUCKET/PREFIX")
    target = Target("s3", path.strip("/"))
    target.bucket = bucket
    for part in query.split("&") if query else ():
        name, _, value = part.partition("=")
        value = _unquoted(value)
        if name == "endpoint" and value.startswith(("http://", "https://")) and "@" not in value:
            target.endpoint = value
        elif name == "region" and value:
            target.region = value
        else:
            _refuse("s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION with no other parameters")
    return target


def settled(text: str) -> str:
    """The text with its directory made absolute, while guard still stands where it was started."""
    return text if "://" in text else os.path.abspath(text)


def check_extra(text: str) -> None:
    """Refuse what needs a package that isn't installed, before the target starts. Raises UsageError."""
    if not text.startswith("s3://"):
        return
    from importlib.util import find_spec

    if find_spec("obstore") is None:
        from supervisor import installing

        raise UsageError("--ship s3://... needs obstore", why="it isn't installed", hint=installing.extra("ship"))


def _refuse(accepted: str) -> NoReturn:
    raise ValueError(accepted)


def _unquoted(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote

    return unquote(text)
