"""Requests and answers in ASGI's terms (https://asgi.readthedocs.io/en/latest/specs/www.html)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from aggregator.http.client_address import client_address
from aggregator.http.problems import Problem
from aggregator.http.requests import ReceivedRequest, complete

BODY_TIMEOUT_S = 10.0
"""How long a body may take: agents give up after as long."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def received_by_asgi(scope: Scope) -> ReceivedRequest:
    """Return a request without its body."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        # A header that comes twice is one with a comma, as WSGI's servers have it.
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    meta = {"REMOTE_ADDR": (scope.get("client") or [""])[0]}
    if forwarded := headers.get("x-forwarded-for"):
        meta["HTTP_X_FORWARDED_FOR"] = forwarded
    address = client_address(meta, settings.ENVIRONMENT.trusted_proxies)
    return ReceivedRequest(scope["method"], scope["path"], headers, address)


async def receive_body(receive: Receive, length: int) -> bytes:
    """Return the `length` bytes of a body. Raises Problem 400 if it ends too soon, 408 if it takes long."""
    body, more = b"", True
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while more:
                message = await receive()
                body += message.get("body", b"")
                more = message.get("more_body", False)
    except TimeoutError:
        raise Problem(408, "timeout", "The body did not arrive in time.") from None
    return complete(body, length)


def is_secure(scope: Scope, headers: Mapping[str, str]) -> bool:
    """Return what `HttpRequest.is_secure` would."""
    if settings.SECURE_PROXY_SSL_HEADER:
        name, secure = settings.SECURE_PROXY_SSL_HEADER
        if (value := headers.get(name.removeprefix("HTTP_").replace("_", "-").lower())) is not None:
            return bool(value.partition(",")[0].strip() == secure)
    return bool(scope.get("scheme") == "https")


@lru_cache(maxsize=256)
def is_known_host(host: str) -> bool:
    """Return whether this is one of the hub's host names, as `HttpRequest.get_host` decides it."""
    name, _ = split_domain_port(host)
    return bool(name) and validate_host(name, settings.ALLOWED_HOSTS)
