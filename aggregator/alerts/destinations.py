"""Where notifications may go: to public addresses, and to networks of the operator's own that were named."""

import ipaddress
from typing import Any

from django.conf import settings

from aggregator.http.ssrf import is_public, resolve


def may_reach(service: Any) -> bool:
    """Return whether a service of Apprise's may be called, by all the addresses of its host.

    Services with a fixed host have none here.
    """
    host = getattr(service, "host", None)
    if not host:
        return True
    try:
        found = [ipaddress.ip_address(text) for text in resolve(host, service.port or 443)]
    except (OSError, ValueError, UnicodeError):
        return True  # it has no address: the attempt fails, and is made again
    networks = settings.ENVIRONMENT.alert_networks
    return all(is_public(address) or any(address in network for network in networks) for address in found)
