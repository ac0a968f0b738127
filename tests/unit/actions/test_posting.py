"""Where nothing is posted to."""

from __future__ import annotations

import socket

import pytest

from supervisor import linklocal
from supervisor.actions import posting
from supervisor.profilers.failure import Failure

WORDS = posting.Words("receiver", "message", "look at the URL")


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/latest", "http://0xa9fea9fe/s3cret", "https://[fe80::1]/", "http://[::ffff:a9fe:1]/"],
)
def test_no_link_local_address_is_posted_to(url: str) -> None:
    with pytest.raises(Failure) as caught:
        posting.post(url, b"{}", {}, WORDS)
    assert caught.value.reason == "link-local" and "s3cret" not in caught.value.said


def test_a_name_that_means_another_address_by_then_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    asked: list[str] = []

    def is_link_local(address: str) -> bool:
        asked.append(address)
        return len(asked) > 1  # first what the name was looked up to be, then whom it is connected to

    monkeypatch.setattr(linklocal, "is_link_local", is_link_local)
    port = listener.getsockname()[1]
    with listener, pytest.raises(Failure) as caught:
        posting.post(f"http://127.0.0.1:{port}/in", b"secret", {}, WORDS)
    assert caught.value.reason == "link-local" and asked == ["127.0.0.1"] * 2


def test_all_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "_FIRST_WAIT_S", 0.0)
    with pytest.raises(Failure) as caught:
        posting.post("http://127.0.0.1:1/", b"{}", {}, WORDS)
    assert caught.value.reason == "receiver-unreachable"
