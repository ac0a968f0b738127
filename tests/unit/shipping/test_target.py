from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import addresses, installing
from supervisor.addresses import masked_url
from supervisor.errors import UsageError
from supervisor.linklocal import is_link_local
from supervisor.quantities import BadValue
from supervisor.shipping.target import check_extra, parse, settled


@pytest.mark.parametrize(
    ("text", "kind", "path"),
    [
        ("away", "directory", "away"),
        ("/mnt/evidence", "directory", "/mnt/evidence"),
        ("file:///mnt/a%20b", "directory", "/mnt/a b"),
        ("https://a.example", "http", ""),
        ("https://a.example/in//x/", "http", "in//x"),
        ("s3://bucket", "s3", ""),
        ("s3://bucket/a/b/", "s3", "a/b"),
    ],
)
def test_kinds(text: str, kind: str, path: str) -> None:
    found = parse(text)
    assert (found.kind, found.path) == (kind, path)


def test_parts_of_an_address() -> None:
    found = parse("https://me:p%40ss@a.example:8443/in/?sig=x/y&z=1#part")
    assert (found.host, found.port, found.secure) == ("a.example", 8443, True)
    assert (found.user, found.password, found.query, found.path) == ("me", "p%40ss", "sig=x/y&z=1", "in")
    assert (parse("http://[::1]/x").host, parse("http://[::1]:81/x").port, parse("http://h").port) == ("::1", 81, 80)
    bucket = parse("s3://b.c/p?endpoint=https%3A%2F%2Fs3.example:9000&region=eu-central-1")
    assert (bucket.bucket, bucket.endpoint, bucket.region) == ("b.c", "https://s3.example:9000", "eu-central-1")


@pytest.mark.parametrize(
    "text",
    [
        "", "a\0b", "file://host/dir", "ftp://a.example/", "gopher://a/", "https://", "https:///x", "https://h:0/",
        "https://h:99999/", "https://h:8x/", "https://h/a b", "https://h/\n", "s3://", "s3://KEY:s3cret@bucket/x",
        "s3://bucket/x?token=s3cret", "s3://bucket?endpoint=file:///x", "x" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_target_is_refused_without_being_told(text: str) -> None:
    with pytest.raises(BadValue) as caught:
        addresses.parse_ship(text)
    assert "s3cret" not in str(caught.value)


def test_identity_is_where_to_and_no_secret() -> None:
    first = parse("https://me:s3cret@a.example/in/?sig=s3cret").identity
    assert "s3cret" not in first
    assert first == parse("https://a.example/in?sig=other").identity
    assert (
        len({parse(text).identity for text in ("a", "https://a.example/in", "https://b.example/in", "s3://a/in")}) == 4
    )


def test_shown_to_people() -> None:
    assert masked_url("https://me:s3cret@a.example/in/s3cret?sig=s3cret") == "https://a.example/…"
    assert masked_url("s3://bucket/x?endpoint=https://u:s3cret@h") == "s3://bucket/…"
    assert masked_url("/mnt/evidence") == "/mnt/evidence"
    assert masked_url("file:///mnt/evidence") == "file:///mnt/evidence"


@given(st.text(alphabet="ab/:@?#.%[]&=", max_size=30), st.sampled_from(["https", "http", "s3"]))
def test_anything_is_a_target_or_refused(rest: str, scheme: str) -> None:
    try:
        found = parse(f"{scheme}://u:s3cret@h{rest}")
    except ValueError:
        return
    assert found.kind == "http" and 0 < found.port < 65536 and found.host
    assert "s3cret" not in masked_url(f"{scheme}://u:s3cret@h{rest}")


def test_a_directory_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.chdir(str(tmp_path))
    assert settled("away") == f"{tmp_path}/away"
    assert settled("https://a.example/x") == "https://a.example/x"


@pytest.mark.parametrize(
    ("address", "refused"),
    [
        ("169.254.169.254", True), ("169.254.0.1", True), ("fe80::1", True), ("fe80::1%eth0", True),
        ("::ffff:169.254.169.254", True), ("64:ff9b::a9fe:a9fe", True), ("2002:a9fe:a9fe::1", True),
        ("127.0.0.1", False), ("10.0.0.1", False), ("::1", False), ("fd00::1", False), ("64:ff9b::a00:1", False),
        ("::ffff:10.0.0.1", False), ("no address", False),
    ],
)  # fmt: skip
def test_link_local_in_all_its_clothes(address: str, refused: bool) -> None:
    assert is_link_local(address) is refused


def test_what_needs_the_extra_is_refused_before_the_target_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        check_extra("s3://bucket/x")
    assert caught.value.lines()[-1] == f"  try: {installing.extra('ship')}"
    check_extra("https://a.example/x")
