"""Errors of the HTTP API as RFC 9457 problems. They never contain a body, a signature or a key."""

import uuid
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.views import defaults
from rest_framework import exceptions

from aggregator.http.answers import Answer
from aggregator.http.api_keys import Unauthenticated
from aggregator.http.request_log import current_request_id
from aggregator.ledger.errors import Outage

logger = structlog.get_logger("signal_hub.api")

RETRY_AFTER_S = 5


class Problem(Exception):
    """An error response, raised in a view."""

    def __init__(
        self, status: int, code: str, detail: str, *, headers: dict[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.status = HTTPStatus(status)
        self.code = code
        self.detail = detail
        self.headers = headers or {}
        self.members = members

    def content(self, request_id: str) -> dict[str, Any]:
        """Return what the body of its answer says."""
        return {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
            **self.members,
        }

    def answer(self) -> Answer:
        """Return the answer, and log that it is given."""
        request_id = current_request_id() or uuid.uuid4().hex
        # The health check of the endpoint provokes a 405, up to four times a minute from each process.
        if self.status is not HTTPStatus.METHOD_NOT_ALLOWED:
            logger.info("problem", status=self.status.value, code=self.code, request_id=request_id)
        headers = {"X-Request-ID": request_id, **self.headers}
        body = msgspec.json.encode(self.content(request_id))
        return Answer(self.status.value, body, "application/problem+json", headers)

    def response(self) -> HttpResponse:
        return self.answer().response()


def unavailable(detail: str, code: str = "unavailable") -> Problem:
    return Problem(503, code, detail, headers={"Retry-After": str(RETRY_AFTER_S)})


def bad_host() -> Problem:
    return Problem(400, "bad_request", "The request is malformed or its Host is unknown.")


def unknown_address() -> Problem:
    return Problem(404, "not_found", "There is no resource at this address.")


UNAUTHENTICATED = "A valid signature is required, and an API key if this hub requires one."
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="signal-hub"'}


def exception_handler(error: Exception, _context: dict[str, Any]) -> HttpResponse:
    """Return the problem for any exception of an API view (REST framework's EXCEPTION_HANDLER)."""
    return as_problem(error).response()


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request that Django refuses before any view, such as an unknown Host (a `handler400`)."""
    if request.path.startswith("/api/"):
        return bad_host().response()
    return defaults.bad_request(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request to an unknown address (a `handler404`)."""
    if request.path.startswith("/api/"):
        return unknown_address().response()
    return defaults.page_not_found(request, exception)


def as_problem(error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case Http404():
            return unknown_address()
        case Unauthenticated() | exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            return Problem(401, "unauthenticated", UNAUTHENTICATED, headers=CHALLENGE)
        case Outage():
            logger.warning("answering 503: %s", error)
            return unavailable("The database is unavailable; retry later.")
        case RequestDataTooBig():
            return Problem(413, "too_large", "The body is too large.")
        case SuspiciousOperation():
            return Problem(400, "bad_request", "The request is malformed.")
        case UnreadablePostError():
            return Problem(400, "incomplete", "The body is shorter than its Content-Length.")
        case exceptions.MethodNotAllowed():
            return Problem(405, "method_not_allowed", str(error.detail))
        case exceptions.APIException():
            return Problem(error.status_code, str(error.default_code), str(error.detail))
    logger.error("unexpected error in a view", exc_info=error)
    return unavailable("Internal error; retry later.", "internal")
