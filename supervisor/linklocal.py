"""Addresses that nothing is sent to."""

from __future__ import annotations

import ipaddress
import socket

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class LinkLocal(Exception):
    """A host is at such an address; says so in a sentence."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host} is a link-local address, where machines keep their own secrets")


def checked(host: str, port: int | None) -> list[str]:
    """What a host's name means, each of which may be connected to. Raises LinkLocal, OSError, UnicodeError."""
    found = [str(place[4][0]) for place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if any(is_link_local(address) for address in found):
        raise LinkLocal(host)
    return found


def is_link_local(address: str) -> bool:
    """Whether it is 169.254.0.0/16 or fe80::/10, also in an IPv6 address's clothes; clouds keep credentials there."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if inner is None and found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return inner.is_link_local
    return found.is_link_local
