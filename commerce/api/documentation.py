"""The OpenAPI documentation of the API's views: shared responses and headers, and which endpoints it has."""

from collections.abc import Callable
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from aggregator.ingest.webhook import SIGNALS_PATH
from aggregator.sources.tokens import HOOKS_PATH
from commerce.api import serializers

PREFIX = "/api/v1/"
PROBLEM = "application/problem+json"
PROBLEMS = {
    400: "A parameter or field is not valid; `errors` names it.",
    401: "No valid API key.",
    403: "The key may not read, or no subscription is live.",
    404: "Not found, or not visible to this reader.",
    405: "The method is not allowed here.",
    409: "It conflicts with what exists, or exceeds the plan.",
    410: "The cursor is ahead of the ledger, which was restored: read again from the start.",
    413: "The body is too large.",
    421: "This process serves no streams; the operator routes this path to the one that does.",
    429: "A limit is reached; `Retry-After` says when it resets.",
    503: "The hub is unavailable; `Retry-After` says when to try again.",
}
ALWAYS = (400, 401, 403, 429, 503)

RATE_LIMIT = [
    OpenApiParameter(name, str, OpenApiParameter.HEADER, response=[200], description=text)
    for name, text in (
        ("RateLimit", "What remains of the day's limits, by draft-ietf-httpapi-ratelimit-headers."),
        ("RateLimit-Policy", "The day's limits."),
    )
]
RETRY_AFTER = OpenApiParameter(
    "Retry-After", int, OpenApiParameter.HEADER, response=[429, 503], description="Seconds to wait."
)
IF_NONE_MATCH = [
    OpenApiParameter(
        "If-None-Match", str, OpenApiParameter.HEADER, description="The ETag of an earlier response."
    ),
    OpenApiParameter(
        "ETag", str, OpenApiParameter.HEADER, response=[200], description="The response's ETag."
    ),
]


def documented(
    answer: Any, *, summary: str, description: str = "", problems: tuple[int, ...] = ALWAYS, **options: Any
) -> Callable[..., Any]:
    """Return the decorator that documents a method: its responses, and those that every endpoint may give.

    `answer` is the serializer of a 200, or a dict of responses by status.
    """
    answers = answer if isinstance(answer, dict) else {200: answer}
    failures = {
        (status, PROBLEM): OpenApiResponse(serializers.ProblemDetails, PROBLEMS[status])
        for status in problems
    }
    options["parameters"] = [*options.get("parameters", []), *RATE_LIMIT, RETRY_AFTER]
    return extend_schema(
        summary=summary, description=description, responses={**answers, **failures}, **options
    )


NOT_MODIFIED = {304: OpenApiResponse(None, "Nothing has changed since that ETag.")}
EVENT_STREAM = {(200, "text/event-stream"): OpenApiResponse(OpenApiTypes.STR, "Server-Sent Events.")}


class ReaderKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "commerce.api.base.ReaderKeyAuthentication"
    name = ["bearer", "apiKey"]

    def get_security_requirement(self, auto_schema: Any) -> Any:  # noqa: ARG002 - the library's signature
        return [{"bearer": []}, {"apiKey": []}]  # either will do

    def get_security_definition(self, auto_schema: Any) -> Any:  # noqa: ARG002 - the library's signature
        return [
            {"type": "http", "scheme": "bearer", "description": "A reader key."},
            {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "A reader key."},
        ]


def public_endpoints(endpoints: list[tuple[str, str, str, Any]]) -> list[tuple[str, str, str, Any]]:
    """Keep what customers and producers call (drf-spectacular's PREPROCESSING_HOOKS)."""
    return [each for each in endpoints if each[0].startswith((PREFIX, HOOKS_PATH)) or each[0] == SIGNALS_PATH]
