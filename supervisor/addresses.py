"""Where something is: URLs, hosts, ports, sockets, from text; and URLs for people, without their secrets.

Imported before the target starts, so it uses no `re`. Parsers raise `BadValue`, as those of `quantities`.
"""

from __future__ import annotations

from supervisor.quantities import BadValue


def parse_probe(text: str) -> str:
    """What a probe asks: `http://`, `https://`, `tcp://host:port`, `unix:///path` or `http+unix://%2Fpath/page`."""
    accepted = "http://HOST[:PORT][/PATH], https://..., tcp://HOST:PORT, unix:///PATH or http+unix://%2FPATH%2FOF%2FSOCKET/PAGE"
    scheme, separator, rest = text.partition("://")
    place = rest.partition("/")[0].partition("?")[0].partition("#")[0].rpartition("@")[2]
    good = bool(separator) and text.isascii() and all("!" <= letter <= "~" for letter in text) and len(text) <= 4096
    if scheme == "unix":
        good = good and rest.startswith("/") and len(rest) > 1
    elif scheme == "http+unix":
        good = good and place[:3].lower() == "%2f" and len(place) > 3
    else:
        host, colon, port = place.rpartition(":") if place.rpartition(":")[2].isdigit() else (place, "", "")
        host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
        good = good and scheme in ("http", "https", "tcp") and bool(host) and (scheme != "tcp" or bool(colon))
        good = good and (not colon or (len(port) <= 5 and 0 < int(port) < 65536)) and not host.endswith(":")
    if not good:
        raise BadValue(accepted)
    return text


def parse_port(text: str) -> int:
    """A TCP port; 0 lets the system choose one."""
    text = text.strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or int(text) > 65535:
        raise BadValue("a port from 1 to 65535, or 0 for a free one")
    return int(text)


def parse_address(text: str) -> str:
    """An IP address of this machine, v4 or v6; no name, since looking one up takes its time."""
    import _socket

    text = text.strip()
    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            _socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return text
    raise BadValue("an IP address such as 127.0.0.1, 0.0.0.0 or ::1")


def parse_collected(text: str) -> str:
    """The path of a file for node_exporter's textfile collector, which reads *.prom."""
    if not text.endswith(".prom") or text.endswith("/.prom") or text == ".prom" or "\0" in text:
        raise BadValue("a path that ends in .prom, in the directory that node_exporter reads")
    return text


def parse_socket_path(text: str) -> str:
    """A path that fits a unix socket's address (unix(7): 108 bytes with its end)."""
    if not text or "\0" in text or len(text.encode("utf-8", "surrogateescape")) > 107:
        raise BadValue("a path of 107 bytes at most, which is all that a unix socket takes")
    return text


def parse_url(text: str, schemes: tuple[str, ...]) -> str:
    """A URL of one of these schemes with a host; it may hold secrets, see `masked_url`."""
    scheme, separator, rest = text.partition("://")
    host = rest.partition("/")[0].partition("?")[0].partition("#")[0].rpartition("@")[2]
    printable = text.isascii() and all("!" <= letter <= "~" for letter in text)
    port = host.rpartition("]")[2].partition(":")[2]
    if port and not port.isdigit():  # a password with a slash in it, most likely, which no log must show
        raise BadValue("a URL with a number for its port, and / ? # in a password written as %2F %3F %23")
    if not separator or scheme not in schemes or not host.strip(":") or not printable or len(text) > 4096:
        raise BadValue(f"a URL such as {schemes[0]}://example.org/path ({', '.join(schemes)})")
    return text


def parse_ship(text: str) -> str:
    """A directory, or a URL that evidence can be shipped to."""
    from supervisor.shipping import target

    try:
        target.parse(text)
    except ValueError as error:
        raise BadValue(str(error)) from None
    return text


def parse_endpoint(text: str) -> str:
    """A base URL for OTLP, or `env`: what OTEL_EXPORTER_OTLP_ENDPOINT and its like say."""
    return _word_or_url(text, "env", "what OTEL_EXPORTER_OTLP_ENDPOINT says", ("https", "http"))


def parse_pprof(text: str) -> str:
    """Where a program serves Go's profiles, or `auto`: one of the ports that it listens on."""
    return _word_or_url(text, "auto", "the ports that the process listens on", ("http", "https"))


def _word_or_url(text: str, word: str, meaning: str, schemes: tuple[str, ...]) -> str:
    if text == word:
        return text
    try:
        return parse_url(text, schemes)
    except BadValue as error:
        raise BadValue(f"{error}, or {word} for {meaning}") from None


def without_userinfo(url: str) -> str:
    """The URL to connect to."""
    return _parted(url)[1]


def authorization(url: str) -> dict[str, str]:
    """The header for a URL's userinfo; empty without one."""
    from urllib.parse import unquote

    userinfo = _parted(url)[0]
    user, _, password = userinfo.partition(":")
    return basic(unquote(user), unquote(password)) if userinfo else {}


def basic(user: str, password: str = "") -> dict[str, str]:
    """The header of HTTP Basic: with its colon also where there is no password (RFC 7617)."""
    from base64 import b64encode

    return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


def _parted(url: str) -> tuple[str, str]:
    """A URL's userinfo, and the URL without it. An @ of its path or query is neither's."""
    scheme, _, rest = url.partition("://")
    end = min((rest.index(mark) for mark in "/?#" if mark in rest), default=len(rest))
    userinfo, _, place = rest[:end].rpartition("@")
    return userinfo, f"{scheme}://{place}{rest[end:]}"


def masked_url(text: str) -> str:
    """The URL without what may be secret in it: userinfo, path, query. A directory is none, and shown whole."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme == "file":
        return text
    place, slash, path = rest.partition("/")
    place = place.partition("?")[0].partition("#")[0].rpartition("@")[2]
    return f"{scheme}://{place}{slash}{'…' if path else ''}"
