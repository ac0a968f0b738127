"""Who asks and where, out of a URL: the header of HTTP Basic, and the URL without it."""

from __future__ import annotations

from base64 import b64decode

import pytest

from supervisor import addresses


@pytest.mark.parametrize(
    ("url", "without", "pair"),
    [
        ("https://me:word@host/in", "https://host/in", "me:word"),
        ("https://token@host/in", "https://host/in", "token:"),
        ("https://me:p%40ss%3A@host:8443", "https://host:8443", "me:p@ss:"),
        ("https://a%3Ab:c:d@[::1]:80/x", "https://[::1]:80/x", "a:b:c:d"),
        ("http+unix://me:word@%2Frun%2Fapp.sock/health", "http+unix://%2Frun%2Fapp.sock/health", "me:word"),
    ],
)
def test_userinfo_becomes_a_header_with_a_colon(url: str, without: str, pair: str) -> None:
    """RFC 7617: user-pass is user-id ":" password, also where there is no password."""
    (scheme, sent) = addresses.authorization(url)["Authorization"].split()
    assert (scheme, b64decode(sent).decode()) == ("Basic", pair)
    assert addresses.without_userinfo(url) == without


@pytest.mark.parametrize(
    "url", ["https://host", "https://host/me@there", "https://host?to=me@there.org", "https://host#me@there"]
)
def test_an_at_elsewhere_is_no_userinfo(url: str) -> None:
    assert addresses.authorization(url) == {} and addresses.without_userinfo(url) == url
