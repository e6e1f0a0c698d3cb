"""Rate limits: how often an address or a sender may do something."""

import ipaddress
import logging
import time
from collections.abc import Mapping
from functools import lru_cache

import limits
from limits.errors import StorageError
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from aggregator.problems import Problem
from config.env import Environment, Network

logger = logging.getLogger("signal_hub.api")


class RateLimiter:
    """Counts in Redis, for all processes together; in this process alone where there is no Redis."""

    def __init__(self, redis_url: str | None) -> None:
        self._local = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared = self._local
        if redis_url:
            storage = storage_from_string(
                redis_url.replace("unix://", "redis+unix://", 1),
                wrap_exceptions=True,
                key_prefix="signal_hub:rate",
                socket_timeout=1,
                socket_connect_timeout=1,
            )
            self._shared = SlidingWindowCounterRateLimiter(storage)
        self._shared_again_at = 0.0

    def hit(self, rate: str, kind: str, who: str) -> None:
        """Count one; raise Problem 429 with `Retry-After` when that is more than `rate` (as `600/minute`)."""
        item = limits.parse(rate)
        limiter = self._local if time.monotonic() < self._shared_again_at else self._shared
        try:
            allowed = limiter.hit(item, kind, who)
        except StorageError as error:
            logger.warning("rate limits are counted in this process alone: %s", type(error).__name__)
            self._shared_again_at = time.monotonic() + 10
            limiter = self._local
            allowed = limiter.hit(item, kind, who)
        if not allowed:
            wait = max(1, round(limiter.get_window_stats(item, kind, who).reset_time - time.time()))
            raise Problem(
                429, "rate_limited", f"More than {rate}; slow down.", headers={"Retry-After": str(wait)}
            )


@lru_cache(maxsize=4)
def limiter(environment: Environment) -> RateLimiter:
    """Return the RateLimiter of an environment, always the same one."""
    return RateLimiter(environment.redis_url)


def client_address(meta: Mapping[str, str], trusted: tuple[Network, ...]) -> str:
    """Return the address a request came from: the last hop of `X-Forwarded-For` that is no trusted proxy.

    The header is believed only as far as trusted proxies wrote it, from the right.
    """
    address = meta.get("REMOTE_ADDR", "")
    hops = [hop.strip() for hop in meta.get("HTTP_X_FORWARDED_FOR", "").split(",") if hop.strip()]
    while hops and _is_trusted(address, trusted):
        hop = _without_port(hops.pop())
        if hop is None:
            break
        address = hop
    return address


def _is_trusted(address: str, trusted: tuple[Network, ...]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(mapped in network for network in trusted)


def _without_port(hop: str) -> str | None:
    """Return the address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`, or None."""
    for text in (hop, hop.rpartition(":")[0], hop.partition("]")[0].lstrip("[")):
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            continue
    return None
