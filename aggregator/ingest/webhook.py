"""Ingest over HTTP: `POST /api/signals`. It translates; the ledger decides."""

from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from aggregator.http import api_keys, rate_limits
from aggregator.http.client_address import client_address
from aggregator.http.problems import Problem, as_problem
from aggregator.http.requests import read_body, request_headers
from aggregator.ingest.webhook_messages import answer, entries_of
from aggregator.ledger.group_commit import GroupCommit

PATH = "/api/signals"

commits = GroupCommit("webhook")


@csrf_exempt
def signals(request: HttpRequest) -> HttpResponse:
    """Record one signal or an array of them, signed; answer when they are committed."""
    if request.method != "POST":
        refusal = Problem(405, "method_not_allowed", "Send signals by POST.", headers={"Allow": "POST"})
        return refusal.response()
    return respond(request.META, request.read)


def respond(meta: Mapping[str, Any], read: Callable[[int], bytes]) -> HttpResponse:
    """Answer a POST, whatever happens. `meta` is WSGI's environment, `read` reads the body."""
    try:
        return receive(meta, read)
    except Exception as error:  # as_problem turns it into an answer and a log event
        return as_problem(error).response()


def receive(meta: Mapping[str, Any], read: Callable[[int], bytes]) -> HttpResponse:
    """Do what `respond` does, but raise what goes wrong."""
    environment = settings.ENVIRONMENT
    body = read_body(meta, read, environment.webhook_max_bytes)
    sender = _sender(meta, body)
    if api_keys.PUBLISH not in sender.scopes:
        raise Problem(403, "scope_missing", "The API key may not publish signals.")
    if environment.webhook_rate:
        rate_limits.rate_limiter(environment).hit(environment.webhook_rate, "requests", sender.name)
    return answer(commits.record(entries_of(body, sender, environment.webhook_max_signals)))


def _sender(meta: Mapping[str, Any], body: bytes) -> api_keys.Principal:
    environment = settings.ENVIRONMENT
    address = client_address(meta, environment.trusted_proxies)
    try:
        return api_keys.auth_manager(environment).authenticate(request_headers(meta), body, address)
    except api_keys.Unauthenticated:
        rate_limits.rate_limiter(environment).hit(environment.webhook_failed_rate, "failed", address)
        raise
