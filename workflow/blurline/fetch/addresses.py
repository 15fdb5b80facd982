"""Which addresses may be connected to: those of the public internet, unless params.yaml says otherwise."""

import socket
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

Lookup = Callable[[str], list[str]]
"""Host name → addresses; raises OSError (socket.gaierror) when there are none."""

# The standard library's lists of special networks differ between Python versions; these are refused in all of them.
# Those of IPv6 carry an IPv4 address inside, and so would lead around the check of that address.
_REFUSED = tuple(
    ip_network(net)
    for net in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; also cloud-internal services
        "192.0.0.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "::/96",  # IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # NAT64, local
        "2001::/23",  # Teredo and others
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
        "fec0::/10",  # site-local
    )
)
_PUBLIC_IPV6 = ip_network("2000::/3")


class Blocked(OSError):
    """An address that is not to be connected to."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet: not private, loopback, link-local, multicast, reserved."""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address) and (ip.scope_id or ip not in _PUBLIC_IPV6):
        return False
    return (
        ip.is_global
        and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)
        and not any(ip in network for network in _REFUSED if network.version == ip.version)
    )


def public(addresses: list[str]) -> list[str]:
    """Those of the addresses that are public.

    Raises
    ------
    Blocked
        When none is.
    """
    found = [address for address in addresses if is_public(address)]
    if not found:
        raise Blocked
    return found


def look_up(host: str) -> list[str]:
    """The addresses of a host, as the system resolves it (an address in any spelling that it knows resolves too)."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
