"""Clients of the Redis that CORE_REDIS_URL names: a server, a socket, or the master that Sentinels know."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode

import redis
from redis.sentinel import Sentinel

from ecosystems.http_errors import one_line

SENTINEL_SCHEME = "redis+sentinel"
SENTINEL_PORT = 26379
MAX_ERROR_TEXT = 200


@dataclass(frozen=True, repr=False)
class SentinelUrl:
    """The parts of `redis+sentinel://user:password@host:port,host:port/service/database?option=value`.

    User and password are those of the Redis servers; `?sentinel_username=` and `?sentinel_password=` are the
    Sentinels' own.
    """

    addresses: tuple[tuple[str, int], ...]
    service: str
    server_options: dict[str, Any]
    """Of a connection to the master, as redis-py names them."""
    sentinel_options: dict[str, str]

    @classmethod
    def parse(cls, url: str) -> "SentinelUrl":
        """Return the parts. Raises ValueError where one is missing or wrong, without quoting it."""
        # Not urlsplit, which refuses an IPv6 address behind another host.
        address, _, query = url.partition("://")[2].partition("?")
        location, _, path = address.partition("/")
        authority, _, hosts = location.rpartition("@")
        service, _, database = path.strip("/").partition("/")
        if not service or not re.fullmatch(r"[0-9]*", database):
            raise ValueError("the path is the name of a service, and the number of a database after it")
        options = dict(parse_qsl(query))
        own = {name: options.pop(f"sentinel_{name}", "") for name in ("username", "password")}
        server = f"redis://{authority}@localhost/{database or 0}?{urlencode(options)}"
        server_options: dict[str, Any] = redis.connection.parse_url(server)  # type: ignore[no-untyped-call]
        if server_options.pop("host", None) != "localhost":  # a # in the user ends the address before it
            raise ValueError("the user or the password is not percent-encoded")
        addresses = tuple(_address(host) for host in hosts.split(","))
        return cls(addresses, service, server_options, {name: text for name, text in own.items() if text})


def _address(text: str) -> tuple[str, int]:
    parts = SplitResult("", text, "", "", "")
    if not parts.hostname:
        raise ValueError("a Sentinel has no host")
    return parts.hostname, parts.port or SENTINEL_PORT


def is_sentinel(url: str) -> bool:
    """Return whether a URL names Sentinels, and a service of theirs, in place of a server."""
    return url.startswith(f"{SENTINEL_SCHEME}:")


def connect_redis(url: str, **options: Any) -> redis.Redis:
    """Return a client, which connects when it is used. Options in the URL win. Raises ValueError.

    One of Sentinels asks them for the master at each connection, and connects anew when the master became a
    replica.
    """
    if not is_sentinel(url):
        return redis.Redis.from_url(url, **options)
    target = SentinelUrl.parse(url)
    limits = {name: value for name, value in options.items() if name.startswith("socket_") or name == "retry"}
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        target.addresses,
        sentinel_kwargs={**limits, **target.sentinel_options},
        **{**options, **target.server_options},
    )
    client: redis.Redis = sentinel.master_for(target.service)  # type: ignore[no-untyped-call]
    return client


def error_text(error: Exception) -> str:
    """Return in one line what Redis answered, or the kind of error where it did not; never a URL."""
    if not isinstance(error, redis.ResponseError):
        return type(error).__name__
    text = one_line(error).rpartition("caused error: ")[2]
    code = getattr(error, "status_code", None) or ""
    if wrapped := re.match(r"(?:ERR )?Error running script .*?@user_script: ?\d+: ", text):
        code, text = "", text[wrapped.end() :]  # Redis 6.2 wraps what a script's command was answered
    return f"{code} {text}".strip()[:MAX_ERROR_TEXT]
