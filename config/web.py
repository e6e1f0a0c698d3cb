"""The hub's web server: `granian --interface asgi config.web:application`.

Requests that bring signals have threads of their own, which no page can occupy.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import django
from django.apps import apps

from aggregator.postgres.pool import limit_connections, serve_signals

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
if not apps.ready:
    django.setup()

from django.conf import settings
from django.http import HttpResponse

from aggregator.http.asgi import Receive, Scope, Send, answer_server, receive_body, received_by_asgi
from aggregator.http.problems import Problem
from aggregator.http.threaded_handler import Reception, ThreadedHandler
from aggregator.ingest.on_loop import receive_whole
from aggregator.ingest.ways_in import find_way_in

PAGE_THREADS = 16
INGEST_THREADS = 8
"""None of them waits for a commit."""

_for_pages = ThreadPoolExecutor(PAGE_THREADS, "page")
_for_ingest = ThreadPoolExecutor(INGEST_THREADS, "ingest-view", serve_signals)


async def receive_request(scope: Scope, receive: Receive) -> Reception | HttpResponse:
    """Receive a request whole, but for bodies that their views refuse by the head."""
    request = received_by_asgi(scope)
    way_in = find_way_in(request.path)
    if way_in is not None:
        try:
            await receive_whole(way_in, request, receive)
        except Exception as error:  # for the view, which answers
            return Reception(_for_ingest, received=error)
        return Reception(_for_ingest, received=request)
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or not 0 < int(length) <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        return Reception(_for_pages)
    try:
        return Reception(_for_pages, await receive_body(receive, int(length)))
    except Problem as problem:
        return problem.response()


_handler = ThreadedHandler(receive_request)
import_module(settings.ROOT_URLCONF)  # the pages, for which the first request need not wait then


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    answer = _handler if scope["type"] == "http" else answer_server
    await answer(scope, receive, send)


settings.ENVIRONMENT.announce_bus()
limit_connections()
