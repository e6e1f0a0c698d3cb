"""The receiver: the ways in over HTTP alone, for high rates. `uvicorn aggregator.receiver:app`, or granian.

It answers as the hub's web server does, byte for byte but for the request's id: both ask the same ways in,
and what Django's middleware adds to an answer is taken from Django's own. One event loop talks to all
senders and one thread writes, so a request costs no thread, whatever its sender does. One that comes alone is
recorded by the loop itself.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from io import BytesIO

import django
from django.apps import apps

from aggregator.postgres.pool import limit_connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
if not apps.ready:
    django.setup()

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest

from aggregator.health.livez import LIVEZ_PATH, alive
from aggregator.http.answers import Answer
from aggregator.http.asgi import (
    Receive,
    Scope,
    Send,
    answer_server,
    body_message,
    is_known_host,
    is_secure,
    received_by_asgi,
    respond,
)
from aggregator.http.problems import as_problem, bad_host, unknown_address
from aggregator.http.request_log import REQUEST_ID_HEADER, begin_request
from aggregator.http.requests import ReceivedRequest
from aggregator.http.threaded_handler import LoopRequest, Reception, ThreadedHandler
from aggregator.ingest.on_loop import receive_whole, record_body
from aggregator.ingest.ways_in import find_way_in
from aggregator.ingest.webhook import SIGNALS_PATH

HEALTH_PATH = "/health"
RECEIVER_CONNECTIONS = 2
"""One that writes, and one that looks up keys or checks the health."""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request (an ASGI application)."""
    if scope["type"] != "http":
        await answer_server(scope, receive, send)
    elif scope["path"] == LIVEZ_PATH:
        await respond(send, alive(LoopRequest(scope, BytesIO())))
    elif scope["path"] == HEALTH_PATH:
        await _django(scope, receive, send)
    else:
        await _serve(scope, receive, send)


async def _serve(scope: Scope, receive: Receive, send: Send) -> None:
    request_id = begin_request()
    request = received_by_asgi(scope)
    try:
        answer = await _answer(request, receive)
    except Exception as error:  # as_problem turns it into an answer and a log event
        answer = as_problem(error).answer()
    known_host = is_known_host(request.headers.get("host", ""))
    headers = [
        (b"content-type", answer.content_type.encode()),
        *_encoded({**answer.headers, REQUEST_ID_HEADER: request_id}),
        (b"content-length", b"%d" % len(answer.body)),
        *_protection(secure=is_secure(scope, request.headers), known_host=known_host),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send(body_message(answer.body))


async def _answer(request: ReceivedRequest, receive: Receive) -> Answer:
    if not is_known_host(request.headers.get("host", "")):
        raise bad_host()
    way_in = find_way_in(request.path)
    if way_in is None:
        raise unknown_address()
    await receive_whole(way_in, request, receive)
    return way_in.answer(await record_body(way_in, request))


_threads = ThreadPoolExecutor(1, "health")


async def _receive_head(*_: object) -> Reception:
    return Reception(_threads)


_django = ThreadedHandler(_receive_head)


@lru_cache(maxsize=4)
def _protection(*, secure: bool, known_host: bool) -> list[tuple[bytes, bytes]]:
    """Return the headers that Django's middleware adds to each answer, over TLS or not."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": SIGNALS_PATH,
        "query_string": b"",
        "headers": [(b"host", b"localhost" if known_host else b"")],
        "scheme": "https" if secure else "http",
    }
    own = {"content-type", "content-length", "allow", REQUEST_ID_HEADER.lower()}
    response = _django.get_response(ASGIRequest(scope, BytesIO()))
    return _encoded({name: value for name, value in response.items() if name.lower() not in own})


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


_protection(secure=False, known_host=True)  # now, since it takes a second to load the hub's addresses
settings.ENVIRONMENT.announce_bus()
limit_connections(RECEIVER_CONNECTIONS)
