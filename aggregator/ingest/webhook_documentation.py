"""The webhook in the OpenAPI schema: its request, all its answers, and an example of each."""

from http import HTTPStatus
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from aggregator.http.problems import CHALLENGE, RETRY_AFTER_S, UNAUTHENTICATED
from aggregator.ledger.entries import CONFLICT, ECOSYSTEM_FORBIDDEN
from ecosystems.signal import RULES

JSON, PROBLEM = "application/json", "application/problem+json"
REQUEST_ID = "9e41eeb2b2d84cc0871e660cda324ae3"

SIGNAL = {
    "signal_id": "btc-20260115-093000",
    "ecosystem": "crypto",
    "timestamp": "2026-01-15T09:30:00Z",
    "symbol": "BTCUSDT",
    "action": "BUY",
    "entry_price": "64250.10",
    "stop_loss": "63100",
    "confidence": 0.8,
    "agent_source": "breakout-1h",
    "tags": ["ema"],
    "raw_payload": {"rsi": 61.5},
}
_DECIMAL = {"oneOf": [{"type": "string"}, {"type": "number"}], "nullable": True}
_TYPES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("entry_price", "stop_loss", "take_profit", "volume"), _DECIMAL),
    "timestamp": {"type": "string", "format": "date-time"},
    "confidence": {"type": "number", "nullable": True},
    "tags": {"type": "array", "items": {"type": "string"}, "nullable": True},
    "raw_payload": {"type": "object", "additionalProperties": True, "nullable": True},
}
REQUIRED = ("signal_id", "ecosystem", "timestamp", "symbol", "action")


def _field(name: str) -> dict[str, Any]:
    kind = _TYPES.get(name, {"type": "string", **({} if name in REQUIRED else {"nullable": True})})
    return {**kind, "description": RULES[name]}


SIGNAL_SCHEMA = {
    "type": "object",
    "required": list(REQUIRED),
    "properties": {name: _field(name) for name in RULES},
    "additionalProperties": True,
}
_TEXT, _NUMBER = {"type": "string"}, {"type": "integer"}
_REJECTED = {"index": _NUMBER, "signal_id": {**_TEXT, "nullable": True}, "code": _TEXT, "detail": _TEXT}
ANSWER_SCHEMA = {
    "type": "object",
    "properties": {
        "status": {"type": "string", "enum": ["accepted", "duplicate"]},
        "accepted": _NUMBER,
        "duplicates": _NUMBER,
        "rejected": {"type": "array", "items": {"type": "object", "properties": _REJECTED}},
    },
}
_ERROR = {"index": _NUMBER, "field": {**_TEXT, "nullable": True}, "code": _TEXT, "detail": _TEXT}
PROBLEM_SCHEMA = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("type", "title", "detail", "code", "request_id"), _TEXT),
        "status": _NUMBER,
        "errors": {"type": "array", "items": {"type": "object", "properties": _ERROR}},
    },
}

PROBLEMS: dict[int, tuple[str, str, str]] = {
    400: ("Not JSON, not UTF-8, neither object nor array, or empty.", "empty", "Send at least one signal."),
    401: ("No valid signature or key; one text for all causes.", "unauthenticated", UNAUTHENTICATED),
    403: (
        "The key lacks the scope `publish`, the ecosystem or the agent.",
        ECOSYSTEM_FORBIDDEN.code,
        "The API key may not write to this ecosystem.",
    ),
    408: ("The body did not arrive in time.", "timeout", "The body did not arrive in time."),
    409: (
        "A conflict: the identity is on record with other content.",
        CONFLICT.code,
        f"{CONFLICT.detail.capitalize()}.",
    ),
    411: ("No `Content-Length`.", "length_required", "Send a Content-Length."),
    413: ("Too large, or too many signals.", "too_large", "A body may have at most 1048576 bytes."),
    415: ("Wrong type, charset or encoding.", "not_json_type", "Send Content-Type: application/json."),
    422: ("Every signal breaks the schema.", "invalid", "No signal of the request is valid."),
    429: ("Over the sender's rate.", "rate_limited", "The limit is 600/minute."),
    503: (
        "Postgres or its disk cannot take it now.",
        "unavailable",
        "The database is unavailable; retry later.",
    ),
}


