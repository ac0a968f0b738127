"""Varlink, as a service speaks it: messages in, replies out, the description of what is offered. Pure.

A message is one JSON object and a NUL byte: https://varlink.org/Method-Call. The interface that systemd-oomd calls is
systemd's src/shared/varlink-io.systemd.oom.Prekill.c (systemd 260); the errors are those of
https://varlink.org/Service.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from supervisor.version import VERSION

END = b"\0"
MOST_BYTES = 64 << 10  # a call of oomd's has some hundred; systemd itself takes 16 MiB
_MOST_PATH = 4096
_DEEPEST = 64
SERVICE = "org.varlink.service"
PREKILL = "io.systemd.oom.Prekill"
NOTIFY = f"{PREKILL}.Notify"

DESCRIPTIONS = {
    PREKILL: """\
# Told by systemd-oomd before it kills a control group
interface io.systemd.oom.Prekill

# This group is about to be killed; the kill waits for the answer, up to PrekillHookTimeoutSec=
method Notify(cgroup: string) -> ()
""",
    SERVICE: """\
# What every varlink service answers
interface org.varlink.service

# Who the service is, and the interfaces it has
method GetInfo() -> (
  vendor: string,
  product: string,
  version: string,
  url: string,
  interfaces: []string
)

# The description of one of them
method GetInterfaceDescription(interface: string) -> (description: string)

# There is no such interface
error InterfaceNotFound (interface: string)

# There is no such method
error MethodNotFound (method: string)

# The method is known, but not implemented
error MethodNotImplemented (method: string)

# A parameter is missing, of another type, or not acceptable
error InvalidParameter (parameter: string)

# The caller may not call this
error PermissionDenied ()

# The method has to be called with `more`
error ExpectedMore ()
""",
}


class Refused(Exception):
    """A call that gets an error: its name and parameters, and why for the log."""

    def __init__(self, error: str, why: str, **parameters: str) -> None:
        super().__init__(why)
        self.error = f"{SERVICE}.{error}"
        self.parameters = parameters


@dataclass(frozen=True, slots=True)
class Call:
    """A method call. `oneway`: the caller wants no answer."""

    method: str
    parameters: dict[str, Any]
    oneway: bool = False


def parse(message: bytes) -> Call:
    """The call in a message (without its NUL). Raises Refused."""
    try:
        found = json.loads(message.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Refused("InvalidParameter", "the message is no JSON", parameter="message") from None
    if not isinstance(found, dict):
        raise Refused("InvalidParameter", "the message is no JSON object", parameter="message")
    method, parameters = found.get("method"), found.get("parameters")
    if not isinstance(method, str):
        raise Refused("InvalidParameter", "the message names no method", parameter="method")
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, dict):
        raise Refused("InvalidParameter", "the parameters are no JSON object", parameter="parameters")
    return Call(method, parameters, found.get("oneway") is True)


def answer(call: Call) -> bytes | None:
    """The reply to a call that can be answered at once; None for Notify, whose answer takes its time. Raises Refused.

    Parameters that this guard doesn't know are left alone: a newer oomd may send more.
    """
    if call.method == NOTIFY:
        return None
    if call.method == f"{SERVICE}.GetInfo":
        return reply({
            "vendor": "guard", "product": "guard oomd-hook", "version": VERSION,
            "url": "", "interfaces": list(DESCRIPTIONS),
        })  # fmt: skip
    if call.method == f"{SERVICE}.GetInterfaceDescription":
        name = call.parameters.get("interface")
        if not isinstance(name, str):
            raise Refused("InvalidParameter", "interface is no string", parameter="interface")
        if name not in DESCRIPTIONS:
            raise Refused("InterfaceNotFound", "there is no such interface", interface=name)
        return reply({"description": DESCRIPTIONS[name]})
    raise Refused("MethodNotFound", "there is no such method", method=call.method)


def cgroup_of(call: Call) -> str:
    """The control group that Notify names: absolute, as from the root of the hierarchy. Raises Refused.

    Its parts become a path below the mount of the hierarchy, so that none may lead out of it. The root itself is no
    group that anybody kills.
    """
    name = call.parameters.get("cgroup")
    if not isinstance(name, str):
        raise Refused("InvalidParameter", "cgroup is no string", parameter="cgroup")
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        length = _MOST_PATH + 1
    parts = name.split("/")
    sound = 1 < length <= _MOST_PATH and parts[0] == "" and not {"", ".", ".."} & set(parts[1:])
    if not sound or len(parts) > _DEEPEST or not name.isprintable():
        raise Refused("InvalidParameter", "cgroup is no absolute name of a group", parameter="cgroup")
    return name


def reply(parameters: dict[str, Any]) -> bytes:
    """The bytes of a reply."""
    return json.dumps({"parameters": parameters}, separators=(",", ":")).encode() + END


def refusal(refused: Refused) -> bytes:
    """The bytes of an error."""
    document = {"error": refused.error, "parameters": refused.parameters}
    return json.dumps(document, separators=(",", ":")).encode() + END
