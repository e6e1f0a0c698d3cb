"""Django for an event loop: the loop receives each request whole, then a thread answers it.

A thread is busy only while the hub works on a request, never while a body is on its way, so senders that stop
in the middle of theirs hold up no others. A WSGI server has a thread for each of them; Django's own handler
for ASGI has no time limit for a body, and starts a thread for each request.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from io import BytesIO
from typing import Any, NamedTuple, cast

from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.core.signals import request_started
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from aggregator.http.answers import Answer
from aggregator.http.asgi import ASGIMessage, Receive, Scope, Send, body_message, respond, start_of
from aggregator.http.requests import AnyContentType, ReceivedRequest
from aggregator.postgres.pool import release_connections

PART_TIMEOUT_S = 30.0
"""How long a client may leave a part of a long answer unread."""


class LoopRequest(AnyContentType, ASGIRequest):
    """A request that an event loop has received, and whose response it may wait for."""

    received: ReceivedRequest | Exception | None = None
    """What the loop made of one that brings signals, for its view."""


class Reception(NamedTuple):
    """A request that has arrived."""

    threads: Executor
    """What answers it."""
    body: bytes = b""
    received: ReceivedRequest | Exception | None = None


class DeferredResponse(HttpResponse):
    """A response whose answer is known later. A view may return it for a LoopRequest.

    It keeps what middleware has added to it.
    """

    def __init__(self, answer: Callable[[], Awaitable[Answer]]) -> None:
        super().__init__()
        self._answer = answer

    async def complete(self) -> None:
        """Wait for the answer."""
        answer = await self._answer()
        self.status_code = answer.status
        self.content = answer.body
        self.headers["Content-Length"] = str(len(answer.body))
        self.headers["Content-Type"] = answer.content_type
        for name, value in answer.headers.items():
            self.headers[name] = value


ReceiveRequest = Callable[[Scope, Receive], Awaitable[Reception | HttpResponse]]


class ThreadedHandler(ASGIHandler):
    """An ASGI application of Django's settings.

    `receive_request` receives a request for it, or returns the answer to one that is not worth a thread.
    """

    request_class = LoopRequest

    def __init__(self, receive_request: ReceiveRequest) -> None:
        BaseHandler.__init__(self)
        self.load_middleware()
        self._receive_request = receive_request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reception = await self._receive_request(scope, receive)
        if isinstance(reception, HttpResponse):
            await respond(send, reception)
            return
        loop = asyncio.get_running_loop()

        async def send_part(message: ASGIMessage) -> None:
            await send(message)  # no coroutine itself in every server

        def send_from_thread(message: ASGIMessage) -> None:
            asyncio.run_coroutine_threadsafe(send_part(message), loop).result(PART_TIMEOUT_S)

        response = await loop.run_in_executor(
            reception.threads, self._respond, scope, reception, send_from_thread
        )
        if isinstance(response, DeferredResponse):
            await response.complete()
        if isinstance(response, HttpResponse):
            await respond(send, response)
        else:
            await send(body_message(b""))

    def _respond(
        self, scope: Scope, reception: Reception, send_part: Callable[[ASGIMessage], None]
    ) -> HttpResponseBase:
        """Return the response; one in parts has been sent, all but its end."""
        set_script_prefix(get_script_prefix(scope))
        request_started.send(sender=self.__class__, scope=scope)
        request, refusal = self.create_request(scope, BytesIO(reception.body))
        if isinstance(request, LoopRequest):
            request.received = reception.received
        response: Any = self.get_response(request) if request else refusal
        response._handler_class = self.__class__
        try:
            if not isinstance(response, HttpResponse):
                send_part(start_of(response))
                for part in response:
                    release_connections()  # the client may take its time
                    send_part(body_message(part, more=True))
            return cast(HttpResponseBase, response)
        finally:
            response.close()
