"""The webhook in front of Django, in the WSGI application itself."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.request import split_domain_port, validate_host
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware

from aggregator.http.request_log import REQUEST_ID_HEADER, with_request_id
from aggregator.ingest import webhook

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def before_django(django: Application) -> Application:
    """Return a WSGI application that answers requests with signals itself and passes all others to `django`.

    Django's request, middleware and signals cost more than a signal's checks and its share of a commit.
    """

    security = {secure: _security_headers(secure=secure) for secure in (False, True)}

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if (
            environ["PATH_INFO"] != webhook.PATH
            or environ["REQUEST_METHOD"] != "POST"
            or not _is_known(environ.get("HTTP_HOST", ""))
        ):
            return django(environ, start_response)
        with with_request_id() as request_id:
            response = webhook.respond(environ, environ["wsgi.input"].read)
        response.headers[REQUEST_ID_HEADER] = request_id
        length = ("Content-Length", str(len(response.content)))
        headers = [*response.items(), length, *security[_is_secure(environ)]]
        start_response(f"{response.status_code} {response.reason_phrase}", headers)
        return [response.content]

    return application


class _Request(HttpRequest):
    def __init__(self, scheme: str) -> None:
        super().__init__()
        self._scheme = scheme

    def _get_scheme(self) -> str:
        return self._scheme


def _security_headers(*, secure: bool) -> list[tuple[str, str]]:
    """Return what Django's own middleware adds to each answer, over TLS or not."""
    request, answer = _Request("https" if secure else "http"), HttpResponse()
    for middleware in (SecurityMiddleware, XFrameOptionsMiddleware):
        answer = middleware(lambda _: HttpResponse()).process_response(request, answer)
    return [(name, value) for name, value in answer.items() if name != "Content-Type"]


def _is_secure(environ: dict[str, Any]) -> bool:
    """Return what `HttpRequest.is_secure` would."""
    if settings.SECURE_PROXY_SSL_HEADER:
        header, secure = settings.SECURE_PROXY_SSL_HEADER
        if (value := environ.get(header)) is not None:
            return bool(value.partition(",")[0].strip() == secure)
    return bool(environ.get("wsgi.url_scheme") == "https")


@lru_cache(maxsize=256)
def _is_known(host: str) -> bool:
    """Return whether this is one of the hub's host names; requests with any other are answered by Django."""
    name, _ = split_domain_port(host)
    return bool(name) and validate_host(name, settings.ALLOWED_HOSTS)