def problem_responses(problems: dict[int, tuple[str, str, str]]) -> dict[tuple[int, str], OpenApiResponse]:
    """Return the responses by their status, given a description, a code and a detail of each."""
    return {(status, PROBLEM): _problem(status, *texts) for status, texts in problems.items()}


def _problem(status: int, description: str, code: str, detail: str) -> OpenApiResponse:
    value: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": REQUEST_ID,
    }
    if status in {403, 409, 422}:
        error = {"index": 0, "field": None, "code": code, "detail": detail}
        if status == 422:
            error = {"index": 0, "field": "action", "code": "missing_field", "detail": "action is required"}
        value["errors"] = [error]
    return OpenApiResponse(PROBLEM_SCHEMA, description, [OpenApiExample(code, value, media_type=PROBLEM)])


def _answer(status: str, description: str, **counts: int) -> OpenApiResponse:
    value = {"status": status, "accepted": 0, "duplicates": 0, "rejected": [], **counts}
    return OpenApiResponse(ANSWER_SCHEMA, description, [OpenApiExample(status, value)])


SUCCESSES = {
    (202, JSON): _answer("accepted", "At least one signal was accepted.", accepted=1),
    (200, JSON): _answer("duplicate", "Nothing new: all are duplicates.", duplicates=1),
}
HEADERS = [
    OpenApiParameter("Retry-After", int, OpenApiParameter.HEADER, response=[429, 503],
                     description=f"Seconds to wait, such as {RETRY_AFTER_S}."),
    OpenApiParameter("X-Request-ID", str, OpenApiParameter.HEADER, response=True,
                     description="The id of the request in the hub's log."),
]  # fmt: skip

webhook_documentation = extend_schema(
    operation_id="send_signals",
    summary="Send signals",
    description="""Records one signal, or an array of up to 1000, and answers 2xx once they are committed.

The body is signed by [Standard Webhooks](https://www.standardwebhooks.com): enter your secret (`whsec_…`)
under Authorize, and this page signs what it sends. The secret itself stays in this page; the command shown
after the request holds the signature, and can be run for five minutes.

Do the same in your programs with any Standard Webhooks library: `webhook-signature` is `v1,` and the base64
of HMAC-SHA256 over `webhook-id.webhook-timestamp.body`.""",
    tags=["producers"],
    request={JSON: {"oneOf": [SIGNAL_SCHEMA, {"type": "array", "items": SIGNAL_SCHEMA}]}},
    parameters=[
        *HEADERS,
        OpenApiParameter(
            "WWW-Authenticate",
            str,
            OpenApiParameter.HEADER,
            response=[401],
            description=CHALLENGE["WWW-Authenticate"],
        ),
    ],
    examples=[
        OpenApiExample("One signal", SIGNAL, request_only=True),
        OpenApiExample("Several", [SIGNAL, {**SIGNAL, "signal_id": "btc-2"}], request_only=True),
    ],
    responses={**SUCCESSES, **problem_responses(PROBLEMS)},
)
"""The decorator of the view's method."""


class SignatureScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "aggregator.ingest.webhook_view.SignatureAuthentication"
    name = ["signature", "producerKey"]

    def get_security_requirement(self, auto_schema: Any) -> Any:  # noqa: ARG002 - the library's signature
        return [{"signature": []}, {"signature": [], "producerKey": []}]

    def get_security_definition(self, auto_schema: Any) -> Any:  # noqa: ARG002 - the library's signature
        return [
            {
                "type": "apiKey",
                "in": "header",
                "name": "webhook-signature",
                "description": "Your secret, `whsec_…`: the page signs with it and does not send it.",
            },
            {"type": "http", "scheme": "bearer", "description": "A producer's key, where one is required."},
        ]
