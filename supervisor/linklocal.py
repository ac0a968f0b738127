"""Addresses that nothing is sent to."""

from __future__ import annotations

import ipaddress

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


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
