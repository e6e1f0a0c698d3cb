"""Requests and answers in ASGI's terms (https://asgi.readthedocs.io/en/latest/specs/www.html)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.http.request import split_domain_port, validate_host
from django.http.response import HttpResponseBase

from aggregator.http.client_address import client_address
from aggregator.http.requests import ReceivedRequest, complete, late_body

BODY_TIMEOUT_S = 10.0
"""How long a body may take: agents give up after as long."""

ASGIMessage = Mapping[str, Any]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[ASGIMessage]]
Send = Callable[[ASGIMessage], Awaitable[None]]


def received_by_asgi(scope: Scope) -> ReceivedRequest:
    """Return a request without its body."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        # As Django has them: a name with an underscore could pass for another, and one that comes twice is
        # one with a comma.
        if "_" not in name:
            headers[name] = f"{headers[name]},{value}" if name in headers else value
    meta = {"REMOTE_ADDR": (scope.get("client") or [""])[0]}
    if forwarded := headers.get("x-forwarded-for"):
        meta["HTTP_X_FORWARDED_FOR"] = forwarded
    return ReceivedRequest(scope["method"], scope["path"], headers, client_address(meta))


async def receive_body(receive: Receive, length: int) -> bytes:
    """Return the `length` bytes of a body. Raises Problem 400 if it ends too soon, 408 if it is late."""
    task, is_late = asyncio.current_task(), False

    def expire() -> None:
        nonlocal is_late
        is_late = True
        if task is not None:
            task.cancel()

    # asyncio.timeout costs a request twice as much.
    timer = asyncio.get_running_loop().call_later(BODY_TIMEOUT_S, expire)
    body, more = b"", True
    try:
        while more and len(body) < length:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
    except asyncio.CancelledError:
        if is_late:
            raise late_body() from None
        raise
    finally:
        timer.cancel()
        if is_late and task is not None:
            task.uncancel()
    return complete(body, length)


def start_of(response: HttpResponseBase) -> ASGIMessage:
    """Return the message with a response's status and headers."""
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in response.items()]
    cookies = [(b"set-cookie", each.output(header="").strip().encode()) for each in response.cookies.values()]
    return {"type": "http.response.start", "status": response.status_code, "headers": headers + cookies}


def body_message(body: bytes, *, more: bool = False) -> ASGIMessage:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def respond(send: Send, response: HttpResponse) -> None:
    """Send a whole response."""
    await send(start_of(response))
    await send(body_message(response.content))


async def answer_server(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer what is no HTTP request: the server's start and stop, at which there is nothing to do.

    A WebSocket, which nothing here speaks, is refused: the server answers it 403.
    """
    kind = ""
    while kind != "lifespan.shutdown":
        kind = (await receive())["type"]
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        await send({"type": f"{kind}.complete"})


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
