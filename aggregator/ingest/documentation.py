"""The webhook and the hooks in the OpenAPI schema: requests, all answers, and an example of each."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from aggregator.http.problems import CHALLENGE, RETRY_AFTER_S, Problem
from aggregator.sources.redaction import TOKEN_PREFIX
from ecosystems.signal import RULES

JSON, PROBLEM = "application/json", "application/problem+json"
_CONTENT = tomllib.loads(Path(__file__).with_name("openapi.toml").read_text("utf-8"))


def _field(name: str) -> dict[str, Any]:
    required = name in _CONTENT["signal"]["required"]
    text = {"type": "string"} if required else {"type": "string", "nullable": True}
    return {**_CONTENT["signal"]["types"].get(name, text), "description": RULES[name]}


_SIGNAL_SCHEMA = {
    "type": "object",
    "required": _CONTENT["signal"]["required"],
    "properties": {name: _field(name) for name in RULES},
    "additionalProperties": True,
}


def _problem(status: int, description: str, code: str, detail: str) -> OpenApiResponse:
    problem = Problem(status, code, detail)
    if status in {403, 409}:
        problem.members["errors"] = [{"index": 0, "field": None, "code": code, "detail": detail}]
    if status == 422:
        missing = {"index": 0, "field": "action", "code": "missing_field", "detail": "action is required"}
        problem.members["errors"] = [missing]
    example = OpenApiExample(code, problem.content("9e41eeb2b2d84cc0871e660cda324ae3"), media_type=PROBLEM)
    return OpenApiResponse(_CONTENT["problem"], description, [example])


def _answer(status: str, description: str, **counts: int) -> OpenApiResponse:
    value = {"status": status, "accepted": 0, "duplicates": 0, "rejected": [], **counts}
    return OpenApiResponse(_CONTENT["answer"], description, [OpenApiExample(status, value)])


def _responses(problems: dict[str, list[str]]) -> dict[tuple[int, str], OpenApiResponse]:
    """Return the responses by their status, given a description, a code and a detail of each problem."""
    responses = {
        (202, JSON): _answer("accepted", "At least one signal was accepted.", accepted=1),
        (200, JSON): _answer("duplicate", "Nothing new: all are duplicates.", duplicates=1),
    }
    for status, (description, *example) in problems.items():
        code, detail = example or _CONTENT["webhook"]["problems"][status][1:]
        responses[int(status), PROBLEM] = _problem(int(status), description, code, detail)
    return responses


def _operation(
    name: str, request: dict[str, Any], parameters: list[OpenApiParameter], **options: Any
) -> Callable[..., Any]:
    """Return the decorator of a view's method."""
    content = _CONTENT[name]
    headers = [
        _header("Retry-After", int, [429, 503], f"Seconds to wait, such as {RETRY_AFTER_S}."),
        _header("X-Request-ID", str, True, "The id of the request in the hub's log."),
    ]
    return extend_schema(
        operation_id=content["operation_id"],
        summary=content["summary"],
        description=content["description"],
        tags=["producers"],
        request=request,
        parameters=[*headers, *parameters],
        examples=[OpenApiExample(**example, request_only=True) for example in content["examples"]],
        responses=_responses(content["problems"]),
        **options,
    )


def _header(name: str, kind: type, response: bool | list[int], description: str) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.HEADER, response=response, description=description)


_TOKEN = f"The end of the hook's URL, `{TOKEN_PREFIX}…`."
_CHALLENGE = CHALLENGE["WWW-Authenticate"]

webhook_documentation = _operation(
    "webhook",
    {JSON: {"oneOf": [_SIGNAL_SCHEMA, {"type": "array", "items": _SIGNAL_SCHEMA}]}},
    [_header("WWW-Authenticate", str, [401], _CHALLENGE)],
)
hook_documentation = _operation(
    "hook",
    _CONTENT["hook"]["request"],
    [OpenApiParameter("token", str, OpenApiParameter.PATH, description=_TOKEN)],
    auth=[],
)


class SignatureScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "aggregator.ingest.views.SignatureAuthentication"
    name = [*_CONTENT["webhook"]["security"]]

    def get_security_requirement(self, auto_schema: Any) -> Any:  # noqa: ARG002 - the library's signature
        return [{"signature": []}, {"signature": [], "producerKey": []}]

    def get_security_definition(self, auto_schema: Any) -> Any:  # noqa: ARG002 - the library's signature
        return [*_CONTENT["webhook"]["security"].values()]
