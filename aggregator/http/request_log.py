"""The id of every request, and a log line for one that crashes."""

import secrets
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponse
from django_structlog.middlewares import RequestMiddleware
from structlog.typing import EventDict, WrappedLogger

REQUEST_ID_HEADER = "X-Request-ID"

_current_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Not among structlog's, which take several times as long to set and to look up."""


class RequestLogMiddleware(RequestMiddleware):
    """django-structlog's middleware without its two lines a request, which at thousands of requests a second
    cost more than the request. The server or the proxy writes access logs; the ledger logs each batch,
    `aggregator.http.problems` each refusal, and this middleware each crash, all with the request's id.

    The id is always made here: one from outside could repeat another request's, or contain a line break.
    """

    def prepare(self, request: HttpRequest) -> None:  # noqa: ARG002
        begin_request()

    def handle_response(self, request: HttpRequest, response: HttpResponse) -> None:
        request_id = current_request_id()
        if request_id:
            response.headers[REQUEST_ID_HEADER] = request_id
        if hasattr(request, "_raised_exception"):
            super().handle_response(
                request, response
            )  # logs the crash, and sends the signal of failed requests
        _current_id.set(None)

    @staticmethod
    def bind_user_id(request: HttpRequest) -> None:
        """Leave the user out: reading it fails if the database caused the crash."""

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        """Return the request without its query and what varies in its path: both may be a secret."""
        route = request.resolver_match.route if request.resolver_match else request.path
        return f"{request.method} {route}"


def begin_request(known_id: str | None = None) -> str:
    """Give an id to a request, until its task or the middleware ends it; return the id."""
    request_id = known_id or secrets.token_hex(16)
    _current_id.set(request_id)
    return request_id


def current_request_id() -> str | None:
    """Return the id of the current request, None outside of one."""
    return _current_id.get()


def add_request_id(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Add the id of the current request to an event that names none."""
    if request_id := _current_id.get():
        event.setdefault("request_id", request_id)
    return event
