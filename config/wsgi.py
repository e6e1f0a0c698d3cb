"""The WSGI application: `granian --interface wsgi config.wsgi:application`, or any other server."""

import os

from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.core.wsgi import get_wsgi_application

from aggregator.postgres.pool import limit_connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application: WSGIHandler = get_wsgi_application()

from django.conf import settings  # noqa: E402

from aggregator.http.requests import AnyContentType  # noqa: E402


class Request(AnyContentType, WSGIRequest):
    """A request over WSGI."""


application.request_class = Request
settings.ENVIRONMENT.announce_bus()
limit_connections()
