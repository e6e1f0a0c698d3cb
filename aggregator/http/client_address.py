"""The client's address of a request."""

import ipaddress
from collections.abc import Iterable, Mapping

from django.conf import settings

from ecosystems.env import Network


def client_address(meta: Mapping[str, str]) -> str:
    """Return the client's address: the last hop of `X-Forwarded-For` that is not one of CORE_TRUSTED_PROXIES.

    The header is read from the right, only as far as trusted proxies wrote it.
    """
    trusted: tuple[Network, ...] = settings.ENVIRONMENT.trusted_proxies
    address = meta.get("REMOTE_ADDR", "")
    hops = [hop.strip() for hop in meta.get("HTTP_X_FORWARDED_FOR", "").split(",") if hop.strip()]
    while hops and is_in(address, trusted):
        hop = _without_port(hops.pop())
        if hop is None:
            break
        address = hop
    return address


def is_in(address: str, networks: Iterable[Network]) -> bool:
    """Return whether an address, which may be an IPv4 address in IPv6's form, is in one of the networks."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(mapped in network for network in networks)


def _without_port(hop: str) -> str | None:
    """Return the address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`, or None."""
    for text in (hop, hop.rpartition(":")[0], hop.partition("]")[0].lstrip("[")):
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            continue
    return None
