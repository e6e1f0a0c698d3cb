"""The check of URLs that customers give: where the hub may connect on their behalf, and where never.

A URL is checked twice, when it is saved and again before each request. Its host is looked up once, every
address that comes back is checked, and the connection goes to one of those very addresses: a second look-up,
which a hostile name server could answer differently, never happens.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from aggregator.background import run_in_thread

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[[str, int], Sequence[str]]
"""Returns all addresses of a host and a port as text; raises OSError when there are none."""

MAX_URL_LENGTH = 2048
LOOKUP_TIMEOUT_S = 5.0
"""A customer's own name server can keep a look-up hanging for half a minute."""

# https://www.iana.org/assignments/iana-ipv4-special-registry, with multicast and reserved space. Written out
# because `ipaddress.is_global` differs between Python's patch releases.
SPECIAL_V4 = tuple(
    ipaddress.ip_network(block)
    for block in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's metadata and agent service, the one such address in public space
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# All public unicast lies here; mapped, NAT64, unique-local, link-local, site-local and multicast do not.
GLOBAL_V6 = ipaddress.ip_network("2000::/3")
SPECIAL_V6 = tuple(
    ipaddress.ip_network(block)
    for block in (
        "2001::/23",  # IETF protocol assignments, Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",
    )
)
# ISATAP (RFC 5214): an interface id that a router may unwrap into the IPv4 address of its last 32 bits.
ISATAP = (0x00005EFE, 0x02005EFE)

HTTPS_PORTS = frozenset({443, 8443})
HTTP_PORTS = frozenset({80, 8080})
# Above 1023 all is allowed except services that obey lines of text which an HTTP request can smuggle in.
SERVICE_PORTS = frozenset(
    {1433, 1521, 2049, 2181, 2375, 2376, 2379, 2380, 3306, 3389, 4369, 5432, 5672, 5984, 5985, 5986}
    | {6000, 6379, 6443, 6667, 7001, 8086, 9042, 9092, 9200, 9300, 10250, 11211, 25672, 27017, 50070}
)

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}", re.IGNORECASE)
# What the WHATWG URL standard calls "ends in a number": browsers and libc read such a host as an address.
_NUMERIC = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)", re.IGNORECASE)


class Refused(Exception):
    """The hub does not connect there; `code` for programs, the text for the customer."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Unresolved(Exception):
    """The host has no address at the moment: a reason to try again, not to refuse for good."""


@dataclass(frozen=True)
class Target:
    """A URL that may be requested now, and the addresses that were checked."""

    scheme: str
    host: str
    port: int
    path: str
    """Path and query, as the request line needs them."""
    addresses: tuple[str, ...]


def resolve(host: str, port: int) -> list[str]:
    """Return all the addresses of a host, as the system's resolver gives them.

    Raises OSError, also after LOOKUP_TIMEOUT_S.
    """
    # The system's resolver cannot be interrupted: its thread is left behind.
    found = run_in_thread(socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found.result(LOOKUP_TIMEOUT_S)))


@dataclass(frozen=True)
class Guard:
    """The rules of one installation: production, an operator's own network, a test."""

    http: bool = False
    """Whether plain HTTP is allowed."""
    networks: tuple[Network, ...] = ()
    """Networks that are allowed although they are not public: the operator's own receivers."""
    resolve: Resolver = resolve

    def check(self, url: str) -> Target:
        """Return where to connect for `url`. Raises Refused, or Unresolved when its host has no address."""
        parts = self._parts(url)
        host = (parts.hostname or "").removesuffix(".")
        port = self._port(parts)
        addresses = [_literal(host)] if _is_literal(host) else self._look_up(_name(host), port)
        for address in addresses:
            self._check_address(address)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Target(parts.scheme, host, port, path, tuple(str(address) for address in addresses))

    def _parts(self, url: str) -> SplitResult:
        if len(url) > MAX_URL_LENGTH or not re.fullmatch(r"[!-~]+", url) or "\\" in url:
            raise Refused(
                "bad_url", f"The URL has up to {MAX_URL_LENGTH} ASCII characters, no spaces and no backslash."
            )
        try:
            parts = urlsplit(url)
            _ = parts.port, parts.hostname
        except ValueError:
            raise Refused("bad_url", "That is not a URL.") from None
        schemes = ("https", "http") if self.http else ("https",)
        if parts.scheme not in schemes:
            spelled = " or ".join(f"{scheme}://" for scheme in schemes)
            raise Refused("not_https", f"The URL begins with {spelled}.")
        if "@" in parts.netloc:
            raise Refused("credentials", "The URL holds no user name or password.")
        if not parts.hostname:
            raise Refused("bad_url", "The URL has no host.")
        return parts

    def _port(self, parts: SplitResult) -> int:
        if parts.netloc.endswith(":"):
            raise Refused("bad_port", "The URL ends its host with a colon but names no port.")
        port = parts.port if parts.port is not None else 443 if parts.scheme == "https" else 80
        usual = HTTPS_PORTS if parts.scheme == "https" else HTTP_PORTS
        if port not in usual and (port < 1024 or port in SERVICE_PORTS):
            raise Refused("bad_port", "The URL's port is 443, or one above 1023 that is no database's.")
        return port

    def _look_up(self, host: str, port: int) -> list[Address]:
        try:
            found = self.resolve(host, port)
        except (OSError, UnicodeError):
            raise Unresolved(f"{host} has no address") from None
        if not found:
            raise Unresolved(f"{host} has no address")
        return [_address(text) for text in found]

    def _check_address(self, address: Address) -> None:
        if not is_public(address) and not any(address in network for network in self.networks):
            raise Refused("address_not_public", "The URL's host is not at a public address.")


def is_public(address: Address) -> bool:
    """Return whether an address is public unicast and carries no other address inside."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in block for block in SPECIAL_V4)
    if address.scope_id or address not in GLOBAL_V6 or any(address in block for block in SPECIAL_V6):
        return False
    return (int(address) >> 32) & 0xFFFFFFFF not in ISATAP


def _is_literal(host: str) -> bool:
    return ":" in host or bool(_NUMERIC.fullmatch(host.rpartition(".")[2]))


def _literal(host: str) -> Address:
    """Read an address in its usual spelling; decimal, octal, hexadecimal and short ones are refused."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        raise Refused("bad_host", "The URL's host is an address in an unusual spelling.") from None


def _address(text: str) -> Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise Refused("address_not_public", "The URL's host is not at a public address.") from None


def _name(host: str) -> str:
    if len(host) > 253 or not _NAME.fullmatch(host):
        raise Refused("bad_host", "The URL's host is a full domain name (xn--… for other alphabets).")
    return host


def guard() -> Guard:
    """Return the guard with this hub's settings."""
    return Guard(http=settings.DEBUG, networks=settings.ENVIRONMENT.delivery_networks)
