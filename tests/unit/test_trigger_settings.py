"""The settings of triggers: what is accepted, `auto`, what needs a probe, what a URL may not show."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import addresses, config, envfile, triggers
from supervisor import quantities as q
from supervisor.errors import UsageError
from supervisor.settings import PRESETS, SETTINGS
from tests.unit.test_config import facts

PROBE = "http://127.0.0.1:8000/health"


def resolve(file: str = "", *, named: bool = True, **given: str) -> config.Config:
    texts = {name.replace("_", "-"): [text] for name, text in given.items()}
    return config.resolve(texts, {}, envfile.parse(file.encode(), "f"), facts(), file_is_named=named)


@pytest.mark.parametrize(
    "text",
    ["http://127.0.0.1:8000/health?deep=1", "https://example.org", "http://[::1]:80/", "tcp://db:5432", "tcp://[::1]:1",
     "unix:///run/app.sock", "http+unix://%2Frun%2Fapp.sock/health", "http://me:word@host/"],
)  # fmt: skip
def test_what_can_be_probed(text: str) -> None:
    assert addresses.parse_probe(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "127.0.0.1:8000", "ftp://host/", "file:///etc/passwd", "http://", "http:///x", "http://host:0/", "tcp://host",
     "tcp://host:70000", "http://host:99999/", "unix://run/x", "unix:///", "http+unix://run/x", "http://ho st/",
     "http://host/\n", "http://höst/", "http://::1/", "http://host:/", "x" * 5000],
)  # fmt: skip
def test_what_cannot_be_probed_is_refused_with_what_can(text: str) -> None:
    with pytest.raises(q.BadValue, match="tcp://HOST:PORT"):
        addresses.parse_probe(text)


@given(st.text(max_size=40))
def test_no_text_breaks_a_parser(text: str) -> None:
    for parse in (
        addresses.parse_probe,
        q.parse_pressure,
        q.parse_cpu_share,
        q.parse_response_time,
        q.parse_count_or_share,
    ):
        try:
            parse(text)
        except q.BadValue as error:
            assert str(error)


@given(st.sampled_from(("memory", "cpu", "io")), st.sampled_from(("some", "full")), st.integers(1, 1000))
def test_pressure_is_written_as_it_is_read(what: str, whom: str, tenths: int) -> None:
    found = q.parse_pressure(f"{what}:{whom}:{tenths / 10}%")
    assert (found.what, found.whom, found.share) == (what, whom, pytest.approx(tenths / 1000))
    again = q.parse_pressure(str(found))
    assert (again.what, again.whom, again.share) == (what, whom, pytest.approx(found.share))


@pytest.mark.parametrize("text", ["memory", "memory:some", "memory:some:10", "memory:all:10%", "disk:some:10%", "::%"])
def test_what_is_no_pressure(text: str) -> None:
    with pytest.raises(q.BadValue, match="memory:some:10%"):
        q.parse_pressure(text)


def test_counts_and_shares_are_told_apart() -> None:
    assert (q.parse_count_or_share("1"), type(q.parse_count_or_share("1"))) == (1, int)
    assert (q.parse_count_or_share("100%"), type(q.parse_count_or_share("100%"))) == (1.0, float)
    assert (q.parse_response_time("200"), q.parse_response_time("auto")) == (0.2, q.AUTO)
    assert (q.parse_cpu_share("90%"), q.parse_cpu_share("AUTO")) == (0.9, q.AUTO)


@pytest.mark.parametrize("environment", ["development", "production", "ci"])
def test_auto_is_the_environments_value(environment: str) -> None:
    resolved = resolve(env=environment, cpu_threshold="auto", response_time="auto", probe=PROBE)
    rules = triggers.rules_of(resolved)
    preset = PRESETS[environment]
    assert (rules.cpu, rules.response_s) == (preset.auto_cpu, preset.auto_response_s)
    assert config.show("cpu-threshold", resolved.cpu_threshold) == "auto"


def test_nothing_is_on_by_default() -> None:
    rules = triggers.rules_of(resolve())
    assert rules == triggers.Rules(cores=8)
    assert not rules.sampled and not rules.probing


def test_rules_hold_what_was_given() -> None:
    resolved = resolve("GUARD_PRESSURE='memory:some:10% io:full:2.5%'", fd_threshold="80%", stall="30s", probe=PROBE)
    rules = triggers.rules_of(resolved)
    assert rules.pressure == {"memory:some": pytest.approx(10), "io:full": pytest.approx(2.5)}
    assert (rules.fds, rules.stall_s, rules.probing) == (0.8, 30.0, True)
    assert config.show("pressure", resolved.pressure) == "memory:some:10% io:full:2.5%"
    assert config.plain("pressure", resolved.pressure) == ["memory:some:10%", "io:full:2.5%"]
    assert config.show("fd-threshold", resolved.fd_threshold) == "80 %"
    assert config.show("fd-threshold", resolve(fd_threshold="800").fd_threshold) == "800"


@pytest.mark.parametrize("given", [{"response_time": "200ms"}, {"stall": "30s"}])
def test_what_only_a_probe_can_tell_needs_one(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="needs a probe") as caught:
        resolve(**given)
    assert caught.value.hint is not None and "--probe" in caught.value.hint


def test_a_file_that_may_name_no_probe_is_no_reason_to_refuse() -> None:
    resolved = resolve(f"GUARD_PROBE={PROBE}\nGUARD_STALL=30s\n", named=False)
    assert (resolved.probe, resolved.stall, resolved.distrusted) == (None, None, ("GUARD_PROBE",))
    (change,) = (change for change in resolved.adjusted if change["setting"] == "stall")
    assert change == {"setting": "stall", "from": "30 s", "to": "-", "reason": "it needs a probe, and none was given"}
    assert resolve(f"GUARD_PROBE={PROBE}\nGUARD_STALL=30s\n").stall == 30.0


def test_what_a_url_hides_is_not_shown() -> None:
    secret = "http://me:s3cret@127.0.0.1:8000/health?key=s3cret"
    resolved = resolve(probe=secret)
    assert resolved.probe == secret
    assert config.show("probe", secret) == config.plain("probe", secret) == "http://127.0.0.1:8000/…"
    with pytest.raises(UsageError) as caught:
        resolve(probe=secret.replace("http", "gopher"))
    assert "s3cret" not in str(caught.value.lines())
    assert all(setting.trusted for setting in SETTINGS if setting.kind == "probe")
