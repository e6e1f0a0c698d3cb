"""The webhook door in front of Django, in the WSGI application itself."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from aggregator.doors import webhook
from config.request_log import HEADER, with_request_id

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def before_django(django: Application) -> Application:
    """Return a WSGI application that takes signals itself and leaves everything else to `django`.

    Django's request, middleware and signals cost a signal more than its checks and its share of a commit.
    """

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if (
            environ["PATH_INFO"] != webhook.PATH
            or environ["REQUEST_METHOD"] != "POST"
            or not _is_known(environ.get("HTTP_HOST", ""))
        ):
            return django(environ, start_response)
        with with_request_id() as request_id:
            response = webhook.respond(environ, environ["wsgi.input"].read)
        response.headers[HEADER] = request_id
        response.headers["Content-Length"] = str(len(response.content))
        response.headers["X-Content-Type-Options"] = "nosniff"
        start_response(f"{response.status_code} {response.reason_phrase}", list(response.items()))
        return [response.content]

    return application


@lru_cache(maxsize=256)
def _is_known(host: str) -> bool:
    """Tell whether the hub goes by this name; Django answers those who got it wrong."""
    name, _ = split_domain_port(host)
    return bool(name) and validate_host(name, settings.ALLOWED_HOSTS)
