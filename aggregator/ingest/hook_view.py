"""The hooks in REST framework: `POST /api/hooks/<token>` of the hub's web server."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request
from rest_framework.views import APIView

from aggregator.http.requests import read_body, received_by_django
from aggregator.ingest.hook_documentation import hook_documentation
from aggregator.ingest.hooks import hook
from aggregator.ingest.in_django import received_by_loop, record_for
from aggregator.ingest.webhook_view import NoNegotiation
from aggregator.ledger import Outage
from aggregator.postgres.pool import call_and_release, serve_signals

MAX_HOOK_THREADS = 4
"""Requests that look something up at once."""

_T = TypeVar("_T")


class HookView(APIView):
    """Records what a producer's body becomes; answers when it is committed, or 503 within a second."""

    http_method_names = ["post"]
    authentication_classes = []  # the URL is the secret
    permission_classes = []
    content_negotiation_class = NoNegotiation
    parser_classes = []
    renderer_classes = []
    default_response_headers: dict[str, str] = {}

    @hook_documentation
    def post(self, request: Request, token: str) -> HttpResponse:  # noqa: ARG002 - the path has it too
        return _respond(request._request)

    def http_method_not_allowed(self, request: Any, *_: Any, **__: Any) -> Any:
        """Answer any other method as the receiver does."""
        return _respond(request._request)


def _respond(django_request: HttpRequest) -> HttpResponse:
    request, started = received_by_loop(django_request), time.monotonic()
    if request is None:
        request = received_by_django(django_request)
        length = _in_time(hook.timeout_s, hook.check, request)
        request.left_s = hook.timeout_s - (time.monotonic() - started)
        request.body = read_body(django_request.read, length)
        started = time.monotonic()
    entries = _in_time(request.left_s, hook.entries, request)
    return record_for(hook, entries, django_request, request.left_s - (time.monotonic() - started))


def _in_time(timeout_s: float, call: Callable[..., _T], *arguments: Any) -> _T:
    """Call in one of a few threads, since what asks a server may hang with it. Raises Outage."""
    future = _threads.submit(partial(copy_context().run, call_and_release, call, *arguments))
    try:
        return future.result(max(timeout_s, 0.0))
    except TimeoutError:
        future.cancel()
        raise Outage("the database did not answer in time") from None


_threads = ThreadPoolExecutor(MAX_HOOK_THREADS, "hook", serve_signals)
