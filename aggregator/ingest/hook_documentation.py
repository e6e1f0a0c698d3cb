"""The hooks in the OpenAPI schema: what producers send, all answers, and an example of each."""

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema

from aggregator.ingest.hooks import MAX_HOOK_BYTES
from aggregator.ingest.webhook_documentation import (
    HEADERS,
    JSON,
    PROBLEMS,
    SUCCESSES,
    problem_responses,
)
from aggregator.sources.redaction import TOKEN_PREFIX

FORM, TEXT = "application/x-www-form-urlencoded", "text/plain"
_DOCUMENT = {"type": "object", "additionalProperties": True}
_ALERT = {"ticker": "BTCUSDT", "exchange": "BINANCE", "action": "buy", "close": "64250.10"}
_ENTRY = {"type": "entry", "trade_id": "7", "pair": "ETH/USDT", "direction": "Long", "limit": "3012.5"}

HOOK_PROBLEMS = {
    400: ("Not to be read, shorter than its length, or empty.", *PROBLEMS[400][1:]),
    404: (
        "The URL is unknown, revoked, or not for this address; one text for all causes.",
        "not_found",
        "There is no resource at this address.",
    ),
    408: PROBLEMS[408],
    411: PROBLEMS[411],
    413: ("Too large, or too many signals.", "too_large", f"A body may have at most {MAX_HOOK_BYTES} bytes."),
    415: ("A charset that is not UTF-8, or an encoding.", "charset", "Send UTF-8."),
    422: (
        "Nothing could be mapped or is valid, or it is the identity of another signal; kept as dead letters.",
        *PROBLEMS[422][1:],
    ),
    429: ("Over the source's rate, or too many unknown URLs from this address.", *PROBLEMS[429][1:]),
    503: ("The hub cannot record it within a second; send it again.", *PROBLEMS[503][1:]),
}

hook_documentation = extend_schema(
    operation_id="send_to_hook",
    summary="Send from a program that cannot sign",
    description=f"""Records what a producer sends, as the mapping of its source translates it, and answers 2xx
once that is committed. The URL is the secret: `manage.py source add` and the admin show it once.

A body has at most {MAX_HOOK_BYTES} bytes. It may be JSON, a form or text, whatever its `Content-Type` says;
an array is several signals. Each example here is named after the preset of the source that takes it.""",
    tags=["producers"],
    auth=[],
    request={
        JSON: {"oneOf": [_DOCUMENT, {"type": "array", "items": _DOCUMENT}]},
        FORM: _DOCUMENT,
        TEXT: {"type": "string"},
    },
    parameters=[
        OpenApiParameter(
            "token",
            str,
            OpenApiParameter.PATH,
            description=f"The end of the hook's URL, `{TOKEN_PREFIX}…`.",
        ),
        *HEADERS,
    ],
    examples=[
        OpenApiExample("tradingview", _ALERT, request_only=True, media_type=JSON),
        OpenApiExample("freqtrade", _ENTRY, request_only=True, media_type=FORM),
        OpenApiExample(
            "pineconnector",
            "60123456789,buy,EURUSD,sl=1.0812,tp=1.0950,risk=1",
            request_only=True,
            media_type=TEXT,
        ),
    ],
    responses={**SUCCESSES, **problem_responses(HOOK_PROBLEMS)},
)
"""The decorator of the view's method."""
