"""Varlink as systemd-oomd speaks it: bytes of its messages, and what else may come."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.oomd import varlink
from supervisor.oomd.varlink import Call, Refused

# As sd-varlink of systemd 262 sends it, caught from varlinkctl.
OOMD = b'{"method":"io.systemd.oom.Prekill.Notify","parameters":{"cgroup":"/system.slice/app.service"}}'
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def error_of(call: bytes) -> tuple[str, dict[str, str]]:
    """The error that a message gets."""
    with pytest.raises(Refused) as caught:
        found = varlink.parse(call)
        if varlink.answer(found) is None:
            varlink.cgroup_of(found)
    data = varlink.refusal(caught.value)
    assert data.endswith(b"\0") and data.count(b"\0") == 1
    document = json.loads(data[:-1])
    assert set(document) == {"error", "parameters"}
    return document["error"], document["parameters"]


def call_of(method: str, **parameters: object) -> bytes:
    return json.dumps({"method": method, "parameters": parameters}).encode()


def test_what_oomd_sends_and_what_it_gets() -> None:
    call = varlink.parse(OOMD)
    assert varlink.answer(call) is None
    assert varlink.cgroup_of(call) == "/system.slice/app.service"
    assert varlink.reply({}) == b'{"parameters":{}}\0'


def test_info_and_descriptions() -> None:
    info = varlink.answer(Call("org.varlink.service.GetInfo", {}))
    assert info is not None
    found = json.loads(info[:-1])["parameters"]
    assert set(found) == {"vendor", "product", "version", "url", "interfaces"}  # all that the definition has
    assert found["interfaces"] == ["io.systemd.oom.Prekill", "org.varlink.service"]
    for name in found["interfaces"]:
        told = varlink.answer(Call("org.varlink.service.GetInterfaceDescription", {"interface": name}))
        assert told is not None
        assert f"\ninterface {name}\n" in json.loads(told[:-1])["parameters"]["description"]
    text = varlink.DESCRIPTIONS["io.systemd.oom.Prekill"]
    assert "method Notify(cgroup: string) -> ()" in text


@pytest.mark.parametrize(
    ("message", "error", "parameters"),
    [
        (b"", "InvalidParameter", {"parameter": "message"}),
        (b"{", "InvalidParameter", {"parameter": "message"}),
        (b"\xff{}", "InvalidParameter", {"parameter": "message"}),
        (b"[" * 60000, "InvalidParameter", {"parameter": "message"}),
        (b"[]", "InvalidParameter", {"parameter": "message"}),
        (b"{}", "InvalidParameter", {"parameter": "method"}),
        (b'{"method":1}', "InvalidParameter", {"parameter": "method"}),
        (b'{"method":"a.b.C","parameters":[]}', "InvalidParameter", {"parameter": "parameters"}),
        (call_of("a.b.C"), "MethodNotFound", {"method": "a.b.C"}),
        (call_of("io.systemd.oom.Prekill.Other"), "MethodNotFound", {"method": "io.systemd.oom.Prekill.Other"}),
        (call_of("org.varlink.service.GetInterfaceDescription"), "InvalidParameter", {"parameter": "interface"}),
        (
            call_of("org.varlink.service.GetInterfaceDescription", interface="a.b"),
            "InterfaceNotFound",
            {"interface": "a.b"},
        ),
        (call_of(varlink.NOTIFY), "InvalidParameter", {"parameter": "cgroup"}),
        (call_of(varlink.NOTIFY, cgroup=7), "InvalidParameter", {"parameter": "cgroup"}),
    ],
)
def test_what_else_gets_an_error(message: bytes, error: str, parameters: dict[str, str]) -> None:
    assert error_of(message) == (f"org.varlink.service.{error}", parameters)


@pytest.mark.parametrize(
    "group",
    ["", "/", "a", "a/b", "//a", "/a/", "/a//b", "/..", "/a/../b", "/a/..", "/./a", "/a\0b", "/a\n", "/\ud800",
     "/" + "a" * 5000, "/a" * 100],
)  # fmt: skip
def test_no_name_leads_out_of_the_hierarchy(group: str) -> None:
    assert error_of(call_of(varlink.NOTIFY, cgroup=group))[1] == {"parameter": "cgroup"}


@pytest.mark.parametrize(
    "group",
    ["/a", "/system.slice/app.service", "/user.slice/user@1000.service/app.slice/app-gnome-x\\x2dy.scope",
     "/machine.slice/libpod-0a1b.scope/container", "/a..b/..c", "/ünï cödé"],
)  # fmt: skip
def test_names_of_groups(group: str) -> None:
    assert varlink.cgroup_of(varlink.parse(call_of(varlink.NOTIFY, cgroup=group))) == group


@given(JSON, st.booleans())
def test_whatever_json_comes_it_is_answered(value: object, notify: bool) -> None:
    message = {"method": varlink.NOTIFY, "parameters": {"cgroup": value}} if notify else value
    try:
        call = varlink.parse(json.dumps(message).encode())
        if varlink.answer(call) is None:
            parts = varlink.cgroup_of(call).split("/")
            assert parts[0] == "" and parts[1:] and not {"", ".", ".."} & set(parts[1:])
    except Refused as refused:
        json.loads(varlink.refusal(refused)[:-1])


@given(st.binary())
def test_whatever_bytes_come_it_is_a_call_or_refused(data: bytes) -> None:
    try:
        varlink.parse(data)
    except Refused as refused:
        assert refused.error == "org.varlink.service.InvalidParameter"


def test_parameters_of_a_newer_oomd_are_left_alone() -> None:
    call = varlink.parse(call_of(varlink.NOTIFY, cgroup="/a", reason="memory pressure"))
    assert varlink.cgroup_of(call) == "/a"


def test_oneway() -> None:
    assert varlink.parse(b'{"method":"a.b.C","oneway":true}').oneway
    assert not varlink.parse(b'{"method":"a.b.C","oneway":"yes","more":true}').oneway
