"""Reading a request: its head, and its body within limits."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from django.http import HttpRequest
from django.utils.http import parse_header_parameters

from aggregator.http.client_address import client_address
from aggregator.http.problems import Problem


class ReceivedRequest(msgspec.Struct):
    """All that a way in knows of a request, whichever server received it."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Found by lower-case names."""
    address: str
    """The client's."""
    body: bytes = b""
    sender: Any = None
    """Whom the head already proves."""
    left_s: float = 0.0
    """How long the sender waits still, after its head was checked."""


class AnyContentType(HttpRequest):
    """Lets a request of Django's have a Content-Type that it cannot read; else there would be no answer."""

    def _set_content_type_params(self, meta: Mapping[str, Any]) -> None:
        try:
            super()._set_content_type_params(meta)  # type: ignore[misc] # the stubs lack it
        except ValueError:
            self.content_type, self.content_params = "", {}
            self.META["CONTENT_TYPE"] = ""  # which Django REST framework reads by itself


def received_by_django(request: HttpRequest) -> ReceivedRequest:
    """Return a request without its body."""
    return ReceivedRequest(str(request.method), request.path, request.headers, client_address(request.META))


def require_post(request: ReceivedRequest) -> None:
    """Raise Problem 405 for any other method."""
    if request.method != "POST":
        raise Problem(405, "method_not_allowed", "Send signals by POST.", headers={"Allow": "POST"})


def body_length(headers: Mapping[str, str], max_bytes: int) -> int:
    """Return how long the body will be. Raises Problem 411, 413, or 415 for one that is encoded."""
    length = headers.get("content-length") or ""
    if not length:
        raise Problem(411, "length_required", "Send a Content-Length.")
    if not re.fullmatch(r"[0-9]{1,18}", length) or int(length) > max_bytes:
        raise Problem(413, "too_large", f"A body may have at most {max_bytes} bytes.")
    if (headers.get("content-encoding") or "identity").lower() != "identity":
        raise Problem(415, "encoded", "Send the body without a Content-Encoding.")
    return int(length)


def require_json(headers: Mapping[str, str]) -> None:
    """Raise Problem 415 for another type or charset than JSON in UTF-8."""
    _check_type(headers.get("content-type", ""))


@lru_cache(maxsize=64)
def _check_type(content_type: str) -> None:
    try:
        media_type, parameters = parse_header_parameters(content_type)
    except ValueError:
        media_type, parameters = "", {}
    if media_type.lower() != "application/json":
        raise Problem(415, "not_json_type", "Send Content-Type: application/json.")
    if parameters.get("charset", "utf-8").strip('"').lower() not in {"utf-8", "utf8"}:
        raise Problem(415, "charset", "Send UTF-8.")


def read_body(read: Callable[[int], bytes], length: int) -> bytes:
    """Return the `length` bytes of a body. Raises Problem 400 if it ends too soon, 408 if it is late."""
    body = b""
    try:
        while len(body) < length and (part := read(length - len(body))):
            body += part
    except OSError as error:
        if isinstance(error.__cause__, TimeoutError):
            raise late_body() from None
        # Else the client closed the connection.
    return complete(body, length)


def late_body() -> Problem:
    return Problem(408, "timeout", "The body did not arrive in time.")


def complete(body: bytes, length: int) -> bytes:
    """Return a body that has its length. Raises Problem 400 for a shorter one."""
    if len(body) < length:
        raise Problem(400, "incomplete", "The body is shorter than its Content-Length.")
    return body
