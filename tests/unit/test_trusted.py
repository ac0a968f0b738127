"""What guard runs and where it sends is named by a person, never by a file that just lies in the directory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import addresses, config, envfile, quantities
from supervisor.errors import UsageError
from supervisor.facts import gather
from supervisor.settings import SETTINGS

URL = "https://me:secret@hooks.example.org:8443/services/T0KEN?key=s3cret"


def resolved(text: str, *, named: bool) -> config.Config:
    entries = envfile.parse(text.encode(), ".env.profiling")
    return config.resolve({}, {}, entries, gather({}), file_is_named=named)


@pytest.mark.parametrize("line", [f"GUARD_NOTIFY={URL}", "GUARD_ON_EXIT='rm -rf x'"])
def test_a_file_that_was_found_may_not_say_it(line: str) -> None:
    found = resolved(line, named=False)
    assert found.distrusted == (line.partition("=")[0],)
    assert (found.notify, found.on_exit) == (None, None)
    assert found.unknown == ()
    named = resolved(line, named=True)
    assert named.distrusted == ()
    assert named.notify or named.on_exit


def test_a_bad_value_of_a_found_file_is_no_reason_to_refuse() -> None:
    assert resolved("GUARD_NOTIFY=nonsense", named=False).notify is None
    with pytest.raises(UsageError):
        resolved("GUARD_NOTIFY=nonsense", named=True)


def test_all_that_run_or_send_are_trusted() -> None:
    assert all(setting.trusted for setting in SETTINGS if setting.kind in ("command", "url", "webhook", "ship"))


def test_secrets_are_not_shown() -> None:
    found = config.resolve({"notify": [URL], "on-exit": ["post --token s3cret"]}, {}, {}, gather({}))
    shown = [(config.show(name, found.values[name].value), config.plain(name, found.values[name].value))
             for name in ("notify", "on-exit")]  # fmt: skip
    assert shown == [("https://hooks.example.org:8443/…",) * 2, ("post …",) * 2]
    with pytest.raises(UsageError) as caught:
        config.resolve({"notify": [URL.replace("https", "gopher")]}, {}, {}, gather({}))
    assert "s3cret" not in str(caught.value.lines())


@given(st.text(alphabet="ab/:@?#.%[]", max_size=30))
def test_masked_urls_show_scheme_and_host_only(rest: str) -> None:
    try:
        url = addresses.parse_url(f"https://u:s3cret@h/{rest}", ("https",))
    except quantities.BadValue:
        return
    masked = addresses.masked_url(url)
    assert "s3cret" not in masked and masked in ("https://h/", "https://h/…")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h",
        "https://",
        "https:///x",
        "https://u@/x",
        "file:///etc",
        "https://a b/",
        "https://h/\n",
        "https://:",
        "https://u:SEC/RET@h/",
    ],
)
def test_what_is_no_url(text: str) -> None:
    with pytest.raises(quantities.BadValue):
        addresses.parse_url(text, ("https",))


@pytest.mark.parametrize("text", ["", " ", "'", "a | b", "a && b", "a > b", "''", "a\0b"])
def test_what_is_no_command(text: str) -> None:
    with pytest.raises(quantities.BadValue):
        quantities.parse_command(text)


def test_commands_keep_quoted_words() -> None:
    assert quantities.parse_command("sh -c 'a | b'") == ("sh", "-c", "a | b")


@pytest.mark.parametrize("text", ["", "critical", "ok:USR1", "critical:NOPE", ":USR1"])
def test_what_is_no_state_and_signal(text: str) -> None:
    with pytest.raises(quantities.BadValue):
        quantities.parse_state_signal(text)


def test_an_empty_value_is_shown_as_that() -> None:
    with pytest.raises(UsageError) as caught:
        config.resolve({}, {"GUARD_NOTIFY": ""}, {}, gather({}))
    assert str(caught.value).startswith("GUARD_NOTIFY='' in the environment")
