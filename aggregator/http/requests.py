"""Reading a request: its body within limits, and its headers."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from django.utils.http import parse_header_parameters

from aggregator.http.problems import Problem


def read_body(meta: Mapping[str, Any], read: Callable[[int], bytes], max_bytes: int) -> bytes:
    """Return the body of a request. Raises Problem 411, 413 or 415 before any of it is read.

    `meta` is WSGI's environment. Raises Problem 400 if the body ends too soon.
    """
    length = meta.get("CONTENT_LENGTH") or ""
    if not length:
        raise Problem(411, "length_required", "Send a Content-Length.")
    if not re.fullmatch(r"[0-9]{1,18}", length) or int(length) > max_bytes:
        raise Problem(413, "too_large", f"A body may have at most {max_bytes} bytes.")
    if meta.get("HTTP_CONTENT_ENCODING"):
        raise Problem(415, "encoded", "Send the body without a Content-Encoding.")
    _check_type(meta.get("CONTENT_TYPE", ""))
    return _read_all(read, int(length))


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


def _read_all(read: Callable[[int], bytes], length: int) -> bytes:
    body = b""
    try:
        while len(body) < length and (part := read(length - len(body))):
            body += part
    except OSError:
        pass  # the client closed the connection
    if len(body) < length:
        raise Problem(400, "incomplete", "The body is shorter than its Content-Length.")
    return body


def request_headers(meta: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of a WSGI environment by their lower-case names."""
    return {
        name[5:].replace("_", "-").lower(): value for name, value in meta.items() if name.startswith("HTTP_")
    }
