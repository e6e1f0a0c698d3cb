"""The ways in over HTTP in REST framework, as the hub's web server, or any other, serves them.

Where an event loop has received a request, its view leaves the waiting for the commit to the loop as well.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar, cast

from django.http import HttpRequest, HttpResponse
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from aggregator import ledger
from aggregator.http.answers import Answer
from aggregator.http.api_keys import Principal
from aggregator.http.problems import as_problem
from aggregator.http.request_log import begin_request, current_request_id
from aggregator.http.requests import ReceivedRequest, read_body, received_by_django
from aggregator.http.threaded_handler import DeferredResponse, LoopRequest
from aggregator.ingest.documentation import hook_documentation, webhook_documentation
from aggregator.ingest.hooks import hook
from aggregator.ingest.on_loop import loop_commit
from aggregator.ingest.ways_in import WayIn
from aggregator.ingest.webhook import webhook
from aggregator.ledger import Entry, Outage
from aggregator.ledger.group_commit import GroupCommit
from aggregator.postgres.pool import call_and_release, serve_signals

MAX_HOOK_THREADS = 4
"""Requests that look something up at once."""

_T = TypeVar("_T")


class IngestView(APIView):
    """Has the bytes of a request recorded, which the ledger parses."""

    http_method_names = ["post"]
    permission_classes = []
    parser_classes = []
    renderer_classes = []
    default_response_headers: dict[str, str] = {}

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:  # noqa: ARG002
        """Leave it out: JSON comes and JSON goes, whatever `Accept` says."""
        return None, "application/json"


class SignatureAuthentication(BaseAuthentication):
    """A signature over the raw body, and an API key; what AuthManager accepts."""

    def authenticate(self, request: Request) -> tuple[Principal, ReceivedRequest]:
        """Return the sender, and the request with its body, which is read only if its head is in order."""
        received = _received_by_loop(request._request)
        if received is None:
            received = received_by_django(request._request)
            length = webhook.check(received)
            received.body = read_body(request._request.read, length)
        return webhook.authenticate(received), received


class MayPublish(BasePermission):
    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002
        """Raise Problem 403 for a sender without the scope."""
        webhook.authorize(cast(Principal, request.user))
        return True


class SenderThrottle(BaseThrottle):
    def allow_request(self, request: Request, view: APIView) -> bool:  # noqa: ARG002
        """Raise Problem 429 for a sender beyond its rate."""
        webhook.throttle(cast(Principal, request.user))
        return True


class SignalsView(IngestView):
    """`POST /api/signals`: records a signal or an array of them, signed; answers when they are committed."""

    authentication_classes = [SignatureAuthentication]
    permission_classes = [MayPublish]
    throttle_classes = [SenderThrottle]

    @webhook_documentation
    def post(self, request: Request) -> HttpResponse:
        received = cast(ReceivedRequest, request.auth)
        entries = webhook.entries_from(cast(Principal, request.user), received.body)
        return _record(webhook, entries, request._request, webhook.timeout_s)


class HookView(IngestView):
    """`POST /api/hooks/<token>`, whose URL is the secret: records what a producer's body becomes.

    Answers when it is committed, or 503 within a second.
    """

    @hook_documentation
    def post(self, request: Request, **_: str) -> HttpResponse:
        received, started = _received_by_loop(request._request), time.monotonic()
        if received is None:
            received = received_by_django(request._request)
            length = _in_time(hook.timeout_s, hook.check, received)
            received.left_s = hook.timeout_s - (time.monotonic() - started)
            received.body = read_body(request._request.read, length)
            started = time.monotonic()
        entries = _in_time(received.left_s, hook.entries, received)
        left_s = received.left_s - (time.monotonic() - started)
        return _record(hook, entries, request._request, left_s)

    http_method_not_allowed = post
    """As the receiver, the hook refuses any other method itself."""


def _received_by_loop(django_request: HttpRequest) -> ReceivedRequest | None:
    """Return the request if an event loop has received it; raise what it found wrong with it."""
    if not isinstance(django_request, LoopRequest):
        return None
    if isinstance(django_request.received, Exception):
        raise django_request.received
    return django_request.received


def _in_time(timeout_s: float, call: Callable[..., _T], *arguments: Any) -> _T:
    """Call in one of a few threads, since what asks a server may hang with it. Raises Outage."""
    future = _threads.submit(partial(copy_context().run, call_and_release, call, *arguments))
    try:
        return future.result(max(timeout_s, 0.0))
    except TimeoutError:
        future.cancel()
        raise Outage("the database did not answer in time") from None


_threads = ThreadPoolExecutor(MAX_HOOK_THREADS, "hook", serve_signals)

_commits = GroupCommit("webhook")
"""Of all threads of a WSGI server's process."""


def _record(
    way_in: WayIn, entries: Sequence[Entry], django_request: HttpRequest, timeout_s: float
) -> HttpResponse:
    """Return the response to entries: once they are recorded, or at once where a loop waits for that."""
    request_id = current_request_id()
    if not isinstance(django_request, LoopRequest):
        return way_in.answer(_commits.record(entries, timeout_s, request_id)).response()
    validated = ledger.validate(entries)

    async def answer() -> Answer:
        begin_request(request_id)
        try:
            commit = loop_commit(asyncio.get_running_loop())
            return way_in.answer(await commit.record(validated, timeout_s))
        except Exception as error:  # as in REST framework: as_problem makes it an answer and a log event
            return as_problem(error).answer()

    return DeferredResponse(answer)
