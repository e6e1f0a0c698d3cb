"""How the API's views are documented: shared answers, headers, and what of the hub is in the schema."""

from collections.abc import Callable
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from commerce.api import serializers

PREFIX = "/api/v1/"
PROBLEM = "application/problem+json"
PROBLEMS = {
    400: "A parameter or field is not valid; `errors` names it.",
    401: "No valid API key.",
    403: "The key may not read, or no subscription is live.",
    404: "There is no such thing, or not for this reader.",
    405: "The address takes other methods.",
    409: "It contradicts what is there, or the plan has no room for it.",
    421: "This process serves no streams; the operator routes this address to the one that does.",
    429: "A limit is used up; `Retry-After` tells for how long.",
    503: "The hub cannot answer now; `Retry-After` tells when to try again.",
}
ALWAYS = (400, 401, 403, 429, 503)

RATE_LIMIT = [
    OpenApiParameter(name, str, OpenApiParameter.HEADER, response=[200], description=text)
    for name, text in (
        ("RateLimit", "What is left of the day's limits, by draft-ietf-httpapi-ratelimit-headers."),
        ("RateLimit-Policy", "The day's limits."),
    )
]
RETRY_AFTER = OpenApiParameter(
    "Retry-After", int, OpenApiParameter.HEADER, response=[429, 503], description="Seconds to wait."
)
IF_NONE_MATCH = [
    OpenApiParameter(
        "If-None-Match", str, OpenApiParameter.HEADER, description="The ETag of an answer before."
    ),
    OpenApiParameter("ETag", str, OpenApiParameter.HEADER, response=[200], description="Names this answer."),
]


def documented(
    answer: Any, *, summary: str, description: str = "", problems: tuple[int, ...] = ALWAYS, **options: Any
) -> Callable[..., Any]:
    """Return the decorator that documents a method: its answers, and those that all of the API may give.

    `answer` is the serializer of a 200, or a dict of answers by status.
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


def only_customer_endpoints(endpoints: list[tuple[str, str, str, Any]]) -> list[tuple[str, str, str, Any]]:
    """Keep what customers call (drf-spectacular's PREPROCESSING_HOOKS)."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith(PREFIX)]
