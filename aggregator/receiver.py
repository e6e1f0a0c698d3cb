"""The receiver: the ways in over HTTP alone, for high rates. `uvicorn aggregator.receiver:app`, or granian.

It answers as the hub's web server does, byte for byte but for the request's id: both ask the same ways in,
and what Django's middleware adds to an answer is taken from Django's own. One event loop talks to all
senders and one thread writes, so a request costs neither a thread nor a switch of threads, whatever its
sender does.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import lru_cache
from io import BytesIO
from typing import Any, TypeVar

import django
from django.apps import apps

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
if not apps.ready:
    django.setup()

from django.conf import settings
from django.core.exceptions import SynchronousOnlyOperation
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.base import BaseHandler
from django.db import close_old_connections
from django.http import HttpResponse

from aggregator import ledger
from aggregator.health.livez import LIVEZ_PATH, alive
from aggregator.http.answers import Answer
from aggregator.http.asgi import (
    Receive,
    Scope,
    Send,
    is_known_host,
    is_secure,
    receive_body,
    received_by_asgi,
)
from aggregator.http.problems import as_problem, bad_host, unavailable, unknown_address
from aggregator.http.request_log import REQUEST_ID_HEADER, begin_request
from aggregator.http.requests import ReceivedRequest
from aggregator.ingest.hooks import hook
from aggregator.ingest.way_in import WayIn
from aggregator.ingest.webhook import SIGNALS_PATH, webhook
from aggregator.ledger.group_commit import RECORD_TIMEOUT_S, GroupCommit, Ticket
from aggregator.sources.tokens import HOOKS_PATH

HEALTH_PATH = "/health"
MAX_WAITING_THREADS = 4
"""Requests that wait for Postgres or Redis at once, beside the thread that writes."""
LONG_BODY_BYTES = 65_536
"""A longer body is parsed in a thread, so that it holds up no others."""

_T = TypeVar("_T")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request (an ASGI application)."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["path"] == LIVEZ_PATH:
        await _send(send, alive(ASGIRequest(scope, BytesIO())))
    elif scope["path"] == HEALTH_PATH:
        await _send(send, await _in_thread(RECORD_TIMEOUT_S, _answer_of_django, scope))
    else:
        await _serve(scope, receive, send)


def find_way_in(path: str) -> WayIn | None:
    """Return the way in at an address."""
    if path == SIGNALS_PATH:
        return webhook
    return hook if path.startswith(HOOKS_PATH) else None


async def _serve(scope: Scope, receive: Receive, send: Send) -> None:
    request_id = begin_request()
    request = received_by_asgi(scope)
    try:
        answer = await _answer(request, receive)
    except Exception as error:  # as_problem turns it into an answer and a log event
        answer = as_problem(error).answer()
    headers = {
        "Content-Type": answer.content_type,
        **answer.headers,
        "Content-Length": str(len(answer.body)),
        **_protection(secure=is_secure(scope, request.headers)),
        REQUEST_ID_HEADER: request_id,
    }
    await _send_parts(send, answer.status, headers, answer.body)


async def _answer(request: ReceivedRequest, receive: Receive) -> Answer:
    if not is_known_host(request.headers.get("host", "")):
        raise bad_host()
    way_in = find_way_in(request.path)
    if way_in is None:
        raise unknown_address()
    loop, left_s = asyncio.get_running_loop(), way_in.timeout_s
    started = loop.time()
    length = await _run(left_s, way_in.check, request)
    left_s -= loop.time() - started
    request.body = await receive_body(receive, length)
    until = loop.time() + left_s
    validated = await _run(left_s, _validated, way_in, request, is_long=length > LONG_BODY_BYTES)
    return way_in.answer(await _writer(loop).record(validated, until - loop.time()))


def _validated(way_in: WayIn, request: ReceivedRequest) -> list[ledger.Validated]:
    return ledger.validate(way_in.entries(request))


async def _run(timeout_s: float, call: Callable[..., _T], *arguments: Any, is_long: bool = False) -> _T:
    """Call on the event loop, which is faster, unless it takes long or has to wait."""
    if not is_long:
        try:
            return call(*arguments)
        except SynchronousOnlyOperation:
            pass
    return await _in_thread(timeout_s, call, *arguments)


async def _in_thread(timeout_s: float, call: Callable[..., _T], *arguments: Any) -> _T:
    """Call in one of a few threads. Raises Problem 503 where all of them stay busy, or it takes too long."""
    context = copy_context()

    def run() -> _T:
        close_old_connections()
        return call(*arguments)

    try:
        async with asyncio.timeout(timeout_s):
            return await asyncio.get_running_loop().run_in_executor(_threads, context.run, run)
    except TimeoutError:
        raise unavailable("The database is unavailable; retry later.") from None


_threads = ThreadPoolExecutor(MAX_WAITING_THREADS, thread_name_prefix="receiver")


class _Writer:
    """The writing thread, for an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._commits = GroupCommit("webhook", self._answered)

    async def record(self, validated: list[ledger.Validated], timeout_s: float) -> list[ledger.Result]:
        """Do what `GroupCommit.record` does."""
        ticket = Ticket(validated, self._loop.create_future())
        timer = self._loop.call_later(timeout_s, _expire, ticket)
        self._commits.submit(ticket)
        await ticket.waiter
        timer.cancel()
        return ticket.outcome()

    def _answered(self, group: Sequence[Ticket]) -> None:
        self._loop.call_soon_threadsafe(_wake, group)


_writer = lru_cache(maxsize=1)(_Writer)


def _expire(ticket: Ticket) -> None:
    ticket.error = ticket.withdraw()
    _wake([ticket])


def _wake(group: Sequence[Ticket]) -> None:
    for ticket in group:
        if not ticket.waiter.done():
            ticket.waiter.set_result(None)


_django = BaseHandler()
_django.load_middleware()


def _answer_of_django(scope: Scope) -> HttpResponse:
    """Return the web server's own answer to a request without a body."""
    response = _django.get_response(ASGIRequest(scope, BytesIO()))
    assert isinstance(response, HttpResponse)
    return response


@lru_cache(maxsize=2)
def _protection(*, secure: bool) -> dict[str, str]:
    """Return the headers that Django's middleware adds to each answer, over TLS or not."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": SIGNALS_PATH,
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "scheme": "https" if secure else "http",
    }
    own = {"content-type", "content-length", "allow", REQUEST_ID_HEADER.lower()}
    return {name: value for name, value in _answer_of_django(scope).items() if name.lower() not in own}


async def _send(send: Send, response: HttpResponse) -> None:
    await _send_parts(send, response.status_code, dict(response.items()), response.content)


async def _send_parts(send: Send, status: int, headers: dict[str, str], body: bytes) -> None:
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


for _secure in (False, True):
    _protection(secure=_secure)  # now, since it takes a second to load the hub's addresses
settings.ENVIRONMENT.announce_bus()
